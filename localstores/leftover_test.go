package localstores

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// runAgain starts a store as it was, bound to nobody's life.
func runAgain(t *testing.T, p *process) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = attributes(p.account, 0)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // by a signal, as it should
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // gone already where the test passed
		<-ended
	})
	return cmd
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := until(ctx, holds); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestStartStopsWhatAnEarlierOneLeftRunning(t *testing.T) {
	cfg := testConfig(t)
	first := startStores(t, cfg)
	remember(t, first.PostgresURL.Reveal(), first.RedisURL.Reveal(), "one")
	stopStores(t, first)
	db, cache := runAgain(t, first.postgres), runAgain(t, first.redis)
	waitFor(t, "the leftovers answer", func() bool {
		return pingPostgres(t, first.PostgresURL.Reveal()) == nil && pingRedis(t, first.RedisURL.Reveal()) == nil
	})

	second := startStores(t, cfg)
	wantRemembered(t, second.PostgresURL.Reveal(), second.RedisURL.Reveal(), "one")
	if running(db.Process.Pid, cfg) || running(cache.Process.Pid, cfg) {
		t.Error("a leftover still runs")
	}
}

func TestPidFileThatNamesAStrangerIsNotBelieved(t *testing.T) {
	cfg := testConfig(t)
	first := startStores(t, cfg)
	stopStores(t, first)
	pid := fmt.Sprintf("%d\n", os.Getpid()) // alive, and not to be signalled
	for _, path := range []string{filepath.Join(first.postgres.args[1], "postmaster.pid"), filepath.Join(cfg.Data, "redis/redis.pid")} {
		if err := os.WriteFile(path, []byte(pid), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	startStores(t, cfg)
}
