package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

func TestTheLaneOfAProjectsMessage(t *testing.T) {
	for _, c := range []struct {
		name       string
		backlogged bool
		put        put
		want       streams.Lane
	}{
		{name: "without a backlog everything is live", put: put{own: 999, all: 1000, projects: 2}, want: streams.Live},
		{name: "more than an equal share goes by bulk", backlogged: true, put: put{own: 501, all: 1000, projects: 2}, want: streams.Bulk},
		{name: "an equal share is live", backlogged: true, put: put{own: 500, all: 1000, projects: 2}, want: streams.Live},
		{name: "less than an equal share is live", backlogged: true, put: put{own: 1, all: 1000, projects: 2}, want: streams.Live},
		{name: "one project alone makes room for others", backlogged: true, put: put{own: 1000, all: 1000, projects: 1}, want: streams.Bulk},
		{name: "one project alone is live without a backlog", put: put{own: 1000, all: 1000, projects: 1}, want: streams.Live},
		{name: "the share is that of all that are active", backlogged: true, put: put{own: 11, all: 1000, projects: 100}, want: streams.Bulk},
		{name: "shares are not rounded", backlogged: true, put: put{own: 333, all: 1000, projects: 3}, want: streams.Live},
	} {
		if got := c.put.lane(c.backlogged); got != c.want {
			t.Errorf("%s: %+v goes by the %s lane", c.name, c.put, got)
		}
	}
}

func TestTheIntakeIsThatOfTwoWindows(t *testing.T) {
	in, began := newIntake(""), time.Now()
	one, other := millrace.NewID(began), millrace.NewID(began)
	is := func(when string, got, want put) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	is("the first", in.add(one), put{1, 1, 1})
	is("another project", in.add(other), put{1, 2, 2})
	is("the first again", in.add(one), put{2, 3, 2})
	in.forget(began.Add(windowLength - time.Second))
	is("in the same window", in.add(one), put{3, 4, 2})
	in.forget(began.Add(windowLength + time.Second))
	is("in the second window", in.add(one), put{4, 5, 2})
	in.forget(began.Add(2*windowLength + 2*time.Second))
	is("in the third, when the first is forgotten", in.add(one), put{2, 2, 1})
	in.forget(began.Add(5 * windowLength))
	is("after a long pause", in.add(one), put{1, 1, 1})
}

func TestOnlyActiveProjectsAreRemembered(t *testing.T) {
	in, now := newIntake(""), time.Now()
	for range 10 {
		for range 1000 {
			in.add(millrace.NewID(now))
		}
		now = now.Add(windowLength)
		in.forget(now)
	}
	if n := len(in.now.by) + len(in.before.by); n != 1000 {
		t.Errorf("%d projects are remembered, want the 1000 of the last window", n)
	}
}

func TestWhatIsBulkStaysSoAndDoesNotCount(t *testing.T) {
	s := NewShares(nil, DefaultStreamsConfig(), nil)
	in := s.topics[string(Due)]
	in.backlogged.Store(true)
	project := millrace.NewID(time.Now())
	in.add(millrace.NewID(time.Now()))
	lane := func(bulk bool) streams.Lane {
		t.Helper()
		msg, err := encode(Due, millrace.Delivery{ProjectID: project, Bulk: bulk})
		if err != nil {
			t.Fatal(err)
		}
		s.setLane(msg)
		return streams.LaneOf(msg)
	}
	for range 10 {
		if got := lane(true); got != streams.Bulk {
			t.Fatalf("a replay's delivery goes by the %s lane", got)
		}
	}
	if got := lane(false); got != streams.Live {
		t.Errorf("after a replay its project's own delivery goes by the %s lane", got)
	}
	if got := lane(false); got != streams.Bulk {
		t.Errorf("beyond its share it goes by the %s lane", got)
	}
}

// flood is two stages: the first passes on what it is given, the second reads
// that once it may.
type flood struct {
	t       *testing.T
	by      Transport
	may     chan struct{}
	arrived chan millrace.StoredEvent
}

