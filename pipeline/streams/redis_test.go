package streams

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what should happen soon.
const patience = 30 * time.Second

// shared is the server of all tests that do not break it.
var shared *server

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		childConsumer()
		return
	}
	goleak.VerifyTestMain(suite{m}, goleak.Cleanup(os.Exit),
		// go-redis looks for a lost server once a second, and notices only then that its pool was closed.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		// The stock subscriber's reader sleeps once more after its client was closed.
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream.(*Subscriber).read"))
}

type suite struct{ *testing.M }

// Run runs the tests with one server for all of them.
func (s suite) Run() int {
	dir, err := os.MkdirTemp("", "streams")
	if err == nil {
		defer os.RemoveAll(dir)
		shared, err = startServer(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.kill()
	return s.M.Run()
}

// server is a redis-server process.
type server struct {
	cmd  *exec.Cmd
	addr string
	dir  string
	args []string
}

func startServer(dir string, args ...string) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	s := &server{addr: addr, dir: dir, args: args}
	return s, s.start()
}

func (s *server) start() error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("redis-server is not on PATH (make deps): %w", err)
	}
	_, port, _ := net.SplitHostPort(s.addr)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--daemonize", "no"}, s.args...)
	s.cmd = exec.Command(path, args...)
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	client := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
	defer client.Close()
	deadline := time.Now().Add(patience)
	for client.Ping(context.Background()).Err() != nil {
		if time.Now().After(deadline) {
			return fmt.Errorf("redis-server on %s does not answer", s.addr)
		}
		wait(context.Background(), 10*time.Millisecond)
	}
	return nil
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// empty removes what the server kept on disk.
func (s *server) empty(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "*"))
	must(t, err)
	for _, file := range files {
		must(t, os.RemoveAll(file))
	}
}

// ownServer is a server that the test may break.
func ownServer(t *testing.T, args ...string) *server {
	t.Helper()
	s, err := startServer(t.TempDir(), args...)
	must(t, err)
	t.Cleanup(s.kill)
	return s
}

func (s *server) client(t testing.TB) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.addr})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

var prefixes atomic.Int64

// prefix is a key prefix that no other test has.
func prefix() string { return fmt.Sprintf("t%d:", prefixes.Add(1)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok, and fails the test with what if that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		wait(context.Background(), 5*time.Millisecond)
	}
}

// quiet is a logger for tests that provoke warnings.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// commandCount sums the calls of a command since the server started.
func commandCount(t testing.TB, client redis.UniversalClient, command string) (n int) {
	t.Helper()
	text, err := client.Info(context.Background(), "commandstats").Result()
	must(t, err)
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			_, err := fmt.Sscanf(rest, "%d", &n)
			must(t, err)
		}
	}
	return n
}
