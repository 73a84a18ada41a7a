package streams

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
)

// features is what we claim. Of Watermill's tests these are skipped: TestNewSubscriberReceivesOldMessages, because acked entries are trimmed; with more than one
// message in flight TestPublishSubscribeInOrder and TestNoAck, because there is no order then; and TestReconnect, which reads its list of published messages while
// it still grows: TestRestartsUnderLoadLoseNothing is the same without that race.
func features() tests.Features {
	return tests.Features{ConsumerGroups: true, Persistent: true}
}

// orderedFeatures is what one subscriber that takes one message at a time adds: order.
func orderedFeatures() tests.Features {
	f := features()
	f.GuaranteedOrder, f.GuaranteedOrderWithSingleSubscriber = true, true
	return f
}

func TestPubSubConformance(t *testing.T) {
	tests.TestPubSub(t, features(), pubSub(16), groupPubSub(16))
}

func TestPubSubConformanceInOrder(t *testing.T) {
	tests.TestPubSub(t, orderedFeatures(), pubSub(1), groupPubSub(1))
}

func TestPubSubStress(t *testing.T) {
	tests.TestPubSubStressTest(t, features(), pubSub(16), groupPubSub(16))
}

func pubSub(concurrency int) tests.PubSubConstructor {
	group := groupPubSub(concurrency)
	return func(t *testing.T) (message.Publisher, message.Subscriber) { return group(t, "group") }
}

func groupPubSub(concurrency int) tests.ConsumerGroupPubSubConstructor {
	prefix := prefix()
	return func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		client := shared.client(t)
		publisher, err := NewPublisher(client, PublisherConfig{Prefix: prefix, Timeout: patience})
		must(t, err)
		subscriber, err := NewSubscriber(client, SubscriberConfig{
			Prefix: prefix, Group: group, Concurrency: concurrency, Logger: quiet(),
			MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, ShutdownTimeout: time.Second, ClaimInterval: time.Second,
		})
		must(t, err)
		t.Cleanup(func() { // TestPublishSubscribeInOrder closes its subscriber before it subscribes
			must(t, publisher.Close())
			must(t, subscriber.Close())
		})
		return publisher, subscriber
	}
}
