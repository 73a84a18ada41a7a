package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
)

// nowhere is a publisher that costs nothing.
type nowhere struct{}

func (nowhere) Publish(string, ...*message.Message) error { return nil }

func (nowhere) Close() error { return nil }

func benchmarkEvent() millrace.StoredEvent {
	return millrace.StoredEvent{
		Event: millrace.Event{
			ID: millrace.NewID(time.Now()), ProjectID: millrace.NewID(time.Now()), Type: "order.paid",
			Headers: map[string]string{"X-Request-Id": "0af7651916cd43dd"}, Payload: make([]byte, 1024),
		},
		ConfigVersion: 7,
	}
}

// BenchmarkPublish is what a stage does to pass one value on: to a publisher that does nothing, which leaves the pipeline's own cost, and to Redis.
func BenchmarkPublish(b *testing.B) {
	for name, next := range map[string]func(*testing.B) message.Publisher{
		"nowhere": func(*testing.B) message.Publisher { return nowhere{} },
		"redis":   func(b *testing.B) message.Publisher { return publisher(b, startRedis(b)) },
	} {
		b.Run(name, func(b *testing.B) {
			o := &outlet{
				stage: Stage{Name: "persist", Writes: string(Persisted)}, next: next(b), pressure: pressure(0), shares: NewShares(nil, DefaultStreamsConfig(), nil),
				left: prometheus.NewCounter(prometheus.CounterOpts{Name: "left"}), logger: slog.New(slog.DiscardHandler), closing: b.Context(),
			}
			e := benchmarkEvent()
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					msg, err := encode(Persisted, e)
					if err != nil {
						b.Error(err)
						return
					}
					if err := o.Publish(string(Persisted), msg); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func benchmarkDelivery() millrace.Delivery {
	e, id := benchmarkEvent(), func() millrace.ID { return millrace.NewID(time.Now()) }
	return millrace.Delivery{
		ID: id(), ProjectID: e.ProjectID, EventID: e.ID, EndpointID: id(), SubscriptionID: id(), Turn: 1, EventType: e.Type, Headers: e.Headers, Payload: e.Payload,
	}
}

// BenchmarkMessage is what a topic costs a value in CPU: from a value to its message, and back.
func BenchmarkMessage(b *testing.B) {
	b.Run("event", func(b *testing.B) { benchmarkMessage(b, Persisted, benchmarkEvent()) })
	b.Run("delivery", func(b *testing.B) { benchmarkMessage(b, Due, benchmarkDelivery()) })
}

func benchmarkMessage[T any](b *testing.B, to Topic[T], v T) {
	msg, err := encode(to, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encode(to, v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decode[T](msg); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPath is an event's whole way through three topics and three stages that do nothing: what the pipeline and Redis cost it.
func BenchmarkPath(b *testing.B) {
	by, limits := transport(b, startRedis(b)), DefaultConfig().Fanout.Limits
	made, done := benchmarkDelivery(), make(chan struct{})
	var arrived atomic.Int64
	persist := handled[millrace.Event, millrace.StoredEvent](func(_ context.Context, e millrace.Event) ([]millrace.StoredEvent, error) {
		return []millrace.StoredEvent{{Event: e, ConfigVersion: 7}}, nil
	})
	fanout := handled[millrace.StoredEvent, millrace.Delivery](func(_ context.Context, e millrace.StoredEvent) ([]millrace.Delivery, error) {
		d := made
		d.EventID, d.Headers, d.Payload = e.ID, e.Headers, e.Payload
		return []millrace.Delivery{d}, nil
	})
	deliver := handled[millrace.Delivery, handlers.Nothing](func(context.Context, millrace.Delivery) ([]handlers.Nothing, error) {
		if arrived.Add(1) == int64(b.N) {
			close(done)
		}
		return nil, nil
	})
	router, run := newRouter(b, by, around(&graves{}),
		Between("persist", limits, Ingested, persist, Persisted), Between("fanout", limits, Persisted, fanout, Due), Last("deliver", limits, Due, deliver))
	ended := run()
	b.ReportAllocs()
	b.SetParallelism(64)
	b.ResetTimer()
	e := benchmarkEvent().Event
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			msg, err := encode(Ingested, e)
			if err = errors.Join(err, by.Publisher.Publish(string(Ingested), msg)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	receive(b, done, "all have arrived")
	b.StopTimer()
	if err := errors.Join(router.Close(), <-ended); err != nil {
		b.Error(err)
	}
}
