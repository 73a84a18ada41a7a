package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

func TestEveryTopicHasTheShardsOfTheStageThatReadsIt(t *testing.T) {
	c := DefaultConfig()
	want := map[string]int{"persist": 3, "fanout": 5, "deliver": 7}
	c.Persist.Shards, c.Fanout.Shards, c.Deliver.Shards = want["persist"], want["fanout"], want["deliver"]
	shards := c.Shards()
	for _, s := range Stages(Sources{}, Handlers{}, c) {
		if shards[s.Reads] != want[s.Name] {
			t.Errorf("%s is spread over %d, and its reader %s has %d", s.Reads, shards[s.Reads], s.Name, want[s.Name])
		}
	}
	if len(shards) != len(want) {
		t.Errorf("there are topics that no stage reads: %v", shards)
	}
}

func TestANumberOfShardsThatCannotBeIsNamed(t *testing.T) {
	c := DefaultConfig()
	c.Persist.Shards, c.Fanout.Shards, c.Deliver.Shards = 0, -1, 65
	wantNamed(t, c.Validate(), "stages.", "persist.shards", "fanout.shards", "deliver.shards")
	c.Persist.Shards, c.Fanout.Shards, c.Deliver.Shards = 1, 2, 64
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// sharded is a transport whose topics are spread.
func sharded(t *testing.T) Transport {
	t.Helper()
	by := transport(t, startRedis(t))
	by.Shards = map[string]int{string(Ingested): 2, string(Persisted): 1, string(Due): 4}
	out, err := streams.NewPublisher(by.Client, streams.PublisherConfig{Prefix: by.Config.Prefix, Shards: by.Shards, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	by.Publisher = out
	return by
}

func TestStagesPassMessagesOnThroughShards(t *testing.T) {
	by := sharded(t)
	limits := DefaultConfig().Fanout.Limits
	arrived := make(chan millrace.ID, 100)
	persist := handled[millrace.Event, millrace.StoredEvent](func(_ context.Context, e millrace.Event) ([]millrace.StoredEvent, error) {
		return []millrace.StoredEvent{{Event: e}}, nil
	})
	fanout := handled[millrace.StoredEvent, millrace.Delivery](func(_ context.Context, e millrace.StoredEvent) ([]millrace.Delivery, error) {
		return []millrace.Delivery{{ID: e.ID, Turn: 1}}, nil
	})
	deliver := handled[millrace.Delivery, handlers.Nothing](func(_ context.Context, d millrace.Delivery) ([]handlers.Nothing, error) {
		arrived <- d.ID
		return nil, nil
	})
	router, run := newRouter(t, by, around(&graves{}),
		Between("persist", limits, Ingested, persist, Persisted), Between("fanout", limits, Persisted, fanout, Due), Last("deliver", limits, Due, deliver))
	done := run()
	want := map[millrace.ID]bool{}
	for range 100 {
		id := millrace.NewID(time.Now())
		want[id] = true
		publish(t, by.Publisher, Ingested, millrace.Event{ID: id})
	}
	for len(want) > 0 {
		delete(want, receive(t, arrived, "each delivery arrives"))
	}
	for topic, n := range by.Shards {
		for _, key := range streams.Keys(by.Config.Prefix, topic, n, streams.Live) {
			if info, err := by.Client.XInfoStream(t.Context(), key).Result(); err != nil || info.EntriesAdded < 10 {
				t.Errorf("%s: %v, and %d of 100 messages in %d shards", key, err, info.EntriesAdded, n)
			}
		}
	}
	if err := errors.Join(router.Close(), <-done); err != nil {
		t.Error(err)
	}
}

func TestABarrierWaitsForAllShards(t *testing.T) {
	by := sharded(t)
	finish := make(chan struct{})
	held := make(chan string, 40)
	deliver := handled[millrace.Delivery, handlers.Nothing](func(_ context.Context, d millrace.Delivery) ([]handlers.Nothing, error) {
		held <- d.Entry
		<-finish
		return nil, nil
	})
	router, run := newRouter(t, by, around(&graves{}), Last("deliver", DefaultConfig().Deliver.Limits, Due, deliver))
	done := run()
	for range 40 {
		publish(t, by.Publisher, Due, millrace.Delivery{ID: millrace.NewID(time.Now()), Turn: 1})
	}
	passed, err := TopicBarrier{Transport: by, Topic: string(Due), Stage: "deliver"}.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		receive(t, held, "they are under way")
	}
	if ok, err := passed(t.Context()); ok || err != nil {
		t.Errorf("passed while they are under way: %v, %v", ok, err)
	}
	close(finish)
	await(t, "it is passed once they are acknowledged", func() (bool, error) { return passed(t.Context()) })
	if err := errors.Join(router.Close(), <-done); err != nil {
		t.Error(err)
	}
}

func TestABacklogIsThatOfAllShards(t *testing.T) {
	by := sharded(t)
	c := by.Config
	c.LaneBacklog = 30
	shares := NewShares(by.Client, c, by.Shards)
	in := shares.topics[string(Due)]
	for n, want := range map[int]bool{20: false, 40: true} {
		if err := by.Client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		for range n {
			publish(t, by.Publisher, Due, millrace.Delivery{ID: millrace.NewID(time.Now()), Turn: 1})
		}
		if shares.look(t.Context(), in); in.backlogged.Load() != want {
			t.Errorf("%d messages in 4 shards are a backlog over 30: %v", n, !want)
		}
	}
}

// partly is a publisher whose first call adds all but some.
type partly struct {
	not   []string
	calls [][]string
}

func (p *partly) Publish(_ string, msgs ...*message.Message) error {
	failed := &streams.PublishError{Err: errors.New("connection refused")}
	var uuids []string
	for _, msg := range msgs {
		uuids = append(uuids, msg.UUID)
		if len(p.calls) == 0 && slices.Contains(p.not, msg.UUID) {
			failed.Failed = append(failed.Failed, msg)
		}
	}
	p.calls = append(p.calls, uuids)
	if len(failed.Failed) > 0 {
		return failed
	}
	return nil
}

func (p *partly) Close() error { return nil }

func TestOnlyWhatWasNotAddedIsAddedAgainOrLeft(t *testing.T) {
	msgs := func() (all []*message.Message) {
		for _, uuid := range []string{"a", "b", "c", "d"} {
			all = append(all, message.NewMessage(uuid, nil))
		}
		return all
	}
	for name, c := range map[string]struct {
		stage Stage
		calls int
		left  float64
	}{
		"what the log knows is added again":                  {stage: Stage{Name: "persist", Writes: string(Persisted)}, calls: 2},
		"what the log knows and a client waits for, is left": {stage: Stage{Name: "ingest", Answers: true, Writes: string(Ingested), Or: string(Persisted)}, calls: 1, left: 2},
	} {
		next, left := &partly{not: []string{"b", "d"}}, prometheus.NewCounter(prometheus.CounterOpts{Name: "left"})
		o := &outlet{
			stage: c.stage, next: next, pressure: pressure(0), shares: NewShares(nil, DefaultStreamsConfig(), nil), left: left,
			logger: slog.New(slog.DiscardHandler), closing: t.Context(),
		}
		if err := o.Publish(string(Persisted), msgs()...); err != nil || len(next.calls) != c.calls || value(t, left) != c.left {
			t.Errorf("%s: %v, the calls were %v, and %g are left", name, err, next.calls, value(t, left))
		}
		if c.calls == 2 && !slices.Equal(next.calls[1], next.not) {
			t.Errorf("%s: the second call was %v", name, next.calls)
		}
	}
}
