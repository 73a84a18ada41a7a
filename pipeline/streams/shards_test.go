package streams

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// lengths returns how many entries each shard of a lane has.
func (f *fixture) lengths(lane Lane) []int64 {
	f.Helper()
	var all []int64
	for _, key := range Keys(f.prefix, "topic", f.shards, lane) {
		n, err := f.client.XLen(f.Context(), key).Result()
		must(f, err)
		all = append(all, n)
	}
	return all
}

// leavesNothing fails unless the topic has soon nothing left: nothing unread, nothing pending, nothing that is not trimmed.
func (f *fixture) leavesNothing() {
	f.Helper()
	eventually(f, "nothing is left", func() bool {
		backlog, err := Lag(f.Context(), f.client, f.prefix, "topic", "group")
		return err == nil && backlog == Backlog{} && slices.Max(f.lengths(Live)) == 0 && slices.Max(f.lengths(Bulk)) == 0
	})
}

// brings fails unless these messages come, in any order, and each once.
func (f *fixture) brings(messages <-chan *message.Message, uuids ...string) {
	f.Helper()
	want := map[string]bool{}
	for _, uuid := range uuids {
		want[uuid] = true
	}
	for len(want) > 0 {
		msg := f.next(messages)
		if !want[msg.UUID] {
			f.Fatalf("message %s came, want one of %d others", msg.UUID, len(want))
		}
		delete(want, msg.UUID)
		msg.Ack()
	}
}

func numbered(name string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, name+strconv.Itoa(i))
	}
	return all
}

func TestShardsAreAllWrittenReadAckedAndTrimmed(t *testing.T) {
	t.Parallel()
	f := newShardedFixture(t, shared.client(t), 4)
	f.publish(Live, "live", 200)
	f.publish(Bulk, "bulk", 200)
	if live, bulk := f.lengths(Live), f.lengths(Bulk); slices.Min(live) < 20 || slices.Min(bulk) < 20 {
		t.Errorf("the shards have %d and %d entries", live, bulk)
	}
	backlog, err := Lag(t.Context(), f.client, f.prefix, "topic", "group")
	if want := (Backlog{Live: LaneBacklog{Lag: 200}, Bulk: LaneBacklog{Lag: 200}}); err != nil || backlog != want {
		t.Errorf("the backlog is %+v, %v; want %+v", backlog, err, want)
	}
	f.brings(f.subscribe(f.subscriber(f.config())), append(numbered("live", 200), numbered("bulk", 200)...)...)
	f.leavesNothing()
}

func TestShardsShareTheConcurrency(t *testing.T) {
	t.Parallel()
	for _, concurrency := range []int{1, 3, 16} {
		f := newShardedFixture(t, shared.client(t), 8)
		f.publish(Live, "m", 200)
		cfg := f.config()
		cfg.Concurrency = concurrency
		subscriber := f.subscriber(cfg)
		messages := f.subscribe(subscriber)
		var out []*message.Message
		for range concurrency {
			out = append(out, f.next(messages))
		}
		f.silent(messages, 100*time.Millisecond)
		for _, msg := range out {
			msg.Ack()
		}
		for range 200 - concurrency {
			f.next(messages).Ack()
		}
		f.leavesNothing()
	}
}

// ofShard returns n UUIDs of messages that go to one shard.
func (f *fixture) ofShard(shard, n int, name string) []string {
	var all []string
	for i := 0; len(all) < n; i++ {
		if uuid := name + strconv.Itoa(i); shardOf(uuid, f.shards) == shard {
			all = append(all, uuid)
		}
	}
	return all
}

func (f *fixture) add(uuids ...string) {
	f.Helper()
	var batch []*message.Message
	for _, uuid := range uuids {
		batch = append(batch, message.NewMessage(uuid, nil))
	}
	must(f, f.publisher.Publish("topic", batch...))
}

