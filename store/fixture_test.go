package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

// world is a store with one project in it, and a look at its tables.
type world struct {
	*store.Store
	t       testing.TB
	url     string
	db      *sql.DB
	project millrace.ID
}

func newWorld(t testing.TB, change ...func(*store.Config)) *world {
	t.Helper()
	url := storetest.Migrated(t)
	w := &world{t: t, url: url, db: storetest.DB(t, url), Store: storetest.Open(t, url, change...)}
	w.project = w.newProject()
	return w
}

func newID() millrace.ID { return millrace.NewID(time.Now()) }

// lastEvent is the millisecond of the last event's id in this process.
var lastEvent atomic.Int64

// nextEventID makes ids that sort in the order of their making, which those of one
// millisecond do not.
func nextEventID() millrace.ID {
	for {
		last := lastEvent.Load()
		next := max(time.Now().UnixMilli(), last+1)
		if lastEvent.CompareAndSwap(last, next) {
			return millrace.NewID(time.UnixMilli(next))
		}
	}
}

func (w *world) newProject() millrace.ID {
	w.t.Helper()
	id := newID()
	w.exec(`INSERT INTO projects (id, name, type, config) VALUES ($1, 'test', 'outgoing', '{}')`, id)
	return id
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.db.ExecContext(context.Background(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// count answers a query for one number.
func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRowContext(context.Background(), query, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// must fails the test on an error and passes the value on.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code millrace.Code) {
	t.Helper()
	if millrace.CodeOf(err) != code {
		t.Errorf("error %v has the code %s, want %s", err, millrace.CodeOf(err), code)
	}
}

func (w *world) event() millrace.Event {
	return millrace.Event{
		ID: nextEventID(), ProjectID: w.project, Type: "order.paid", Headers: map[string]string{"X-Tenant": "a"},
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Payload: []byte(`{"n": 1}`),
	}
}

// appended appends a new event.
func (w *world) appended() millrace.StoredEvent {
	w.t.Helper()
	return must[millrace.StoredEvent](w.t)(w.AppendEvent(w.t.Context(), w.event(), false))
}

func targets(n int) []millrace.Target {
	all := make([]millrace.Target, n)
	for i := range all {
		all[i] = millrace.Target{SubscriptionID: newID(), EndpointID: newID()}
	}
	return all
}

// delivery makes a delivery of a new event, queued in turn 1.
func (w *world) delivery() millrace.Delivery {
	w.t.Helper()
	return must[[]millrace.Delivery](w.t)(w.FanOut(w.t.Context(), millrace.FanOut{Event: w.appended(), ConfigVersion: 1, Targets: targets(1)}))[0]
}

// heldDelivery makes a delivery that is held from the start.
func (w *world) heldDelivery(endpoint millrace.ID) millrace.ID {
	w.t.Helper()
	e := w.appended()
	target := millrace.Target{SubscriptionID: newID(), EndpointID: endpoint, Hold: millrace.HoldPaused}
	made := must[[]millrace.Delivery](w.t)(w.FanOut(w.t.Context(), millrace.FanOut{Event: e, ConfigVersion: 1, Targets: []millrace.Target{target}}))
	if len(made) != 0 {
		w.t.Fatalf("a held delivery was to be published: %v", made)
	}
	return millrace.DeliveryID(e.ID, target.SubscriptionID, millrace.ID{})
}

func (w *world) record(delivery millrace.ID) millrace.DeliveryRecord {
	w.t.Helper()
	return must[millrace.DeliveryRecord](w.t)(w.Delivery(w.t.Context(), w.project, delivery))
}

// attempted is the fact of a try at a turn.
func attempted(delivery millrace.ID, turn int, decided millrace.Status) millrace.Fact {
	f := millrace.Fact{
		ID: newID(), DeliveryID: delivery, Turn: turn, Kind: millrace.FactAttempted, At: time.Now().UTC().Truncate(time.Microsecond), Decided: decided,
		Attempt: &millrace.Attempt{
			Outcome: millrace.OutcomeServerError, StatusCode: 500, Error: "the endpoint answered 500", URL: "https://example.com/", Method: "POST", IP: "192.0.2.1",
			RequestHeader: map[string][]string{"Content-Type": {"application/json"}}, ResponseHeader: map[string][]string{"X-Two": {"a", "b"}},
			Body: []byte("sorry\x00"), StartedAt: time.Now().UTC().Truncate(time.Microsecond), Latency: 12345678, RetryAfter: 3 * time.Second,
		},
	}
	if decided == millrace.Delivered {
		f.Attempt.Outcome, f.Attempt.StatusCode, f.Attempt.Error = millrace.OutcomeSuccess, 200, ""
	}
	return f
}

func (w *world) settle(f millrace.Fact) bool {
	w.t.Helper()
	return must[bool](w.t)(w.Settle(w.t.Context(), f))
}

func (w *world) handBack(d millrace.Due) (millrace.Delivery, bool) {
	w.t.Helper()
	delivery, ok, err := w.HandBack(w.t.Context(), d)
	noError(w.t, err)
	return delivery, ok
}

// folds checks that a delivery's projection is the fold of its facts.
func (w *world) folds(delivery millrace.ID) {
	w.t.Helper()
	facts := must[[]millrace.Fact](w.t)(w.Facts(w.t.Context(), w.project, delivery))
	state := w.record(delivery).State
	state.Status = state.Status.Folded()
	if folded := millrace.Fold(facts); folded != state {
		w.t.Errorf("the projection is\n%+v, and its facts fold to\n%+v", state, folded)
	}
}

// eventually polls until the condition holds, with a generous deadline.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it never came: " + what)
		}
	}
}

// in runs the function n times at once and waits.
func in(n int, run func(i int)) {
	done := make(chan struct{})
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			run(i)
		}()
	}
	for range n {
		<-done
	}
}

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }
