package streams

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
)

func TestAStockSubscriberReadsWhatWePublish(t *testing.T) {
	f := newFixture(t, shared)
	stock, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: shared.client(t), ConsumerGroup: "stock", Consumer: "c"}, watermill.NopLogger{})
	must(t, err)
	t.Cleanup(func() { _ = stock.Close() })
	msg := message.NewMessage("m", []byte("a\x00b\n"))
	msg.Metadata.Set("traceparent", "00-x")
	must(t, f.publisher.Publish("topic", msg))
	messages, err := stock.Subscribe(t.Context(), f.key())
	must(t, err)
	got := f.nextIs(messages, "m")
	if string(got.Payload) != "a\x00b\n" || got.Metadata.Get("traceparent") != "00-x" {
		t.Errorf("it read %q with %v", got.Payload, got.Metadata)
	}
	got.Ack()
}

func TestWeReadWhatAStockPublisherPublishes(t *testing.T) {
	f := newFixture(t, shared)
	stock, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: shared.client(t)}, watermill.NopLogger{})
	must(t, err)
	msg := message.NewMessage("m", []byte("a\x00b\n"))
	msg.Metadata.Set("traceparent", "00-x")
	must(t, stock.Publish(f.key(), msg))
	got := f.nextIs(f.subscribe(f.subscriber(f.config())), "m")
	if string(got.Payload) != "a\x00b\n" || got.Metadata.Get("traceparent") != "00-x" {
		t.Errorf("we read %q with %v", got.Payload, got.Metadata)
	}
	got.Ack()
}
