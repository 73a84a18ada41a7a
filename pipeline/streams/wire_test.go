package streams

import (
	"context"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
)

func TestWeReadWhatAStockPublisherPublishes(t *testing.T) {
	f := newFixture(t, shared)
	stock, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: shared.client(t)}, watermill.NopLogger{})
	must(t, err)
	defer stock.Close()
	messages := f.subscribe(f.subscriber(f.config()))
	for name, msg := range wireMessages() {
		t.Run(name, func(t *testing.T) {
			must(t, stock.Publish(f.prefix+"topic", msg))
			got := f.next(messages)
			assertSame(t, got, msg)
			got.Ack()
		})
	}
}

func TestAStockSubscriberReadsWhatWePublish(t *testing.T) {
	f := newFixture(t, shared)
	stock, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: shared.client(t), ConsumerGroup: "stock", OldestId: "0"}, watermill.NopLogger{})
	must(t, err)
	defer stock.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	messages, err := stock.Subscribe(ctx, f.prefix+"topic")
	must(t, err)
	for name, msg := range wireMessages() {
		t.Run(name, func(t *testing.T) {
			must(t, f.publisher.Publish("topic", msg))
			got := f.next(messages)
			assertSame(t, got, msg)
			got.Ack()
		})
	}
}
