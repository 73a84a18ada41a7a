package streams

import (
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

func TestLanesLiveGoesFirstByWeight(t *testing.T) {
	for _, concurrency := range []int{1, 8, 16} {
		f := newFixture(t, shared)
		f.publish(Bulk, "bulk", 200)
		f.publish(Live, "live", 180)
		cfg := f.config()
		cfg.Concurrency = concurrency
		messages := f.subscribe(f.subscriber(cfg))
		bulk := 0
		for range 180 {
			msg := f.next(messages)
			if strings.HasPrefix(msg.UUID, "bulk") {
				bulk++
			}
			msg.Ack()
		}
		if bulk < 15 || bulk > 25 {
			t.Errorf("concurrency %d: %d of the first 180 were bulk, want 20", concurrency, bulk)
		}
		for range 200 {
			f.next(messages).Ack()
		}
	}
}

func TestLanesBulkAloneHasItsFullRate(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Bulk, "bulk", 2000)
	reads := commandCount(t, f.client, "xreadgroup")
	cfg := f.config()
	cfg.Concurrency = 64
	messages := f.subscribe(f.subscriber(cfg))
	for range 2000 {
		f.next(messages).Ack()
	}
	if got := commandCount(t, f.client, "xreadgroup") - reads; got > 500 {
		t.Errorf("2000 bulk messages took %d reads", got)
	}
}

func TestLanesLiveDoesNotWaitForSlowBulk(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Bulk, "bulk", 50)
	messages := f.subscribe(f.subscriber(f.config())) // 8 slots
	var out []*message.Message
	for range 7 {
		out = append(out, f.next(messages))
	}
	f.silent(messages, 100*time.Millisecond)
	for range 20 {
		f.publish(Live, "live", 1)
		f.nextIs(messages, "live0").Ack()
	}
	for _, msg := range out {
		msg.Ack()
	}
	f.next(messages).Ack()
}

func TestLaneOf(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Bulk, "m", 1)
	in := f.next(f.subscribe(f.subscriber(f.config())))
	defer in.Ack()
	out := message.NewMessageWithContext(in.Context(), "out", nil)
	fresh := message.NewMessage("fresh", nil)
	if LaneOf(in) != Bulk || LaneOf(out) != Bulk || LaneOf(fresh) != Live {
		t.Errorf("lanes %s, %s, %s, want bulk, bulk, live", LaneOf(in), LaneOf(out), LaneOf(fresh))
	}
	SetLane(out, Live)
	if LaneOf(out) != Live {
		t.Error("SetLane does not prevail over the lane the message came from")
	}
	if Entry(fresh) != "" || Held(fresh) {
		t.Error("a message that came from no stream has an entry")
	}
}
