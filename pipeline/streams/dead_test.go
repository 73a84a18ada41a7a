package streams

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestWaitingMessagesHoldNoSlot(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Concurrency, cfg.MinBackoff, cfg.MaxBackoff = 2, time.Minute, time.Minute
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "bad", 10)
	f.publish(Live, "good", 10)
	for range 10 {
		f.next(messages).Nack()
	}
	for range 10 {
		f.next(messages).Ack()
	}
}

func TestWaitingMessagesAreBounded(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Concurrency, cfg.MaxWaiting, cfg.MinBackoff, cfg.MaxBackoff = 2, 6, 500*time.Millisecond, 500*time.Millisecond
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	f.publish(Live, "bad", 100)
	for range 40 {
		f.next(messages).Nack()
		if got := subscriber.Stats().Waiting; got > 8 {
			t.Fatalf("%d messages wait, want at most 6 and the 2 slots", got)
		}
	}
}

func TestWithoutDeadLettersNothingIsEverDead(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.MaxRedeliveries, cfg.MinBackoff, cfg.MaxBackoff = 1, time.Millisecond, time.Millisecond
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	must(t, f.client.Do(t.Context(), "xadd", f.key(), "*", "no", "message").Err())
	f.publish(Live, "m", 1)
	for range 20 {
		f.nextIs(messages, "m0").Nack()
	}
	f.nextIs(messages, "m0").Ack()
	eventually(t, "the undecodable entry alone is pending", func() bool { return len(f.pending()) == 1 && subscriber.Stats().Acked == 1 })
}

func TestDeadLettersEndWithTheSubscription(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.ShutdownTimeout = 50 * time.Millisecond
	asked := make(chan struct{}, 1)
	cfg.Dead = func(ctx context.Context, _ Dead) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	subscriber := f.subscriber(cfg)
	f.subscribe(subscriber)
	must(t, f.client.Do(t.Context(), "xadd", f.key(), "*", "no", "message").Err())
	receive(t, asked)
	must(t, subscriber.Close())
	if got := len(f.pending()); got != 1 {
		t.Errorf("%d entries are pending, want the one that the dead letters did not take", got)
	}
}

func TestHistoryKeepsTheFirstAndTheLatest(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.MaxRedeliveries, cfg.MinBackoff, cfg.MaxBackoff = 40, time.Millisecond, time.Millisecond
	dead := make(chan Dead, 1)
	cfg.Dead = func(_ context.Context, d Dead) error { dead <- d; return nil }
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "m", 1)
	for i := range 41 {
		msg := f.next(messages)
		Fail(msg, errors.New(string(rune('A'+i))))
		msg.Nack()
	}
	d := receive(t, dead)
	if len(d.History) != historyMax || d.History[0] != "A" || d.History[historyMax-1] != string(rune('A'+40)) {
		t.Errorf("history %q", d.History)
	}
}
