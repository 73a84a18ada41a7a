package streams

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/pipeline/streams/redistest"
)

// TestAMasterThatBecameAReplicaIsLeft makes the master a replica of another one, as whoever fails over does, and leaves the connections to it open. New ones go to
// the new master.
func TestAMasterThatBecameAReplicaIsLeft(t *testing.T) {
	was, is := redistest.Start(t), redistest.Start(t)
	var master atomic.Value
	master.Store(was.Addr())
	client := redis.NewClient(&redis.Options{Addr: "master", Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, master.Load().(string))
	}})
	t.Cleanup(func() { _ = client.Close() })
	publisher, err := NewPublisher(client, PublisherConfig{})
	must(t, err)
	t.Cleanup(func() { _ = publisher.Close() })
	subscriber, err := NewSubscriber(client, SubscriberConfig{Group: "group", Logger: quiet(), ShutdownTimeout: time.Second})
	must(t, err)
	t.Cleanup(func() { _ = subscriber.Close() })
	messages, err := subscriber.Subscribe(t.Context(), "topic")
	must(t, err)
	must(t, publisher.Publish("topic", message.NewMessage("before", nil)))
	receive(t, messages).Ack()
	master.Store(is.Addr())
	host, port, err := net.SplitHostPort(is.Addr())
	must(t, err)
	must(t, was.Client.Do(t.Context(), "replicaof", host, port).Err())
	eventually(t, "the new master takes messages", func() bool {
		return publisher.Publish("topic", message.NewMessage("after", nil)) == nil
	})
	if msg := receive(t, messages); msg.UUID != "after" {
		t.Errorf("message %s came", msg.UUID)
	}
	if took := is.Client.XLen(t.Context(), Key("", "topic", Live)).Val(); took != 1 {
		t.Errorf("the new master has %d messages", took)
	}
}
