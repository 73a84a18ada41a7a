package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestALateAnswerDelaysTheEventsBehindIt holds that a steady load counts from
// when each event was to be sent: a gateway that stops answers none of those
// that came due meanwhile, and a load which waits for it would not tell.
func TestALateAnswerDelaysTheEventsBehindIt(t *testing.T) {
	const stall, every, events = 500 * time.Millisecond, 10 * time.Millisecond, 60
	var once sync.Once
	var gate sync.Mutex // all wait for the one that stalls
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.Lock()
		defer gate.Unlock()
		once.Do(func() {
			select {
			case <-time.After(stall):
			case <-r.Context().Done():
			}
		})
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	l := sendTo(t, server.URL, pace{events: events, every: every}, 2)
	late := 0
	for n, at := range l.answered {
		if at == 0 {
			t.Fatalf("event %d was not answered", n)
		}
		if time.Duration(at-l.due[n]) > stall/5 {
			late++
		}
	}
	// With two connections, all but two of those that were due in 400 ms were
	// not even sent then.
	if late < 20 {
		t.Errorf("%d events were late, want at least 20", late)
	}
	if q := quantiles(l.requestTimes()); q.P50 < 20 {
		t.Errorf("the median is %.1f ms", q.P50)
	}
}

func TestALoadEndsWhenItShould(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	defer server.Close()
	stopped := make(chan struct{})
	close(stopped)
	for rule, p := range map[string]struct {
		pace     pace
		from, to int64
	}{
		"after its last event":    {pace{events: 100}, 100, 100},
		"after its time":          {pace{events: 1 << 20, limit: 100 * time.Millisecond}, 1, 1<<20 - 1},
		"once it is told to stop": {pace{events: 1 << 20, every: time.Hour, stop: stopped}, 0, 1},
	} {
		l := sendTo(t, server.URL, p.pace, 4)
		if n := l.events.Load(); n < p.from || n > p.to {
			t.Errorf("%s: %d events were sent", rule, n)
		}
	}
}

func TestALoadFailsByTheFirstRefusal(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no room", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	if err := newLoad(t, server.URL, pace{events: 100}, 4).send(t.Context()); err == nil {
		t.Error("events that were refused count as sent")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newLoad(t, server.URL, pace{events: 100}, 4).send(ctx); err == nil {
		t.Error("a load that was interrupted counts as done")
	}
}

func newLoad(t *testing.T, url string, p pace, clients int) *load {
	t.Helper()
	a, err := newAPI(url, "key")
	if err != nil {
		t.Fatal(err)
	}
	plan := plan{data: newTemplate(1, 100), fan: 1}
	plan.routes = []route{{head: head(a, way{path: "/events", before: `{"data":`}, "", plan.data)}}
	return &load{target: a.base, ledger: newLedger(plan, p.events, 0), pace: p, clients: clients}
}

func sendTo(t *testing.T, url string, p pace, clients int) *ledger {
	t.Helper()
	l := newLoad(t, url, p, clients)
	if err := l.send(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l.ledger
}
