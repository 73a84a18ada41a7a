package store_test

import (
	"database/sql"
	"net/url"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

func TestAStoreAtItsMostHasTheConnectionsThatItSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := must[*url.URL](t)(url.Parse(w.url))
	q := at.Query()
	app := "most of " + q.Get("search_path")
	q.Set("application_name", app)
	at.RawQuery = q.Encode()
	config := store.DefaultConfig()
	s := storetest.Open(t, at.String(), func(c *store.Config) {
		c.MaxReadConns, c.Writers, c.StatementTimeout = 3, 2, time.Minute
		config = *c
	})
	open := func() int { return w.count(`SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, app) }
	leads := must[*store.Leadership](t)(s.Lead(t.Context(), "agent"))

	held := w.delivery()
	gate := must[*sql.Tx](t)(w.db.BeginTx(t.Context(), nil))
	_, err := gate.ExecContext(t.Context(), `LOCK TABLE events, matches, deliveries, facts, idempotency_keys IN ACCESS EXCLUSIVE MODE`)
	noError(t, err)
	calls := []func() error{
		func() error { _, err := s.AppendEvent(t.Context(), w.event(), false); return err },
		func() error { _, err := s.AppendEvent(t.Context(), w.keyed(newID().String()), false); return err },
		func() error {
			_, err := s.FanOut(t.Context(), millrace.FanOut{Event: millrace.StoredEvent{Event: w.event()}})
			return err
		},
		func() error { _, err := s.Claim(t.Context(), newID(), 1, "entry"); return err },
		func() error { _, err := s.Settle(t.Context(), attempted(newID(), 1, millrace.Delivered)); return err },
		func() error {
			_, _, err := s.HandBack(t.Context(), millrace.Due{DeliveryID: newID(), Turn: 1, Why: millrace.DueTime})
			return err
		},
		func() error { _, err := s.Delivery(t.Context(), w.project, held.ID); return err },
	}
	started, done := 0, make(chan error)
	more := func() {
		for _, call := range calls {
			started++
			go func() { done <- call() }()
		}
	}
	want := config.Connections()
	// One flush may take all callers there are: more come until each writer has
	// some.
	eventually(t, "all connections are made", func() bool {
		more()
		return open() >= want
	})
	noError(t, gate.Rollback())
	for range started {
		noError(t, <-done)
	}
	// None of them was closed since.
	if n := open(); n != want {
		t.Errorf("%d connections are open, want %d", n, want)
	}
	noError(t, leads.Close())
}
