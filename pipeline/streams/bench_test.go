package streams

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

func benchMessage(i int) *message.Message {
	msg := message.NewMessage(strconv.Itoa(i), make([]byte, 1024))
	msg.Metadata.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return msg
}

func newBenchPublisher(b *testing.B, client *redis.Client, prefix string) *Publisher {
	publisher, err := NewPublisher(client, PublisherConfig{Prefix: prefix})
	must(b, err)
	b.Cleanup(func() { must(b, publisher.Close()) })
	return publisher
}

func newBenchSubscriber(b *testing.B, client *redis.Client, prefix, group string) *Subscriber {
	subscriber, err := NewSubscriber(client, SubscriberConfig{Prefix: prefix, Group: group, Concurrency: 64, Logger: quiet()})
	must(b, err)
	b.Cleanup(func() { must(b, subscriber.Close()) })
	return subscriber
}

// BenchmarkPublish measures 64 callers that publish one message of 1 KiB at a time.
func BenchmarkPublish(b *testing.B) {
	client, prefix := shared.client(b), prefix()
	publisher := newBenchPublisher(b, client, prefix)
	b.Cleanup(func() { client.Del(context.Background(), prefix+"topic") })
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := publisher.Publish("topic", benchMessage(0)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkConsume measures reading and acking a backlog of messages of 1 KiB.
func BenchmarkConsume(b *testing.B) {
	client, prefix := shared.client(b), prefix()
	publisher := newBenchPublisher(b, client, prefix)
	for done := 0; done < b.N; {
		n := min(500, b.N-done)
		batch := make([]*message.Message, n)
		for i := range batch {
			batch[i] = benchMessage(i)
		}
		must(b, publisher.Publish("topic", batch...))
		done += n
	}
	subscriber := newBenchSubscriber(b, client, prefix, "group")
	b.ReportAllocs()
	b.ResetTimer()
	messages, err := subscriber.Subscribe(context.Background(), "topic")
	must(b, err)
	for range b.N {
		(<-messages).Ack()
	}
	b.StopTimer()
}

// BenchmarkThreeTopics measures messages that go through three topics, with a goroutine for each, as the Router has: what a stage costs without its work.
func BenchmarkThreeTopics(b *testing.B) {
	client, prefix := shared.client(b), prefix()
	publisher := newBenchPublisher(b, client, prefix)
	topics := []string{"one", "two", "three"}
	var arrived atomic.Int64
	done := make(chan struct{})
	for i, topic := range topics {
		messages, err := newBenchSubscriber(b, client, prefix, topic).Subscribe(context.Background(), topic)
		must(b, err)
		go func() {
			for msg := range messages {
				go func() {
					if i+1 < len(topics) {
						out := message.NewMessage(msg.UUID, msg.Payload)
						out.Metadata = msg.Metadata
						if err := publisher.Publish(topics[i+1], out); err != nil {
							b.Error(err)
						}
					} else if arrived.Add(1) == int64(b.N) {
						close(done)
					}
					msg.Ack()
				}()
			}
		}()
	}
	reads := commandCount(b, client, "xreadgroup")
	b.ReportAllocs()
	b.ResetTimer()
	var clients sync.WaitGroup
	var sent atomic.Int64
	for range 32 {
		clients.Go(func() {
			for sent.Add(1) <= int64(b.N) {
				if err := publisher.Publish(topics[0], benchMessage(0)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	clients.Wait()
	<-done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(commandCount(b, client, "xreadgroup")-reads)/float64(b.N), "xreadgroup/msg")
}