func newFlood(t *testing.T) *flood {
	client := startRedis(t)
	f := &flood{t: t, by: transport(t, client), may: make(chan struct{}), arrived: make(chan millrace.StoredEvent, 10_000)}
	f.by.Pressure = NewPressure(client, 0.70)
	passOn := handled[millrace.Event, millrace.StoredEvent](func(_ context.Context, e millrace.Event) ([]millrace.StoredEvent, error) {
		return []millrace.StoredEvent{{Event: e}}, nil
	})
	read := handled[millrace.StoredEvent, handlers.Nothing](func(ctx context.Context, e millrace.StoredEvent) ([]handlers.Nothing, error) {
		select {
		case <-f.may:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		f.arrived <- e
		return nil, nil
	})
	limits := DefaultConfig().Persist.Limits
	slow := limits
	slow.Concurrency, slow.Timeout = 8, 0
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		f.by.Watch(ctx)
	}()
	router, run := newRouter(t, f.by, around(&graves{}), Between("persist", limits, Ingested, passOn, Persisted), Last("fanout", slow, Persisted, read))
	done := run()
	t.Cleanup(func() {
		cancel()
		<-watched
		if err := errors.Join(router.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return f
}

// send puts n events of a project in, and waits until all have been passed on.
func (f *flood) send(project millrace.ID, n int) {
	f.t.Helper()
	want := f.length(streams.Live) + f.length(streams.Bulk) + n
	for ; n > 0; n -= 100 {
		var msgs []*message.Message
		for range min(n, 100) {
			msg, err := encode(Ingested, millrace.Event{ID: millrace.NewID(time.Now()), ProjectID: project})
			if err != nil {
				f.t.Fatal(err)
			}
			msgs = append(msgs, msg)
		}
		if err := f.by.Publisher.Publish(string(Ingested), msgs...); err != nil {
			f.t.Fatal(err)
		}
	}
	await(f.t, "all is passed on", func() (bool, error) { return f.length(streams.Live)+f.length(streams.Bulk) == want, nil })
}

// length is how many messages were ever added to a lane.
func (f *flood) length(lane streams.Lane) int {
	f.t.Helper()
	info, err := f.by.Client.XInfoStream(f.t.Context(), streams.Key(f.by.Config.Prefix, string(Persisted), lane)).Result()
	if err != nil { // nobody has read it yet, nor written
		return 0
	}
	return int(info.EntriesAdded)
}

// waiting is how many of a project's messages are in a lane, all of them before
// the reader may begin.
func (f *flood) waiting(lane streams.Lane, project millrace.ID) (n int) {
	f.t.Helper()
	for _, entry := range f.by.Client.XRange(f.t.Context(), streams.Key(f.by.Config.Prefix, string(Persisted), lane), "-", "+").Val() {
		if payload, _ := entry.Values["payload"].(string); strings.Contains(payload, project.String()) {
			n++
		}
	}
	return n
}

// backlog waits until the backlog is known, or known to be gone.
func (f *flood) backlog(want bool) {
	f.t.Helper()
	in := f.by.Shares.topics[string(Persisted)]
	await(f.t, "the backlog is noticed", func() (bool, error) { return in.backlogged.Load() == want, nil })
}

func TestNobodysFloodDelaysTheOthers(t *testing.T) {
	f := newFlood(t)
	flooding, other := millrace.NewID(time.Now()), millrace.NewID(time.Now())
	f.send(other, 1)
	f.send(flooding, 2000)
	f.backlog(true)
	f.send(flooding, 3000)
	f.send(other, 10)
	if n := f.waiting(streams.Live, other); n != 11 {
		t.Errorf("%d of the other project's 11 go by the live lane", n)
	}
	if n := f.waiting(streams.Bulk, flooding); n < 3000 {
		t.Errorf("%d of the flood go by bulk, want at least the 3000 that were added to a backlog", n)
	}
	close(f.may)
	seen, flooded, others := map[millrace.ID]bool{}, 0, 0
	for range 5011 {
		e := receive(t, f.arrived, "all arrive")
		if seen[e.ID] {
			t.Errorf("%s arrived twice", e.ID)
		}
		seen[e.ID] = true
		if e.ProjectID == flooding {
			flooded++
		} else if others++; others == 11 && flooded > 2500 {
			t.Errorf("the other project's last arrived after %d of the 5000 of the flood", flooded)
		}
	}
	f.backlog(false)
	before := f.length(streams.Bulk)
	f.send(flooding, 100)
	if bulk := f.length(streams.Bulk) - before; bulk != 0 {
		t.Errorf("%d of 100 go by bulk: without a backlog a flood is none", bulk)
	}
}

func TestWhoComesAfterAFloodDoesNotWaitForIt(t *testing.T) {
	f := newFlood(t)
	flooding, other := millrace.NewID(time.Now()), millrace.NewID(time.Now())
	f.send(flooding, 2000)
	f.backlog(true)
	f.send(flooding, 3000) // alone, still
	f.send(other, 10)
	if n := f.waiting(streams.Live, other); n != 10 {
		t.Errorf("%d of the other project's 10 go by the live lane", n)
	}
	if n := f.waiting(streams.Live, flooding); n > 2000 {
		t.Errorf("%d of the flood are before them, want those at most that were there when it was noticed", n)
	}
	close(f.may)
}

func TestAFloodIsNoticedByWhatItAdds(t *testing.T) {
	f := newFlood(t)
	f.backlog(false)
	flooding := millrace.NewID(time.Now())
	for range 20 {
		f.send(flooding, 500)
	}
	if n := f.waiting(streams.Live, flooding); n > 7000 {
		t.Errorf("%d of 10000 went by the live lane", n)
	}
	close(f.may)
}

func TestAFloodGoesByBulkUntilThatIsWorkedOff(t *testing.T) {
	f := newFlood(t)
	in := f.by.Shares.topics[string(Persisted)]
	flooding := millrace.NewID(time.Now())
	f.send(flooding, 2000)
	f.backlog(true)
	f.send(flooding, 3000)
	if err := f.by.Client.Del(t.Context(), in.keys[streams.Live]...).Err(); err != nil {
		t.Fatal(err)
	}
	f.by.Shares.look(t.Context(), in)
	if !in.backlogged.Load() {
		t.Error("what bulk has is no backlog")
	}
	if err := f.by.Client.Del(t.Context(), in.keys[streams.Bulk]...).Err(); err != nil {
		t.Fatal(err)
	}
	f.by.Shares.look(t.Context(), in)
	if in.backlogged.Load() {
		t.Error("nothing waits, and still there is a backlog")
	}
	close(f.may)
}