// TestNoShardStarves has one shard flooded, and wants a message of each other one soon.
func TestNoShardStarves(t *testing.T) {
	t.Parallel()
	for _, concurrency := range []int{1, 8} {
		f := newShardedFixture(t, shared.client(t), 4)
		f.add(f.ofShard(0, 600, "flood")...)
		cfg := f.config()
		cfg.Concurrency = concurrency
		messages := f.subscribe(f.subscriber(cfg))
		for range 100 {
			f.next(messages).Ack()
		}
		wanted := map[string]bool{}
		for shard := 1; shard < 4; shard++ {
			uuid := f.ofShard(shard, 1, "other")[0]
			wanted[uuid] = true
			f.add(uuid)
		}
		for n := 0; len(wanted) > 0; n++ {
			msg := f.next(messages)
			delete(wanted, msg.UUID)
			msg.Ack()
			if n > 100 {
				t.Fatalf("concurrency %d: %d shards still wait after %d messages of another", concurrency, len(wanted), n)
			}
		}
	}
}

func TestLanesOfShardsLiveGoesFirstByWeight(t *testing.T) {
	t.Parallel()
	f := newShardedFixture(t, shared.client(t), 4)
	f.publish(Bulk, "bulk", 200)
	f.publish(Live, "live", 360)
	messages := f.subscribe(f.subscriber(f.config()))
	bulk := 0
	for range 270 {
		msg := f.next(messages)
		if strings.HasPrefix(msg.UUID, "bulk") {
			bulk++
		}
		msg.Ack()
	}
	if bulk < 15 || bulk > 50 {
		t.Errorf("%d of the first 270 were bulk, want 30", bulk)
	}
}

// connections returns how many connections of Redis there are, but the one that asks.
func (f *fixture) connections() int {
	f.Helper()
	list, err := f.client.ClientList(f.Context()).Result()
	must(f, err)
	return strings.Count(list, "\n") - 1
}

func TestAShardHasTwoConnectionsAtMost(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 4} {
		f := newShardedFixture(t, ownServer(t).client(t), shards)
		must(t, f.publisher.Close())
		must(t, f.client.Ping(t.Context()).Err())
		f.subscribe(f.subscriber(f.config()))
		blocked := func() int {
			list, err := f.client.ClientList(t.Context()).Result()
			must(t, err)
			return strings.Count(list, "cmd=xreadgroup")
		}
		eventually(t, "every shard is waited for", func() bool { return blocked() == shards })
		if got := f.connections(); got > 2*shards {
			t.Errorf("%d shards have %d connections", shards, got)
		}
	}
}

func TestShardsOfADeadConsumerAreTakenOver(t *testing.T) {
	t.Parallel()
	f := newShardedFixture(t, shared.client(t), 4)
	f.publish(Live, "live", 40)
	f.publish(Bulk, "bulk", 40)
	f.readAll("dead")
	messages := f.subscribe(f.subscriber(f.config()))
	f.brings(messages, append(numbered("live", 40), numbered("bulk", 40)...)...)
	f.leavesNothing()
	eventually(t, "the dead consumer is deleted", func() bool { return !f.has("dead") })
}

// readAll takes all entries of all shards, as a consumer does that dies with them.
func (f *fixture) readAll(consumer string) {
	f.Helper()
	for _, keys := range spread(f.prefix, "topic", f.shards) {
		must(f, createGroups(context.Background(), f.client, keys, "group"))
		err := f.client.XReadGroup(context.Background(), &redis.XReadGroupArgs{Group: "group", Consumer: consumer, Streams: []string{keys[Live], keys[Bulk], ">", ">"}, Count: 10_000, Block: -1}).Err()
		if err != nil && !errors.Is(err, redis.Nil) {
			f.Fatal(err)
		}
	}
}

// has reports whether a consumer is known to the group in any shard.
func (f *fixture) has(consumer string) bool {
	for _, key := range append(Keys(f.prefix, "topic", f.shards, Live), Keys(f.prefix, "topic", f.shards, Bulk)...) {
		all, err := f.client.XInfoConsumers(f.Context(), key, "group").Result()
		must(f, err)
		if slices.ContainsFunc(all, func(c redis.XInfoConsumer) bool { return c.Name == consumer }) {
			return true
		}
	}
	return false
}

func TestWorkOfEachShardStaysWithItsConsumer(t *testing.T) {
	t.Parallel()
	f := newShardedFixture(t, shared.client(t), 4)
	cfg := f.config()
	cfg.Concurrency, cfg.Lease = 32, 600*time.Millisecond
	first := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "m", 20)
	var out []*message.Message
	for range 20 {
		out = append(out, f.next(first))
	}
	f.silent(f.subscribe(f.subscriber(cfg)), 2*cfg.Lease)
	for _, msg := range out {
		if !Held(msg) {
			t.Errorf("the lease of %s passed although it was renewed", Entry(msg))
		}
		msg.Ack()
	}
	f.leavesNothing()
}

