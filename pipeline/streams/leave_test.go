package streams

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// TestCloseIsPromptWhenIdle ends a subscription that waits inside Redis.
func TestCloseIsPromptWhenIdle(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Block = 2 * time.Second
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	f.publish(Live, "m", 1)
	f.next(messages).Ack()
	eventually(t, "it waits for more", func() bool { return subscriber.Stats().Acked == 1 })
	began := time.Now()
	must(t, subscriber.Close())
	if took := time.Since(began); took > cfg.Block/2 {
		t.Errorf("Close took %s: it waited for the read to end", took)
	}
}

// TestWhatIsGivenBackIsFreeAtOnce closes a consumer that has read, been given and nacked messages with a long lease: another begins them without waiting for it,
// and it counts as no takeover, so that restarts kill no message.
func TestWhatIsGivenBackIsFreeAtOnce(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Lease, cfg.ClaimInterval = 12*time.Second, 100*time.Millisecond
	cfg.MinBackoff, cfg.MaxBackoff = time.Minute, time.Minute
	f.publish(Live, "m", 8)
	for range 3 {
		subscriber := f.subscriber(cfg)
		messages := f.subscribe(subscriber)
		for range 4 {
			f.next(messages).Nack() // four wait, four are read and not begun
		}
		eventually(t, "they wait", func() bool { return subscriber.Stats().Waiting == 4 })
		began := time.Now()
		must(t, subscriber.Close())
		if took := time.Since(began); took > cfg.Lease/2 {
			t.Errorf("it took %s", took)
		}
	}
	if pending := f.pending(); len(pending) != 8 {
		t.Errorf("%d entries are pending, want 8", len(pending))
	}
	for _, p := range f.pending() {
		if p.RetryCount != 0 {
			t.Errorf("entry %s counts %d deliveries after it was given back", p.ID, p.RetryCount)
		}
	}
}

// TestWhatStillRunsIsNotGivenBack closes a consumer whose handler outlives the shutdown timeout: no other may begin the message before the lease is over.
func TestWhatStillRunsIsNotGivenBack(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Lease, cfg.ShutdownTimeout = 3*time.Second, 10*time.Millisecond
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	f.publish(Live, "m", 1)
	f.next(messages)
	must(t, subscriber.Close())
	f.ended(messages)
	second := f.subscribe(f.subscriber(cfg))
	f.silent(second, time.Second)
	f.nextIs(second, "m0").Ack()
}

// TestTheLastAcksAreSent acks everything at the moment of Close.
func TestTheLastAcksAreSent(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 8)
	subscriber := f.subscriber(f.config())
	messages := f.subscribe(subscriber)
	var out []*message.Message
	for range 8 {
		out = append(out, f.next(messages))
	}
	closed := make(chan error, 1)
	go func() { closed <- subscriber.Close() }()
	for _, msg := range out {
		msg.Ack()
	}
	must(t, <-closed)
	if got := len(f.pending()); got != 0 {
		t.Errorf("%d entries are pending although all were acked", got)
	}
	consumers, err := f.client.XInfoConsumers(t.Context(), f.key(), "group").Result()
	must(t, err)
	if len(consumers) != 0 {
		t.Errorf("a consumer that left with nothing is still there: %v", consumers)
	}
}
