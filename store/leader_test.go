package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func TestOneLeadsAndTheNextTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := must[*store.Leadership](t)(w.Lead(t.Context(), "retry"))
	other := must[*store.Leadership](t)(w.Lead(t.Context(), "sweep")) // another lock
	defer func() { noError(t, other.Close()) }()

	second := storetest.Open(t, w.url)
	impatient, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := second.Lead(impatient, "retry"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second leads too: %v", err)
	}
	if closed(first.Done()) {
		t.Error("the first lost its lock")
	}
	noError(t, first.Close())
	if !closed(first.Done()) {
		t.Error("the first does not know that it gave its lock back")
	}
	next := must[*store.Leadership](t)(second.Lead(t.Context(), "retry"))
	noError(t, next.Close())
}

func TestALeaderWhoseConnectionIsKilledKnowsAndAnotherLeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *store.Config) { c.Application = "doomed" })
	first := must[*store.Leadership](t)(w.Lead(t.Context(), "retry"))
	w.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doomed leader retry'`)
	second := storetest.Open(t, w.url)
	next := must[*store.Leadership](t)(second.Lead(t.Context(), "retry"))
	select {
	case <-first.Done():
	case <-time.After(time.Minute):
		t.Error("the first does not know that it leads no more")
	}
	noError(t, first.Close())
	noError(t, next.Close())
}

func TestPostgresEndsALeaderThatIsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *store.Config) { c.Application = "silent" })
	first := must[*store.Leadership](t)(w.Lead(t.Context(), "retry"))
	defer func() { noError(t, first.Close()) }()
	n := w.count(`SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND a.application_name = 'silent leader retry'`)
	if n != 1 {
		t.Errorf("%d sessions have the lock, want 1", n)
	}
	var limit string
	noError(t, first.Session().GetContext(t.Context(), &limit, `SHOW idle_session_timeout`))
	if limit != "10s" {
		t.Errorf("a silent session ends after %s, want 10s", limit)
	}
}
