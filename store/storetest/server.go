package storetest

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver
)

// server is a PostgreSQL of this process' own, with its files in a temporary
// folder, and with every promise of durability off.
type server struct {
	bin  string
	dir  string
	who  *syscall.Credential
	port string
	url  string
	// more are settings beyond those that all have.
	more []string
	cmd  *exec.Cmd
	done chan error
}

func startServer(more ...string) (*server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "millrace-postgres-")
	if err != nil {
		return nil, err
	}
	s := &server{bin: bin, dir: dir, more: more}
	if err = s.prepare(); err == nil {
		err = s.run()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// prepare makes the server's files and picks its port.
func (s *server) prepare() error {
	var err error
	if s.who, err = credential(s.dir); err != nil {
		return err
	}
	initdb := s.command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s.listen()
}

// listen picks the server's port.
func (s *server) listen() (err error) {
	if s.port, err = FreePort(); err != nil {
		return err
	}
	s.url = "postgres://postgres@127.0.0.1:" + s.port + "/postgres?sslmode=disable"
	return nil
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

// run starts the server on its files and waits until it answers.
func (s *server) run() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own handle
	s.cmd = s.command(filepath.Join(s.bin, "postgres"), append(settings(s.bin, s.more), "-D", s.data(), "-p", s.port)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.done = make(chan error, 1)
	if err := s.launch(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := s.answer(); err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("postgres does not answer: %w\n%s", err, said)
	}
	return nil
}

// launch starts the process from a thread that lives as long as it does:
// the kernel's "parent died" signal is about threads.
func (s *server) launch() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := s.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		s.done <- s.cmd.Wait()
	}()
	return <-started
}

// answer waits until the server takes connections.
func (s *server) answer() error {
	db, err := sql.Open("postgres", s.url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing was written by it
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		if err = db.Ping(); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case ended := <-s.done:
			return fmt.Errorf("it ended: %v", ended)
		case <-deadline:
			return err
		}
	}
}

// stop ends the server at once: its files go with it.
func (s *server) stop() {
	if err := s.cmd.Process.Signal(syscall.SIGINT); err == nil {
		<-s.done
	}
	if err := os.RemoveAll(s.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func (s *server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.who}
	dieWithParent(cmd.SysProcAttr)
	return cmd
}

func settings(bin string, more []string) []string {
	set := []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "full_page_writes=off", "synchronous_commit=off",
		"max_connections=500", "max_locks_per_transaction=512", "shared_buffers=128MB", "max_wal_size=4GB", "timezone=UTC", "jit=off",
	}
	if library, err := exec.Command(filepath.Join(bin, "pg_config"), "--pkglibdir").Output(); err == nil {
		if _, err := os.Stat(filepath.Join(strings.TrimSpace(string(library)), "pg_stat_statements.so")); err == nil {
			set = append(set, "shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=top")
		}
	}
	var args []string
	for _, s := range append(set, more...) {
		args = append(args, "-c", s)
	}
	return args
}

// credential picks who runs the server: PostgreSQL refuses root.
func credential(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr, os.Chown(dir, int(uid), int(gid))); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
}

// binaries finds the folder that holds initdb and postgres, the newest first.
func binaries() (string, error) {
	var folders []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil { // its library is beside the real one
			folders = append(folders, filepath.Dir(real))
		}
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		folders = append(folders, strings.TrimSpace(string(out)))
	}
	debian, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	version := func(i int) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(debian[i]))) // no number: last
		return n
	}
	sort.Slice(debian, func(i, j int) bool { return version(i) > version(j) })
	for _, folder := range append(folders, debian...) {
		_, initdbErr := os.Stat(filepath.Join(folder, "initdb"))
		_, postgresErr := os.Stat(filepath.Join(folder, "postgres"))
		if initdbErr == nil && postgresErr == nil {
			return folder, nil
		}
	}
	return "", errors.New("the tests need PostgreSQL's initdb and postgres, and they are not on PATH, not where pg_config says, and not in /usr/lib/postgresql: run `make deps`")
}

// ports are given one after the other from a random one on, so that none is
// given twice before whoever it was for listens there.
var ports struct {
	sync.Mutex
	given int
}

const (
	firstPort = 10_000
	portCount = 20_000 // below what kernels give away
)

// FreePort is a port of the loopback that nobody listens on now, that this
// process was not given before, and that no outgoing connection is given: a
// server may leave it and come back.
func FreePort() (string, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.given == 0 {
		ports.given = rand.IntN(portCount)
	}
	var err error
	for range 100 {
		ports.given++
		port := strconv.Itoa(firstPort + ports.given%portCount)
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return port, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}
