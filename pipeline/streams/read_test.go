package streams

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

func TestAcksLeaveTogether(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 60)
	cfg := f.config()
	cfg.Concurrency = 60
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	var out []*message.Message
	for range 60 {
		out = append(out, f.next(messages))
	}
	before := commandCount(t, f.client, "xack")
	for _, msg := range out {
		msg.Ack()
	}
	eventually(t, "all are acked", func() bool { return subscriber.Stats().Acked == 60 })
	if got := commandCount(t, f.client, "xack") - before; got > 20 {
		t.Errorf("60 acks took %d XACKs", got)
	}
}

func TestSubscribeReturnsAtOnceWithoutRedis(t *testing.T) {
	own := ownServer(t)
	f := newFixture(t, own)
	f.publish(Live, "m", 1)
	own.kill()
	subscriber := f.subscriber(f.config())
	began := time.Now()
	messages := f.subscribe(subscriber)
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %s", took)
	}
	must(t, own.start())
	f.publish(Live, "later", 1)
	f.nextIs(messages, "later0").Ack()
}

func TestSubscribeAfterClose(t *testing.T) {
	f := newFixture(t, shared)
	subscriber := f.subscriber(f.config())
	must(t, subscriber.Close())
	if _, err := subscriber.Subscribe(t.Context(), "topic"); err != ErrClosed {
		t.Errorf("error %v, want ErrClosed", err)
	}
}
