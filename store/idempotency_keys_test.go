package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

func (w *world) keyed(key string) millrace.Event {
	e := w.event()
	e.IdempotencyKey = key
	return e
}

func TestAKeyUsedByFiftyAtOnceIsOneEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	firsts, duplicates := map[millrace.ID]int{}, 0
	in(50, func(int) {
		stored, err := w.AppendEvent(t.Context(), w.keyed("order-1"), false)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		firsts[stored.ID]++
		if stored.DuplicateOf != (millrace.ID{}) {
			duplicates++
		}
	})
	if len(firsts) != 1 || duplicates != 49 {
		t.Errorf("the callers were told of %d events, and %d that theirs was a duplicate", len(firsts), duplicates)
	}
	if n := w.count(`SELECT count(*) FROM events`); n != 1 {
		t.Errorf("%d events are stored, want 1", n)
	}
}

func TestAKeyIsItsProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine, theirs := w.keyed("same"), w.keyed("same")
	theirs.ProjectID = w.newProject()
	for _, e := range []millrace.Event{mine, theirs} {
		if stored := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false)); stored.ID != e.ID {
			t.Errorf("event %s was taken for %s", e.ID, stored.ID)
		}
	}
}

func TestAKeyWithAnotherBodyIsAConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.keyed("order-1"), false))
	changes := map[string]func(*millrace.Event){
		"type":     func(e *millrace.Event) { e.Type = "order.refunded" },
		"payload":  func(e *millrace.Event) { e.Payload = []byte(`{"n":1}`) },
		"headers":  func(e *millrace.Event) { e.Headers = map[string]string{"X-Tenant": "b"} },
		"owner":    func(e *millrace.Event) { e.Audience.OwnerID = "acme" },
		"endpoint": func(e *millrace.Event) { e.Audience.EndpointID = newID() },
	}
	for what, change := range changes {
		for _, keep := range []bool{false, true} {
			e := w.keyed("order-1")
			change(&e)
			_, err := w.AppendEvent(t.Context(), e, keep)
			if millrace.CodeOf(err) != millrace.CodeConflict {
				t.Errorf("another %s: %v, want a conflict", what, err)
			}
		}
	}
	if n := w.count(`SELECT count(*) FROM events`); n != 1 {
		t.Errorf("%d events are stored, want 1", n)
	}
}

func TestAKeptDuplicateIsStoredAndNamesTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.keyed("order-1"), true))
	second := w.keyed("order-1")
	for range 2 { // the second time it is a redelivery of the duplicate
		stored := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), second, true))
		if stored.ID != second.ID || stored.DuplicateOf != first.ID {
			t.Errorf("stored %s as the duplicate of %s, want %s of %s", stored.ID, stored.DuplicateOf, second.ID, first.ID)
		}
	}
	if n := w.count(`SELECT count(*) FROM events WHERE duplicate_of = $1`, first.ID); n != 1 {
		t.Errorf("%d duplicates are stored, want 1", n)
	}
}

func TestAKeyEndsWithItsWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *store.Config) { c.IdempotencyWindow = time.Hour })
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.keyed("young"), false))
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.keyed("old"), false))
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.keyed("older"), false))
	if n := w.count(`SELECT count(*) FROM idempotency_keys WHERE expires_at BETWEEN now() + interval '50 min' AND now() + interval '1 hour'`); n != 3 {
		t.Errorf("%d keys expire in an hour, want 3", n)
	}
	w.exec(`UPDATE idempotency_keys SET expires_at = now() - interval '1 s' WHERE key LIKE 'client:old%'`)
	again := w.keyed("old")
	if stored := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), again, false)); stored.ID != again.ID || stored.DuplicateOf != (millrace.ID{}) {
		t.Errorf("after its window a key still stands for %s", stored.ID)
	}
	if n := must[int](t)(w.ExpireKeys(t.Context(), 10)); n != 1 {
		t.Errorf("%d keys expired, want 1", n)
	}
	if n := w.count(`SELECT count(*) FROM idempotency_keys WHERE key = 'client:older'`); n != 0 {
		t.Error("the expired key is still there")
	}
}
