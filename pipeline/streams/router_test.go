package streams

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// TestRouterStopsWithoutDuplicates stops a real Router in the middle of 300 messages, by Close and by its context, and starts another. A handler whose publisher
// were closed, or whose ack were lost, while it works would leave duplicates behind.
func TestRouterStopsWithoutDuplicates(t *testing.T) {
	stops := map[string]func(*message.Router, context.CancelFunc) error{
		"by Close":       func(r *message.Router, _ context.CancelFunc) error { return r.Close() },
		"by its context": func(_ *message.Router, cancel context.CancelFunc) error { cancel(); return nil },
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, shared)
			f.publish(Live, "m", 300)
			sixty := make(chan struct{}, 300)
			first := f.router(sixty)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- first.Run(ctx) }()
			for range 60 {
				<-sixty
			}
			must(t, stop(first, cancel))
			must(t, <-done)
			second := f.router(make(chan struct{}, 300))
			go func() { done <- second.Run(t.Context()) }()
			eventually(t, "all messages are through", func() bool { return f.client.XLen(t.Context(), f.prefix+"out").Val() >= 300 })
			must(t, second.Close())
			must(t, <-done)
			if got := f.client.XLen(t.Context(), f.prefix+"out").Val(); got != 300 {
				t.Errorf("300 messages became %d", got)
			}
			if got := len(f.pending()); got != 0 {
				t.Errorf("%d entries are pending", got)
			}
		})
	}
}

// router has one handler that takes a moment, and says when it is done.
func (f *fixture) router(handled chan<- struct{}) *message.Router {
	f.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	must(f, err)
	publisher, err := NewPublisher(f.client, PublisherConfig{Prefix: f.prefix})
	must(f, err)
	f.Cleanup(func() { _ = publisher.Close() })
	router.AddHandler("handler", "topic", f.subscriber(f.config()), "out", publisher, func(msg *message.Message) ([]*message.Message, error) {
		if !wait(msg.Context(), 10*time.Millisecond) {
			return nil, fmt.Errorf("message %s: %w", msg.UUID, msg.Context().Err())
		}
		handled <- struct{}{}
		return message.Messages{message.NewMessage(msg.UUID, msg.Payload)}, nil
	})
	return router
}