func TestHealShards(t *testing.T) {
	for name, wreck := range map[string]func(*fixture){
		"everything is deleted": func(f *fixture) { must(f, f.client.FlushAll(f.Context()).Err()) },
		"one shard is deleted":  func(f *fixture) { must(f, f.client.Del(f.Context(), Keys(f.prefix, "topic", 4, Live)[2]).Err()) },
		"one group is destroyed": func(f *fixture) {
			must(f, f.client.XGroupDestroy(f.Context(), Keys(f.prefix, "topic", 4, Bulk)[1], "group").Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newShardedFixture(t, ownServer(t).client(t), 4)
			messages := f.subscribe(f.subscriber(f.config()))
			f.publish(Live, "before", 40)
			f.brings(messages, numbered("before", 40)...)
			f.leavesNothing()
			wreck(f)
			began := time.Now()
			f.publish(Live, "after", 40)
			f.publish(Bulk, "bulk", 40)
			f.brings(messages, append(numbered("after", 40), numbered("bulk", 40)...)...)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			f.leavesNothing()
		})
	}
}

func TestPassedTellsOfAllShards(t *testing.T) {
	t.Parallel()
	f := newShardedFixture(t, shared.client(t), 4)
	passed := func(m Mark) bool {
		ok, err := Passed(t.Context(), f.client, "group", m)
		must(t, err)
		return ok
	}
	cfg := f.config()
	cfg.Concurrency = 64
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "m", 20)
	f.publish(Bulk, "b", 20)
	line, err := Position(t.Context(), f.client, f.prefix, "topic")
	must(t, err)
	last := map[string]*message.Message{} // of each stream
	for range 40 {
		msg := f.next(messages)
		key, _, _ := strings.Cut(Entry(msg), "/")
		if before := last[key]; before != nil {
			before.Ack()
		}
		last[key] = msg
	}
	if len(last) != 8 {
		t.Fatalf("they came from %d streams, want 8", len(last))
	}
	for key, msg := range last {
		if passed(line) {
			t.Fatalf("passed with an entry of %s pending", key)
		}
		msg.Ack()
	}
	eventually(t, "the line is passed", func() bool { return passed(line) })
	must(t, f.client.Del(t.Context(), Keys(f.prefix, "topic", 4, Bulk)[3]).Err())
	if _, err := Passed(t.Context(), f.client, "group", line); !errors.Is(err, ErrReset) {
		t.Errorf("a shard that was lost since the mark: %v, want ErrReset", err)
	}
}

func TestPublishTellsWhichMessagesOfAPipelineFailed(t *testing.T) {
	t.Parallel()
	f := newShardedFixture(t, shared.client(t), 4)
	must(t, f.client.Set(t.Context(), Keys(f.prefix, "topic", 4, Live)[2], "no stream", 0).Err())
	var batch []*message.Message
	var want []string
	for _, uuid := range numbered("m", 40) {
		batch = append(batch, message.NewMessage(uuid, nil))
		if shardOf(uuid, 4) == 2 {
			want = append(want, uuid)
		}
	}
	err := f.publisher.Publish("topic", batch...)
	partial := (*PublishError)(nil)
	if !errors.As(err, &partial) || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Fatalf("the error is %v", err)
	}
	var failed []string
	for _, msg := range partial.Failed {
		failed = append(failed, msg.UUID)
	}
	if !slices.Equal(failed, want) {
		t.Errorf("failed are %v, want %v", failed, want)
	}
	calls := make([]*addition, len(batch)) // as if they had been queued behind another
	for i, msg := range batch {
		calls[i], err = f.publisher.prepare("topic", []*message.Message{msg})
		must(t, err)
	}
	f.publisher.flush(calls)
	for i, call := range calls {
		if err := <-call.reply; (err != nil) != slices.Contains(want, batch[i].UUID) {
			t.Errorf("the call of %s is told %v", batch[i].UUID, err)
		}
	}
}
