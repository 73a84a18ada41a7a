package streams

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

func TestDrain(t *testing.T) {
	ends := map[string]func(s *Subscriber, cancel context.CancelFunc) func() error{
		"on Close": func(s *Subscriber, _ context.CancelFunc) func() error { return s.Close },
		"on a cancelled context": func(_ *Subscriber, cancel context.CancelFunc) func() error {
			return func() error { cancel(); return nil }
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, shared)
			cfg := f.config()
			cfg.Concurrency = 2
			subscriber := f.subscriber(cfg)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			messages, err := subscriber.Subscribe(ctx, "topic")
			must(t, err)
			f.publish(Live, "m", 5)
			one, two := f.next(messages), f.next(messages)
			ended := make(chan error, 1)
			go func() { ended <- end(subscriber, cancel)() }()
			f.stillOpen(messages, one)
			one.Ack()
			two.Ack()
			f.ended(messages)
			must(t, <-ended)
			if n := len(f.pending()); n != 0 {
				t.Errorf("%d entries are pending: an ack was not flushed, or something was read that nobody works on", n)
			}
			f.othersTakeTheRest()
		})
	}
}

// stillOpen fails if the subscription ends, or cancels its work, while a
// message is in flight.
func (f *fixture) stillOpen(messages <-chan *message.Message, inFlight *message.Message) {
	f.Helper()
	select {
	case msg, ok := <-messages:
		f.Fatalf("message %v, %v came while draining", msg, ok)
	case <-inFlight.Context().Done():
		f.Fatal("the work in flight was cancelled")
	case <-time.After(100 * time.Millisecond):
	}
}

func (f *fixture) othersTakeTheRest() {
	f.Helper()
	messages := f.subscribe(f.subscriber(f.config()))
	for range 3 {
		f.next(messages).Ack()
	}
}

func TestWhatDoesNotFinishInTimeIsLeftForOthers(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.ShutdownTimeout = 100 * time.Millisecond
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	f.publish(Live, "m", 1)
	msg := f.next(messages)
	_ = subscriber.Close()
	f.ended(messages)
	select {
	case <-msg.Context().Done():
	case <-time.After(patience):
		t.Error("the work goes on without its subscription")
	}
	f.nextIs(f.subscribe(f.subscriber(f.config())), "m0").Ack()
}
