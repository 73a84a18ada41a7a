package streams

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// after is a go-redis hook that does something once, between a command's reply and the caller's seeing it.
type after struct {
	command string
	once    sync.Once
	do      func()
}

func (a *after) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *after) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (a *after) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if strings.EqualFold(cmd.Name(), a.command) && strings.Contains(cmd.String(), "payload") {
			a.once.Do(a.do)
		}
		return err
	}
}

// TestWhatIsAckedWhileItIsClaimedIsNotBegunAgain is what happens after a process, or Redis, was away for a lease: the consumer claims its own entry back, and the ack
// is confirmed before the claim's reply is seen.
func TestWhatIsAckedWhileItIsClaimedIsNotBegunAgain(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Lease = 9 * time.Second // so that nothing is renewed while the test runs
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	f.publish(Live, "m", 1)
	msg := f.nextIs(messages, "m0")
	claimed := make(chan struct{})
	subscriber.control.AddHook(&after{command: "xautoclaim", do: func() {
		defer close(claimed)
		msg.Ack()
		for subscriber.Stats().Acked == 0 && wait(t.Context(), time.Millisecond) {
		}
	}})
	f.age(Live, time.Minute)
	<-claimed
	f.silent(messages, 500*time.Millisecond)
	if got := subscriber.Stats(); got.Acked != 1 || got.Takeovers != 0 {
		t.Errorf("stats are %+v, want one ack and no takeover", got)
	}
}

// TestWhatIsAckedIsNotedAsLongAsAnyShardIsClaimed has the claim of one shard end before that of another.
func TestWhatIsAckedIsNotedAsLongAsAnyShardIsClaimed(t *testing.T) {
	w := newWindow(SubscriberConfig{Concurrency: 2, MaxWaiting: 1, BulkWeight: 1}, func() {})
	shard := newShard(&subscription{cfg: SubscriberConfig{Concurrency: 2}}, keys{"key"})
	acked := func() *entry { return &entry{shard: shard, key: "key", id: "1"} }
	w.beginClaim()
	w.beginClaim()
	w.endClaim()
	w.forget([]*entry{acked()})
	if fresh := w.pushAgain([]*entry{acked()}); fresh != 0 {
		t.Error("what was acked since it was claimed is begun again")
	}
	w.endClaim()
	if w.ackedInClaim != nil {
		t.Error("what is acked is noted without a claim")
	}
}

// age makes all that is pending look as if it had not been renewed for d.
func (f *fixture) age(lane Lane, d time.Duration) {
	f.Helper()
	key := Key(f.prefix, "topic", lane)
	pending, err := f.client.XPendingExt(context.Background(), &redis.XPendingExtArgs{Stream: key, Group: "group", Start: "-", End: "+", Count: 10_000}).Result()
	must(f, err)
	for _, p := range pending {
		must(f, f.client.Do(context.Background(), "xclaim", key, "group", p.Consumer, 0, p.ID, "idle", d.Milliseconds(), "justid").Err())
	}
}

// TestAnEntryBehindManyLivingOnesIsTakenOver has a dead consumer's entry stand behind more of a living one's than one look passes.
func TestAnEntryBehindManyLivingOnesIsTakenOver(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "living", 12*claimRounds)
	f.read("living", 12*claimRounds)
	f.publish(Live, "dead", 1)
	id := f.read("dead", 1)[0].ID
	must(t, f.client.Do(t.Context(), "xclaim", f.key(), "group", "dead", 0, id, "idle", time.Minute.Milliseconds(), "justid").Err())
	cfg := f.config()
	cfg.Concurrency, cfg.Lease, cfg.ClaimInterval = 1, 10*time.Second, time.Second
	began := time.Now()
	f.nextIs(f.subscribe(f.subscriber(cfg)), "dead0").Ack()
	if took := time.Since(began); took > cfg.Lease {
		t.Errorf("it took %s: the living ones' lease was waited for", took)
	}
}

// TestWhatAReadBroughtInVainIsTakenOver stands for a read whose reply was lost: Redis says that the consumer has the entry, which has never seen it.
func TestWhatAReadBroughtInVainIsTakenOver(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Concurrency = 1
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "seen", 1)
	msg := f.nextIs(messages, "seen0") // while it is out, nothing is read
	f.publish(Live, "unseen", 1)
	f.read(f.pending()[0].Consumer, 1)
	msg.Ack()
	f.nextIs(messages, "unseen0").Ack()
	eventually(t, "all is acked", func() bool { return len(f.pending()) == 0 })
}

// TestTakenOverBulkLeavesRoomForLive has a dead consumer leave more slow bulk messages than there are slots.
func TestTakenOverBulkLeavesRoomForLive(t *testing.T) {
	f := newFixture(t, shared)
	bulk := Key(f.prefix, "topic", Bulk)
	f.publish(Bulk, "bulk", 30)
	must(t, createGroup(t.Context(), f.client, bulk, "group"))
	must(t, f.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "group", Consumer: "dead", Streams: []string{bulk, ">"}, Count: 30, Block: -1}).Err())
	f.age(Bulk, time.Minute)
	messages := f.subscribe(f.subscriber(f.config())) // 8 slots
	for range 7 {
		if msg := f.next(messages); LaneOf(msg) != Bulk {
			t.Fatalf("message %s came, want one of bulk", msg.UUID)
		} else {
			defer msg.Ack()
		}
	}
	f.publish(Live, "live", 20)
	for i := range 20 {
		f.nextIs(messages, "live"+strconv.Itoa(i)).Ack()
	}
}
