package localstores

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/millrace-dev/millrace"
)

var redisFarewell = []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}

// startRedis runs the redis-server on PATH, or Redis in memory where there is
// none that Millrace can use.
func (s *Stores) startRedis(ctx context.Context, data folder, cfg Config) (note string, err error) {
	path, version, err := findRedis(ctx)
	if err != nil {
		s.memory, s.RedisURL, err = startMemory()
		s.RedisInMemory = true
		return "No " + oldestRedis + " or newer redis-server on PATH: Redis runs inside this process, in memory only. Nothing is acknowledged before PostgreSQL has it.", err
	}
	r := redis{path: path, dir: data.file("redis"), password: newPassword()}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of Redis: %w", err)
	}
	if s.redis, s.RedisURL, err = r.start(ctx, cfg); err != nil {
		return "", err
	}
	cfg.Logger.Info("Redis runs", "version", version, "data", r.dir)
	return fmt.Sprintf("Redis %s (%s), its data in %s", version, path, r.dir), nil
}

// oldestRedis is the oldest version that Millrace runs on (XAUTOCLAIM).
const oldestRedis = "6.2"

var redisVersion = regexp.MustCompile(` v=((\d+)\.(\d+)\S*)`)

func findRedis(ctx context.Context) (path, version string, err error) {
	if path, err = exec.LookPath("redis-server"); err != nil {
		return "", "", err
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	said := redisVersion.FindStringSubmatch(string(out))
	if said == nil {
		return "", "", fmt.Errorf("%s says %q, which is no version", path, out)
	}
	major, _ := strconv.Atoi(said[2]) // digits, by the pattern
	minor, _ := strconv.Atoi(said[3])
	if major < 6 || major == 6 && minor < 2 {
		return "", "", fmt.Errorf("%s is %s, older than %s", path, said[1], oldestRedis)
	}
	return path, said[1], nil
}

type redis struct {
	path     string
	dir      string
	password string
}

func (r redis) start(ctx context.Context, cfg Config) (*process, millrace.Sensitive, error) {
	limited, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	earlier := leftover{name: "Redis", pidFile: r.file("redis.pid"), mark: r.file("redis.conf")}
	if err := earlier.stop(limited, redisFarewell); err != nil {
		return nil, "", err
	}
	p, port, err := server{program: r.program, ready: r.ready, timeout: cfg.StartTimeout}.start(ctx)
	if err != nil {
		return nil, "", err
	}
	u := url.URL{Scheme: "redis", User: url.UserPassword("", r.password), Host: address(port), Path: "0"}
	return p, millrace.Sensitive(u.String()), nil
}

func (r redis) file(name string) string { return filepath.Join(r.dir, name) }

// program writes the configuration: on a command line all users could read
// the password.
func (r redis) program(port int) (program, error) {
	lines := []string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(port),
		"requirepass " + r.password,
		"dir " + quote(r.dir),
		"pidfile " + quote(r.file("redis.pid")),
		"set-proc-title no", // the command line is how a leftover is known
		"appendonly yes",
		"appendfsync everysec",
		`save ""`,
		"maxmemory-policy noeviction",
	}
	err := os.WriteFile(r.file("redis.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	if err != nil {
		return program{}, fmt.Errorf("write the configuration of Redis: %w", err)
	}
	return program{
		name: "Redis", path: r.path, args: []string{r.file("redis.conf")}, dir: r.dir, log: r.file("redis.log"),
		farewell: redisFarewell,
	}, nil
}

// quote writes a string as redis.conf reads it.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// ready asks for a PONG, which a server that still loads its data refuses.
func (r redis) ready(_ *process, port int) bool {
	conn, err := net.Dial("tcp", address(port))
	if err != nil {
		return false
	}
	defer conn.Close()
	err = errors.Join(conn.SetDeadline(time.Now().Add(time.Second)), send(conn, "AUTH "+r.password+"\r\nPING\r\n"))
	answers := bufio.NewScanner(conn)
	for _, want := range []string{"+OK", "+PONG"} {
		if err != nil || !answers.Scan() || answers.Text() != want {
			return false
		}
	}
	return true
}

func send(conn net.Conn, text string) error {
	_, err := conn.Write([]byte(text))
	return err
}
