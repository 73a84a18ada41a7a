// Package redistest starts Redis for tests that need more of it than one
// server: a cluster of three masters, a master that Sentinels watch, servers
// that are killed, stopped and started again. All are real processes on free
// ports of the loopback, and end with the test.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server that a test may break. What it has it keeps in an
// append-only file, and loses none of what it answered for when it is killed: it
// never waits for the disk.
type Server struct {
	// Client is for the test's own use.
	Client *redis.Client

	t        testing.TB
	dir      string
	port     string
	password string
	args     func(s *Server) []string
	process  *process // nil while it is down
}

// Start starts a server with further arguments, such as "--user", "anna",
// "on", and waits until it answers.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, args: func(s *Server) []string {
		own := []string{"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "no"}
		return append(own, args...)
	}}
	s.begin()
	return s
}

// begin starts the server for the first time, on a free port: on another one if
// somebody was quicker.
func (s *Server) begin() {
	s.t.Helper()
	s.dir = s.t.TempDir()
	s.t.Cleanup(s.Kill)
	for try := 1; ; try++ {
		s.port = freePort(s.t)
		err := s.run()
		if err == nil {
			return
		}
		if try == 5 || !errors.Is(err, errEnded) {
			s.t.Fatal(err)
		}
	}
}

// Addr is where it listens, the same after each start.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// URL is what a gateway is told to find it by.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Start starts the server again on what it kept, and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.run(); err != nil {
		s.t.Fatal(err)
	}
}

// Kill ends the server at once, as kill -9 does.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.process.kill()
	s.process = nil
	if s.Client != nil {
		_ = s.Client.Close()
	}
}

// Freeze makes the server silent: it takes connections and answers nothing.
func (s *Server) Freeze() { s.process.signal(syscall.SIGSTOP) }

// Thaw lets it answer again, also what it was sent meanwhile.
func (s *Server) Thaw() { s.process.signal(syscall.SIGCONT) }

// errEnded says that a server did not live to answer.
var errEnded = errors.New("redis-server ended")

// run starts the process and waits until it answers.
func (s *Server) run() error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("redis-server is not on PATH; `make deps` installs it: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own handle
	cmd := exec.Command(path, s.args(s)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	if s.process, err = run(cmd); err != nil {
		return err
	}
	s.Client = redis.NewClient(&redis.Options{Addr: s.Addr(), Password: s.password})
	if err := s.answer(); err != nil {
		s.Kill()
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w; it said:\n%s", err, said)
	}
	return nil
}

// answer waits until the server takes commands: with its data loaded, if
// perhaps not from strangers.
func (s *Server) answer() error {
	return until(func() error {
		if s.process.ended() {
			return errEnded
		}
		err := s.Client.Ping(context.Background()).Err()
		var refusal redis.Error
		if errors.As(err, &refusal) && !strings.HasPrefix(err.Error(), "LOADING") {
			return nil
		}
		return err
	})
}

// patience bounds every wait, on a busy machine.
const patience = time.Minute

// until asks again and again until there is no error, or a server has ended.
func until(ask func() error) error {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("not within %s: %w", patience, err)
		}
	}
}
