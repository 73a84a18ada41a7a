package streams

import (
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func TestPassedTellsWhetherAllUpToAMarkIsAcked(t *testing.T) {
	f := newFixture(t, shared)
	passed := func(m Mark) bool {
		ok, err := Passed(t.Context(), f.client, "group", m)
		must(t, err)
		return ok
	}
	mark := func() Mark {
		m, err := Position(t.Context(), f.client, f.prefix, "topic")
		must(t, err)
		return m
	}
	if !passed(mark()) {
		t.Error("an empty topic is not passed")
	}
	messages := f.subscribe(f.subscriber(f.config()))
	f.publish(Live, "m", 2)
	f.publish(Bulk, "b", 1)
	line := mark()
	f.publish(Live, "later", 1)
	held := f.next(messages)
	if passed(line) {
		t.Error("passed with unread and pending entries")
	}
	for range 3 {
		f.next(messages).Ack()
	}
	if passed(line) {
		t.Error("passed with one pending entry")
	}
	held.Ack()
	eventually(t, "the line is passed", func() bool { return passed(line) })
	must(t, f.client.Del(t.Context(), f.key()).Err())
	f.publish(Live, "young", 1)
	must(t, f.client.Del(t.Context(), f.key()).Err())
	if _, err := Passed(t.Context(), f.client, "group", line); !errors.Is(err, ErrReset) {
		t.Errorf("a stream that was lost since the mark: %v, want ErrReset", err)
	}
}

// TestWhatAGroupThatIsMadeAgainHadPendingIsNotPassed makes the group again after each of the commands that it takes to tell.
func TestWhatAGroupThatIsMadeAgainHadPendingIsNotPassed(t *testing.T) {
	for nth, done := 1, true; done; nth++ {
		f := newFixture(t, shared)
		f.publish(Live, "m", 1)
		f.read("reader", 1)
		line, err := Position(t.Context(), f.client, f.prefix, "topic")
		must(t, err)
		done = false
		client := shared.client(t)
		client.AddHook(&between{nth: nth, do: func() { done = true; f.remake() }})
		if passed, err := Passed(t.Context(), client, "group", line); passed || err != nil {
			t.Errorf("after command %d: passed %v, %v", nth, passed, err)
		}
	}
}

func TestTrimRemovesWhatIsAckedAndNothingElse(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Concurrency = 4
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "m", 10)
	var held = f.next(messages)
	for range 3 {
		f.next(messages).Ack()
	}
	for range 3 { // three of the others come into the window
		f.next(messages).Ack()
	}
	f.silentFor(100 * time.Millisecond) // several trims
	first, err := f.client.XRangeN(t.Context(), f.key(), "-", "+", 1).Result()
	must(t, err)
	if len(first) != 1 || f.key()+"/"+first[0].ID != Entry(held) {
		t.Fatalf("the stream begins with %v, want the pending %s", first, Entry(held))
	}
	held.Ack()
	for range 3 {
		f.next(messages).Ack()
	}
	eventually(t, "all is trimmed", func() bool { return f.length() == 0 })
	f.publish(Live, "unread", 5)
	for range 5 {
		f.next(messages).Ack()
	}
}

func (f *fixture) silentFor(d time.Duration) { f.silent(nil, d) }

func TestLagAndMemory(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 5)
	f.publish(Bulk, "b", 2)
	f.read("reader", 2)
	backlog, err := Lag(t.Context(), f.client, f.prefix, "topic", "group")
	must(t, err)
	if want := (Backlog{Live: LaneBacklog{Pending: 2, Lag: 3}, Bulk: LaneBacklog{Lag: 2}}); backlog != want {
		t.Errorf("the backlog is %+v, want %+v", backlog, want)
	}
	s := ownServer(t, "--maxmemory", "100mb", "--maxmemory-policy", "noeviction")
	used, known, err := MemoryUsed(t.Context(), s.client(t))
	if err != nil || !known || used <= 0 || used > 0.5 {
		t.Errorf("memory used is %g, %v, %v", used, known, err)
	}
	policy, known, err := EvictionPolicy(t.Context(), s.client(t))
	if err != nil || !known || policy != "noeviction" {
		t.Errorf("the policy is %q, %v, %v", policy, known, err)
	}
}

func TestMiniredisWillDoForDevelopment(t *testing.T) {
	m := miniredis.RunT(t)
	s := &server{addr: m.Addr()}
	f := newFixture(t, s)
	messages := f.subscribe(f.subscriber(f.config()))
	f.publish(Live, "m", 20)
	for range 20 {
		f.next(messages).Ack()
	}
	eventually(t, "all is passed", func() bool {
		mark, err := Position(t.Context(), f.client, f.prefix, "topic")
		must(t, err)
		ok, err := Passed(t.Context(), f.client, "group", mark)
		return err == nil && ok
	})
	eventually(t, "all is trimmed", func() bool { return f.length() == 0 })
	if _, known, err := MemoryUsed(t.Context(), f.client); known || err != nil {
		t.Errorf("memory is known: %v, %v", known, err)
	}
}
