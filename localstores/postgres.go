package localstores

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/millrace-dev/millrace"
)

const (
	databaseUser = "millrace"
	databaseName = "postgres" // the one that initdb makes
)

// postgresFarewell is PostgreSQL's fast shutdown, then its immediate one,
// which the next start recovers from.
var postgresFarewell = []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}

// postgres is the place of one PostgreSQL: its home and the user it runs as.
type postgres struct {
	home    string
	account account
	lock    *lock
}

// placePostgres finds or makes PostgreSQL's home: in the data folder, or for
// root in the system's state folder.
func placePostgres(data folder, cfg Config) (*postgres, error) {
	a, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	home := data.file("postgres")
	if a.dropped {
		home, err = stateHome(data, cfg.StateDir)
	} else {
		err = errors.Join(refuseRoots(data), os.MkdirAll(home, 0o700))
	}
	if err != nil {
		return nil, err
	}
	if err := a.mayEnter(home); err != nil {
		return nil, err
	}
	// A copied data folder leads to the same home under another lock.
	l, err := acquire(filepath.Join(home, "lock"))
	if errors.Is(err, errHeld) {
		return nil, fmt.Errorf("the database of data folder %s, in %s, is in use by another millrace (process %s)", data.path, home, l.holder)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", home, err)
	}
	return &postgres{home: home, account: a, lock: l}, nil
}

// refuseRoots stops an ordinary user from starting empty where root has data.
func refuseRoots(data folder) error {
	if home, err := os.ReadFile(data.file("postgres.path")); err == nil {
		return fmt.Errorf("data folder %s was made by root, with its database in %s: run millrace as root, or choose another folder with --data", data.path, strings.TrimSpace(string(home)))
	}
	return nil
}

// stateHome is where postgres.path points, or a new folder that it then
// points to.
func stateHome(data folder, stateDir string) (string, error) {
	pointer := data.file("postgres.path")
	text, err := os.ReadFile(pointer)
	if err == nil {
		home := strings.TrimSpace(string(text))
		if _, err := os.Stat(home); err != nil {
			return "", fmt.Errorf("the database of data folder %s is gone (%w): to begin with an empty one, remove %s", data.path, err, pointer)
		}
		return home, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("find the database of data folder %s: %w", data.path, err)
	}
	if _, err := os.Stat(data.file("postgres")); err == nil {
		return "", fmt.Errorf("data folder %s was made by an ordinary user: run millrace as that user, or choose another folder with --data", data.path)
	}
	if err := makeStateDir(stateDir); err != nil {
		return "", fmt.Errorf("make state folder %s: %w", stateDir, err)
	}
	home, err := os.MkdirTemp(stateDir, "dev-")
	if err != nil {
		return "", fmt.Errorf("make a folder for PostgreSQL: %w", err)
	}
	err = errors.Join(os.Chmod(home, 0o711), os.WriteFile(pointer, []byte(home+"\n"), 0o600))
	if err != nil {
		return "", fmt.Errorf("make a folder for PostgreSQL: %w", err)
	}
	return home, nil
}

// makeStateDir makes it as system folders are, whatever root's umask.
func makeStateDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	return errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755))
}

func (p *postgres) cluster() string { return filepath.Join(p.home, "cluster") }

// start brings the server up, on a cluster that it makes the first time.
func (p *postgres) start(ctx context.Context, cfg Config) (running *process, at millrace.Sensitive, note string, err error) {
	b, err := p.choose(ctx, cfg)
	if err != nil {
		return nil, "", "", err
	}
	password, err := p.prepare(ctx, b)
	if err != nil {
		return nil, "", "", err
	}
	limited, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	earlier := leftover{name: "PostgreSQL", pidFile: filepath.Join(p.cluster(), "postmaster.pid"), mark: p.cluster()}
	if err := earlier.stop(limited, postgresFarewell); err != nil {
		return nil, "", "", err
	}
	running, port, err := server{
		program: func(port int) (program, error) { return p.program(b, port), nil },
		ready:   p.ready,
		timeout: cfg.StartTimeout,
	}.start(ctx)
	if err != nil {
		return nil, "", "", err
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(databaseUser, password), Host: address(port), Path: databaseName, RawQuery: "sslmode=disable"}
	note = fmt.Sprintf("PostgreSQL %s from %s, its data in %s", b.version, b.dir, p.cluster())
	if p.account.dropped {
		note += ", run as user " + p.account.name
	}
	cfg.Logger.Info("PostgreSQL runs", "version", b.version, "address", address(port), "data", p.cluster())
	return running, millrace.Sensitive(u.String()), note, nil
}

