package streams

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// fixture is one topic on one Redis, with a publisher.
type fixture struct {
	*testing.T

	client    redis.UniversalClient
	prefix    string
	shards    int
	publisher *Publisher
}

func newFixture(t *testing.T, s *server) *fixture { return newShardedFixture(t, s.client(t), 1) }

// newShardedFixture has the topic spread over so many streams.
func newShardedFixture(t *testing.T, client redis.UniversalClient, shards int) *fixture {
	t.Helper()
	f := &fixture{T: t, client: client, prefix: prefix()}
	return f.sharded(shards)
}

// sharded is the same topic for a process that has another number of shards.
func (f *fixture) sharded(shards int) *fixture {
	f.Helper()
	other := &fixture{T: f.T, client: f.client, prefix: f.prefix, shards: shards}
	var err error
	other.publisher, err = NewPublisher(f.client, PublisherConfig{Prefix: f.prefix, Shards: map[string]int{"topic": shards}, Timeout: patience})
	must(f, err)
	f.Cleanup(func() { _ = other.publisher.Close() })
	return other
}

// config is a subscriber's with short times.
func (f *fixture) config() SubscriberConfig {
	return SubscriberConfig{
		Prefix: f.prefix, Shards: f.shards, Group: "group", Concurrency: 8, Logger: quiet(),
		Lease: 1500 * time.Millisecond, ClaimInterval: 100 * time.Millisecond, TrimInterval: 20 * time.Millisecond,
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, ShutdownTimeout: patience,
	}
}

func (f *fixture) subscriber(cfg SubscriberConfig) *Subscriber {
	f.Helper()
	subscriber, err := NewSubscriber(f.client, cfg)
	must(f, err)
	f.Cleanup(func() { _ = subscriber.Close() })
	return subscriber
}

func (f *fixture) subscribe(subscriber *Subscriber) <-chan *message.Message {
	f.Helper()
	messages, err := subscriber.Subscribe(f.Context(), "topic")
	must(f, err)
	return messages
}

// publish adds n messages whose UUIDs are name0, name1, ….
func (f *fixture) publish(lane Lane, name string, n int) {
	f.Helper()
	batch := make([]*message.Message, n)
	for i := range batch {
		batch[i] = message.NewMessage(name+strconv.Itoa(i), []byte("payload"))
		SetLane(batch[i], lane)
	}
	must(f, f.publisher.Publish("topic", batch...))
}

// next returns the next message.
func (f *fixture) next(messages <-chan *message.Message) *message.Message {
	f.Helper()
	select {
	case msg, ok := <-messages:
		if !ok {
			f.Fatal("the channel was closed")
		}
		return msg
	case <-time.After(patience):
		f.Fatal("no message came")
	}
	return nil
}

// nextIs fails unless the next message is the one named.
func (f *fixture) nextIs(messages <-chan *message.Message, uuid string) *message.Message {
	f.Helper()
	msg := f.next(messages)
	if msg.UUID != uuid {
		f.Fatalf("message %s came, want %s", msg.UUID, uuid)
	}
	return msg
}

// silent fails if a message comes within d.
func (f *fixture) silent(messages <-chan *message.Message, d time.Duration) {
	f.Helper()
	select {
	case msg, ok := <-messages:
		if ok {
			f.Fatalf("message %s came, want none", msg.UUID)
		}
	case <-time.After(d):
	}
}

// ended fails unless the channel is closed soon, with nothing more in it.
func (f *fixture) ended(messages <-chan *message.Message) {
	f.Helper()
	select {
	case msg, ok := <-messages:
		if ok {
			f.Fatalf("message %s came, want the end", msg.UUID)
		}
	case <-time.After(patience):
		f.Fatal("the channel was not closed")
	}
}

func (f *fixture) key() string { return Key(f.prefix, "topic", Live) }

// pending returns the pending entries of the live lane.
func (f *fixture) pending() []redis.XPendingExt {
	f.Helper()
	pending, err := f.client.XPendingExt(context.Background(), &redis.XPendingExtArgs{Stream: f.key(), Group: "group", Start: "-", End: "+", Count: 1000}).Result()
	must(f, err)
	return pending
}

// read takes n entries as another consumer would, one that dies with them.
func (f *fixture) read(consumer string, n int) []redis.XMessage {
	f.Helper()
	must(f, createGroup(context.Background(), f.client, f.key(), "group"))
	streams, err := f.client.XReadGroup(context.Background(), &redis.XReadGroupArgs{Group: "group", Consumer: consumer, Streams: []string{f.key(), ">"}, Count: int64(n), Block: -1}).Result()
	must(f, err)
	return streams[0].Messages
}

func (f *fixture) length() int64 {
	f.Helper()
	n, err := f.client.XLen(context.Background(), f.key()).Result()
	must(f, err)
	return n
}

// clock is a time that the test moves on.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// receive returns what comes on ch, and fails the test if nothing does.
func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}
