package millracetest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/pipeline"
)

// prefix stands before each topic in its key.
const prefix = "millrace:"

// Redis is a redis-server that a test may break.
type Redis struct {
	t      testing.TB
	url    string
	dir    string
	child  *child // nil while it is down
	Client redis.UniversalClient
	// forgot is whether it lost what it had been given.
	forgot bool
}

func newRedis(t testing.TB) *Redis {
	t.Helper()
	addr := address(t)
	r := &Redis{t: t, url: "redis://" + addr, dir: t.TempDir(), Client: redis.NewClient(&redis.Options{Addr: addr})}
	t.Cleanup(func() {
		_ = r.Client.Close()
		r.Kill()
	})
	r.Start()
	return r
}

// Start starts the server on what its append-only file holds, and waits until
// it answers.
func (r *Redis) Start() {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatalf("redis-server is not on PATH; `make deps` installs it: %v", err)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(r.url, "redis://"))
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--appendonly", "yes")
	if r.child, err = startChild(cmd); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "redis-server answers", func() error { return r.Client.Ping(context.Background()).Err() })
}

// Kill ends the server at once.
func (r *Redis) Kill() {
	if r.child == nil {
		return
	}
	_ = r.child.end(syscall.SIGKILL) // that it was killed is no news
	r.child = nil
}

// Revive kills the server and starts it again on what it kept.
func (r *Redis) Revive() {
	r.t.Helper()
	r.Kill()
	r.Start()
}

// Freeze makes the server silent: it takes connections and answers nothing.
func (r *Redis) Freeze() { r.child.freeze() }

// Thaw lets it answer again, also what it was sent meanwhile.
func (r *Redis) Thaw() { r.child.thaw() }

// Empty kills the server and starts it again without its data.
func (r *Redis) Empty() {
	r.t.Helper()
	r.Kill()
	r.forgot = true
	if err := os.RemoveAll(filepath.Join(r.dir, "appendonlydir")); err != nil {
		r.t.Fatal(err)
	}
	r.Start()
}

// FlushAll makes the server forget everything.
func (r *Redis) FlushAll() {
	r.t.Helper()
	r.forgot = true
	if err := r.Client.FlushAll(context.Background()).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// Delete makes the server forget the streams of a topic.
func (r *Redis) Delete(topic string) {
	r.t.Helper()
	r.forgot = true
	if err := r.Client.Del(context.Background(), prefix+topic, prefix+topic+".bulk").Err(); err != nil {
		r.t.Fatal(err)
	}
}

// DestroyGroup makes the server forget who reads deliveries, and how far.
func (r *Redis) DestroyGroup() {
	r.t.Helper()
	key := prefix + string(pipeline.Due)
	if err := r.Client.XGroupDestroy(context.Background(), key, pipeline.Group("deliver")).Err(); err != nil {
		r.t.Fatal(err)
	}
}