// choose picks the installation that made the cluster, or the newest for a
// new one, or fetches one where there is none.
func (p *postgres) choose(ctx context.Context, cfg Config) (binaries, error) {
	made, err := p.madeBy()
	if err != nil {
		return binaries{}, err
	}
	found := findPostgres(ctx, append(cfg.packaged, filepath.Join(p.home, "bin/*/bin")), p.account)
	for _, b := range found {
		if made == 0 || b.major == made {
			return b, nil
		}
	}
	if len(found) == 0 && (made == 0 || made == fetchedMajor()) {
		return fetchPostgres(ctx, p.home, cfg)
	}
	var have []string
	for _, b := range found {
		have = append(have, b.version)
	}
	return binaries{}, fmt.Errorf("the database in %s was made by PostgreSQL %d, and this machine has %s: install PostgreSQL %d, or choose another folder with --data",
		p.cluster(), made, cmp.Or(strings.Join(have, " and "), "none"), made)
}

// madeBy is the major version that made the cluster; 0 where there is none.
func (p *postgres) madeBy() (int, error) {
	if _, err := os.Stat(p.cluster()); errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	text, err := os.ReadFile(filepath.Join(p.cluster(), "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("%s is no PostgreSQL database: %w", p.cluster(), err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s is no PostgreSQL database: its version reads %q", p.cluster(), text)
	}
	return major, nil
}

// prepare makes the cluster where there is none: beside its place first, so
// that one that was cut short is never taken for one.
func (p *postgres) prepare(ctx context.Context, b binaries) (password string, err error) {
	secret, fresh := filepath.Join(p.home, "password"), p.cluster()+".new"
	if _, err := os.Stat(p.cluster()); err == nil {
		text, err := os.ReadFile(secret)
		if err != nil {
			return "", fmt.Errorf("read the password of the database in %s: %w", p.cluster(), err)
		}
		return string(text), nil
	}
	password = newPassword()
	err = errors.Join(os.RemoveAll(fresh), os.WriteFile(secret, []byte(password), 0o600), p.account.own(secret),
		os.Mkdir(fresh, 0o700), p.account.own(fresh))
	if err != nil {
		return "", fmt.Errorf("make the database: %w", err)
	}
	initdb := program{
		name: "initdb", path: b.path("initdb"), dir: p.home, log: filepath.Join(p.home, "initdb.log"), account: p.account,
		args:     []string{"-D", fresh, "-U", databaseUser, "-A", "scram-sha-256", "--pwfile=" + secret, "--no-locale", "-E", "UTF8"},
		farewell: []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL},
	}
	if err := initdb.run(ctx); err != nil {
		return "", fmt.Errorf("make the database: %w", err)
	}
	return password, os.Rename(fresh, p.cluster())
}

func (p *postgres) program(b binaries, port int) program {
	return program{
		name: "PostgreSQL", path: b.path("postgres"), dir: p.home, log: filepath.Join(p.home, "postgres.log"), account: p.account,
		args: []string{
			"-D", p.cluster(), "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", "", // no unix socket
			"-c", "timezone=UTC", "-c", "log_timezone=UTC",
		},
		farewell: postgresFarewell,
	}
}

// ready reads what PostgreSQL writes into its pid file once it takes
// connections, as pg_ctl does, and connects.
func (p *postgres) ready(started *process, port int) bool {
	text, err := os.ReadFile(filepath.Join(p.cluster(), "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	if err != nil || len(lines) < 8 || lines[0] != strconv.Itoa(started.os.Pid) || strings.TrimSpace(lines[7]) != "ready" {
		return false
	}
	conn, err := net.Dial("tcp", address(port))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
