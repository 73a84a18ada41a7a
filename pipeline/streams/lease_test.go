package streams

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestWorkLongerThanTheLeaseStaysWithItsConsumer(t *testing.T) {
	f := newFixture(t, shared)
	first := f.subscribe(f.subscriber(f.config()))
	f.publish(Live, "m", 1)
	msg := f.nextIs(first, "m0")
	second := f.subscribe(f.subscriber(f.config()))
	f.silent(second, 3*f.config().Lease)
	if !Held(msg) {
		t.Error("the lease passed although it was renewed")
	}
	if p := f.pending(); len(p) != 1 || p[0].RetryCount != 1 {
		t.Errorf("pending is %+v: it was taken over, not renewed", p)
	}
	msg.Ack()
	eventually(t, "it is acked", func() bool { return len(f.pending()) == 0 })
	f.silent(second, 10*time.Millisecond)
}

func TestADeadConsumersEntriesAreTakenOverUnderTheSameName(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 3)
	left := f.read("dead", 3)
	began := time.Now()
	messages := f.subscribe(f.subscriber(f.config()))
	names := map[string]bool{}
	for range 3 {
		msg := f.next(messages)
		names[Entry(msg)] = true
		msg.Ack()
	}
	if took := time.Since(began); took < f.config().Lease/2 {
		t.Errorf("taken over after %s: the lease was not waited for", took)
	}
	for _, e := range left {
		if !names[f.key()+"/"+e.ID] {
			t.Errorf("entry %s came under another name: %v", e.ID, names)
		}
	}
}

func TestWhoMeetsTooManyDeathsIsDead(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 1)
	id := f.read("dead", 1)[0].ID
	for range 3 { // delivered to three more who died
		must(t, f.client.XClaim(t.Context(), &redis.XClaimArgs{Stream: f.key(), Group: "group", Consumer: "dead", Messages: []string{id}}).Err())
	}
	cfg := f.config()
	cfg.MaxTakeovers = 2
	dead := make(chan Dead, 1)
	cfg.Dead = func(_ context.Context, d Dead) error { dead <- d; return nil }
	messages := f.subscribe(f.subscriber(cfg))
	if d := receive(t, dead); d.Reason != Takeovers || d.UUID != "m0" {
		t.Errorf("dead is %+v", d)
	}
	f.silent(messages, 50*time.Millisecond)
}

// TestALeaseThatHasPassedIsNotRenewed stands for a process that was stopped:
// its entries were taken by another consumer meanwhile.
func TestALeaseThatHasPassedIsNotRenewed(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "m", 1)
	msg := f.nextIs(messages, "m0")
	id := f.pending()[0].ID
	must(t, f.client.XClaim(t.Context(), &redis.XClaimArgs{Stream: f.key(), Group: "group", Consumer: "new owner", Messages: []string{id}}).Err())
	eventually(t, "the old owner knows", func() bool { return !Held(msg) })
	if owner := f.pending()[0].Consumer; owner != "new owner" {
		t.Errorf("the entry went back to %s", owner)
	}
	msg.Ack() // the work was under way; its ack is harmless
}

func TestDeadConsumersAreDeletedOnlyWithNothingPending(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 1)
	f.read("busy", 1)
	must(t, f.client.XGroupCreateConsumer(t.Context(), f.key(), "group", "idle").Err())
	cfg := f.config()
	cfg.Concurrency = 1
	messages := f.subscribe(f.subscriber(cfg))
	msg := f.nextIs(messages, "m0") // taken over from "busy"
	eventually(t, "the idle and silent are gone", func() bool {
		for _, c := range f.consumers() {
			if c.Name == "idle" || c.Name == "busy" {
				return false
			}
		}
		return true
	})
	if len(f.pending()) != 1 {
		t.Error("with a consumer, its pending entry was deleted")
	}
	msg.Ack()
}

// TestASilentConsumerIsNotDeletedWithWhatItHolds looks for dead consumers before anyone took over from them.
func TestASilentConsumerIsNotDeletedWithWhatItHolds(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 1)
	f.read("busy", 1)
	must(t, f.client.XGroupCreateConsumer(t.Context(), f.key(), "group", "idle").Err())
	must(t, createGroup(t.Context(), f.client, Key(f.prefix, "topic", Bulk), "group"))
	cfg := f.config()
	cfg.Lease = 60 * time.Millisecond
	sub, err := newSubscription(t.Context(), f.subscriber(cfg), "topic") // one that does not run
	must(t, err)
	defer sub.reading.Close()
	eventually(t, "the consumer without entries is deleted", func() bool {
		must(t, sub.shards[0].sweepConsumers(t.Context()))
		return len(f.consumers()) == 1
	})
	wait(t.Context(), 2*deadLeases*cfg.Lease)
	must(t, sub.shards[0].sweepConsumers(t.Context()))
	if left := f.consumers(); len(left) != 1 || left[0].Name != "busy" || len(f.pending()) != 1 {
		t.Errorf("consumers %+v are left with %d entries pending, want the one that holds an entry", left, len(f.pending()))
	}
}

// TestDeletedEntriesDoNotStayPending is what a Redis before version 7 needs: it hands deleted entries over as nil, and keeps them pending.
func TestDeletedEntriesDoNotStayPending(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 3)
	sub, err := newSubscription(t.Context(), f.subscriber(f.config()), "topic") // one that does not run
	must(t, err)
	defer sub.reading.Close()
	read := f.read(sub.consumer, 3)
	must(t, f.client.XDel(t.Context(), f.key(), read[0].ID, read[2].ID).Err())
	reply := []any{"0-0", []any{nil, []any{read[1].ID, []any{uuidField, "m1"}}, nil}}
	_, entries, deleted := sub.shards[0].parseClaim(Live, reply, 0)
	if len(entries) != 1 || entries[0].id != read[1].ID || !deleted {
		t.Errorf("%d entries, deleted %v", len(entries), deleted)
	}
	must(t, sub.shards[0].ackDeleted(t.Context(), Live))
	if left := f.pending(); len(left) != 1 || left[0].ID != read[1].ID {
		t.Errorf("pending is %+v, want the one that is still in the stream", left)
	}
}

func (f *fixture) consumers() []redis.XInfoConsumer {
	f.Helper()
	all, err := f.client.XInfoConsumers(context.Background(), f.key(), "group").Result()
	must(f, err)
	return all
}
