package pipeline

import (
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	millrace "github.com/millrace-dev/millrace"
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
				stage: Stage{Name: "persist", Writes: string(Persisted)}, next: next(b), pressure: pressure(0), shares: NewShares(nil, DefaultStreamsConfig()),
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
