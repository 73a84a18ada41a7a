package sources

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

func everyMessageOnce(t *testing.T, h brokerHarness) {
	h.Produce(t, broadcasts(50)...)
	a := startAgent(t, agentConfig{source: h.Source()})
	h.Produce(t, numbered(50, 100)...)
	ids, numbers := map[string]bool{}, map[string]bool{}
	for range 100 {
		s := a.next()
		ids[s.BrokerMessageID], numbers[string(s.Payload)] = true, true
	}
	if len(ids) != 100 || len(numbers) != 100 {
		t.Errorf("of 100 messages came %d, with %d ids", len(numbers), len(ids))
	}
	a.wantState(millrace.SourceHealthy)
	a.stop()
	a.wantNothingMore()
	wantLeft(t, h, 0)
}

func asManyAsWorkers(t *testing.T, h brokerHarness) {
	const workers = 8
	source := h.Source()
	source.PubSub.Workers = workers
	var inFlight, most atomic.Int64
	began, finish := make(chan struct{}, 100), make(chan struct{})
	h.Produce(t, broadcasts(4*workers)...)
	a := startAgent(t, agentConfig{source: source, handle: func(context.Context, millrace.Submission) error {
		n := inFlight.Add(1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		began <- struct{}{}
		<-finish
		inFlight.Add(-1)
		return nil
	}})
	defer sync.OnceFunc(func() { close(finish) })()
	for range workers {
		receive(t, began, "as many are in flight as there are workers")
	}
	for range 4 * workers {
		finish <- struct{}{}
		a.next()
	}
	if n := most.Load(); n != workers {
		t.Errorf("%d were in flight, want %d", n, workers)
	}
}

func sameMessageAgain(t *testing.T, h brokerHarness) {
	const n = 5
	h.Produce(t, broadcasts(n)...)
	began := make(chan millrace.Submission, 10*n)
	dies := startAgent(t, agentConfig{source: h.Source(), grace: 100 * time.Millisecond, handle: func(ctx context.Context, s millrace.Submission) error {
		began <- s
		<-ctx.Done()
		return ctx.Err()
	}})
	ids := map[string]string{}
	for range n {
		s := receive(t, began, "the messages are handled")
		ids[string(s.Payload)] = s.BrokerMessageID
	}
	dies.stop()
	wantLeft(t, h, n)
	next := startAgent(t, agentConfig{source: h.Source()})
	for range n {
		if s := next.next(); ids[string(s.Payload)] != s.BrokerMessageID {
			t.Errorf("message %s was %q, and then %q", s.Payload, ids[string(s.Payload)], s.BrokerMessageID)
		}
	}
	next.stop()
	next.wantNothingMore()
	wantLeft(t, h, 0)
}

func failureStaysAlone(t *testing.T, h brokerHarness) {
	h.Produce(t, broadcast(-1))
	h.Produce(t, broadcasts(20)...)
	var tries atomic.Int64
	fails := startAgent(t, agentConfig{source: h.Source(), grace: 100 * time.Millisecond, handle: func(_ context.Context, s millrace.Submission) error {
		if string(s.Payload) != "-1" {
			return nil
		}
		tries.Add(1)
		return errors.New("odd")
	}})
	for range 20 {
		fails.next()
	}
	eventually(t, func() bool { return tries.Load() > 1 }, func() string { return "it is tried again" })
	fails.stop()
	fails.wantNothingMore()
	if h.Left(t) == 0 {
		t.Fatal("nothing is left: what failed was acknowledged")
	}
	next := startAgent(t, agentConfig{source: h.Source()})
	for string(next.next().Payload) != "-1" {
	}
}

func storeAway(t *testing.T, h brokerHarness) {
	const n = 20
	h.Produce(t, broadcasts(n)...)
	var back atomic.Bool
	tried := make(chan struct{}, 1)
	store := func(context.Context, millrace.Submission) error {
		if back.Load() {
			return nil
		}
		tell(tried)
		return millrace.Unavailable(errors.New("the store is away"))
	}
	waits := startAgent(t, agentConfig{source: h.Source(), grace: 100 * time.Millisecond, handle: store})
	receive(t, tried, "the store is asked")
	waits.stop()
	waits.wantNothingMore()
	wantLeft(t, h, n)
	goesOn := startAgent(t, agentConfig{source: h.Source(), handle: store})
	for range 3 {
		receive(t, tried, "the store is asked again")
	}
	back.Store(true)
	for range n {
		goesOn.next()
	}
	goesOn.stop()
	goesOn.wantNothingMore()
	wantLeft(t, h, 0)
}

func poisonIsBuried(t *testing.T, h brokerHarness) {
	source := h.Source()
	poison := map[string]string{
		`{"event_type": "a", "data": `: "ends in the middle",
		`[1]`:                          "not the object",
		`hello`:                        "not the JSON",
		`{"event_type": "a", "data": 1, "endpoint_id": "e"}`: "no such endpoint",
	}
	for body := range poison {
		h.Produce(t, produced{headers: map[string]string{"X-Who": "me"}, body: body})
	}
	h.Produce(t, broadcasts(5)...)
	a := startAgent(t, agentConfig{source: source})
	for range 5 {
		a.next()
	}
	for range len(poison) {
		d := a.nextDead()
		why, known := poison[string(d.Raw)]
		if !known || !strings.Contains(d.Error, why) || d.Reason != "undecodable" {
			t.Errorf("%s is dead for %s: %s; want %q", d.Raw, d.Reason, d.Error, why)
		}
		if from, err := SourceOf(d); d.ProjectID != source.ProjectID || from != source.ID || err != nil || d.Metadata["X-Who"] != "me" || d.Stage != "ingest" {
			t.Errorf("dead letter %+v is of source %s (%v)", d, from, err)
		}
	}
	a.stop()
	a.wantNothingMore()
	wantLeft(t, h, 0)
}

func sharedWork(t *testing.T, h brokerHarness) {
	one, other := startAgent(t, agentConfig{source: h.Source()}), startAgent(t, agentConfig{source: h.Source()})
	sent := 0
	eventually(t, func() bool {
		h.Produce(t, numbered(sent, sent+10)...)
		sent += 10
		return len(one.seen) > 0 && len(other.seen) > 0
	}, func() string { return "both have a share" })
	between(t, sent, one, other)
	one.stop()
	other.stop()
	wantLeft(t, h, 0)
}

// between waits until two agents have taken n messages, and tells which the
// second of them took.
func between(t *testing.T, n int, one, other *agent) (others map[string]bool) {
	t.Helper()
	numbers, others := map[string]bool{}, map[string]bool{}
	for late := time.After(patience); len(numbers) < n; {
		select {
		case s := <-one.seen:
			numbers[string(s.Payload)] = true
		case s := <-other.seen:
			numbers[string(s.Payload)], others[string(s.Payload)] = true, true
		case <-late:
			t.Fatalf("of %d messages came %d", n, len(numbers))
		}
	}
	return others
}

func drained(t *testing.T, h brokerHarness) {
	const n = 200
	source := h.Source()
	source.PubSub.Workers = 10
	h.Produce(t, broadcasts(n)...)
	busy := func(ctx context.Context, _ millrace.Submission) error {
		pause(ctx, 10*time.Millisecond)
		return ctx.Err()
	}
	taken := map[string]int{}
	take := func(a *agent) {
		taken[string(a.next().Payload)]++
	}
	first := startAgent(t, agentConfig{source: source, handle: busy})
	for range n / 4 {
		take(first)
	}
	first.stop()
	for len(first.seen) > 0 {
		take(first)
	}
	if len(taken) == n {
		t.Fatal("the first took all of them")
	}
	wantLeft(t, h, n-len(taken))
	second := startAgent(t, agentConfig{source: source, handle: busy})
	for len(taken) < n {
		take(second)
	}
	second.stop()
	second.wantNothingMore()
	for number, times := range taken {
		if times != 1 {
			t.Errorf("message %s came %d times", number, times)
		}
	}
	wantLeft(t, h, 0)
}

func brokerNotThere(t *testing.T, h breakable) {
	h.Break(t)
	a := startAgent(t, agentConfig{source: h.Source()})
	state := a.wantState(millrace.SourceUnhealthy)
	if state.SourceID != h.Source().ID || state.Error == "" || len(state.Error) > 200 || strings.ContainsAny(state.Error, "\n{}[]") || state.Lag != -1 {
		t.Errorf("not in plain words: %+v", state)
	}
	t.Logf("it says: %s", state.Error)
	h.Mend(t)
	if state := a.wantState(millrace.SourceHealthy); state.Error != "" {
		t.Errorf("healthy, and yet %q", state.Error)
	}
	h.Produce(t, broadcast(1))
	a.next()
	a.stop()
	wantLeft(t, h, 0)
}

func brokerRestarts(t *testing.T, h breakable) {
	a := startAgent(t, agentConfig{source: h.Source()})
	h.Produce(t, broadcasts(10)...)
	came := map[string]bool{}
	for len(came) < 10 {
		came[string(a.next().Payload)] = true
	}
	h.Break(t)
	a.wantState(millrace.SourceUnhealthy)
	h.Mend(t)
	h.Produce(t, numbered(10, 20)...)
	for len(came) < 20 {
		came[string(a.next().Payload)] = true
	}
	a.wantState(millrace.SourceHealthy)
	a.stop()
	wantLeft(t, h, 0)
}
