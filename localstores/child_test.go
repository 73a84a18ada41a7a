package localstores

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// child is a process of its own that has started the stores, as `millrace
// dev` does.
type child struct {
	Postgres, Redis       string
	PostgresPID, RedisPID int

	cmd   *exec.Cmd
	stdin io.Closer
}

// childMain starts the stores, says so on stdout, and stops them when stdin
// ends.
func childMain() int {
	cfg := DefaultConfig()
	cfg.Data, cfg.StateDir = os.Getenv("LOCALSTORES_CHILD"), os.Getenv("LOCALSTORES_STATE")
	s, err := Start(context.Background(), cfg)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(child{
			Postgres: s.PostgresURL.Reveal(), Redis: s.RedisURL.Reveal(), PostgresPID: s.postgres.os.Pid, RedisPID: s.redis.os.Pid,
		})
		_, readErr := io.Copy(io.Discard, os.Stdin)
		err = errors.Join(err, readErr, s.Stop(context.Background()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startChild runs this test binary again, as the given user.
func startChild(t *testing.T, cfg Config, as *syscall.Credential) *child {
	t.Helper()
	c := &child{cmd: exec.Command(executable(t, filepath.Dir(cfg.Data)))}
	c.cmd.Env = append(os.Environ(), "LOCALSTORES_CHILD="+cfg.Data, "LOCALSTORES_STATE="+cfg.StateDir)
	c.cmd.Stderr = os.Stderr
	c.cmd.Dir = filepath.Dir(cfg.Data)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	stdin, err1 := c.cmd.StdinPipe()
	stdout, err2 := c.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, c.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	t.Cleanup(func() {
		c.stdin.Close()
		_ = c.cmd.Wait() // it may have been waited for
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err := errors.Join(err, json.Unmarshal(line, c)); err != nil {
		t.Fatalf("the child did not start: %v", err)
	}
	return c
}

// stop ends the child as SIGTERM would: with its stores.
func (c *child) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(c.stdin.Close(), c.cmd.Wait()); err != nil {
		t.Fatal(err)
	}
}

// executable is this test binary where every user may run it.
func executable(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "localstores.test")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err := errors.Join(err, os.WriteFile(path, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// users are those a test can start a child as: ourselves, and under root also
// an ordinary one.
func users(t *testing.T) map[string]*syscall.Credential {
	t.Helper()
	all := map[string]*syscall.Credential{"ourselves": nil}
	if a, err := postgresAccount(); err == nil && a.dropped {
		all["an ordinary user"] = a.credential()
	}
	return all
}

func giveTo(t *testing.T, dir string, as *syscall.Credential) {
	t.Helper()
	if as == nil {
		return
	}
	if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
		t.Fatal(err)
	}
}

func TestSecondStartFindsTheDataOfTheFirst(t *testing.T) {
	for name, as := range users(t) {
		t.Run("as "+name, func(t *testing.T) {
			cfg := testConfig(t)
			giveTo(t, filepath.Dir(cfg.Data), as)
			first := startChild(t, cfg, as)
			remember(t, first.Postgres, first.Redis, "one")
			first.stop(t)
			if running(first.PostgresPID, cfg) || running(first.RedisPID, cfg) {
				t.Error("a store outlived the process that had stopped it")
			}
			second := startChild(t, cfg, as)
			wantRemembered(t, second.Postgres, second.Redis, "one")
			second.stop(t)
		})
	}
}

func TestKilledProcessTakesItsStoresAlong(t *testing.T) {
	for name, as := range users(t) {
		t.Run("as "+name, func(t *testing.T) {
			cfg := testConfig(t)
			giveTo(t, filepath.Dir(cfg.Data), as)
			first := startChild(t, cfg, as)
			remember(t, first.Postgres, first.Redis, "one")
			if err := first.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = first.cmd.Wait()             // it was killed, and says so
			second := startChild(t, cfg, as) // at once: it finds them dying
			wantRemembered(t, second.Postgres, second.Redis, "one")
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			if err := until(ctx, func() bool { return !running(first.PostgresPID, cfg) && !running(first.RedisPID, cfg) }); err != nil {
				t.Error("a store outlived both the killed process and the next start")
			}
			second.stop(t)
		})
	}
}
