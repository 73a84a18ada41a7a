package millracetest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a redis-server that a test may break.
type Redis struct {
	t      testing.TB
	addr   string
	dir    string
	cmd    *exec.Cmd
	Client *redis.Client
}

func newRedis(t testing.TB) *Redis {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Redis{t: t, addr: listener.Addr().String(), dir: t.TempDir()}
	_ = listener.Close()
	r.Client = redis.NewClient(&redis.Options{Addr: r.addr})
	t.Cleanup(func() {
		_ = r.Client.Close()
		r.Kill()
	})
	r.Start()
	return r
}

// Start starts the server, with an append-only file, and waits until it
// answers.
func (r *Redis) Start() {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatalf("redis-server is not on PATH; `make deps` installs it: %v", err)
	}
	_, port, _ := net.SplitHostPort(r.addr)
	r.cmd = exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--appendonly", "yes")
	if err := r.cmd.Start(); err != nil {
		r.t.Fatalf("start redis-server: %v", err)
	}
	eventually(r.t, "redis-server answers", func() error { return r.Client.Ping(context.Background()).Err() })
}

// Kill ends the server at once.
func (r *Redis) Kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.cmd = nil
}

// patience bounds every wait: five times what is promised, on a busy machine.
const patience = 90 * time.Second

// eventually asks again and again until there is no error.
func eventually(t testing.TB, what string, ask func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s: %v", patience, what, err)
		}
	}
}

var errNotYet = fmt.Errorf("not yet")
