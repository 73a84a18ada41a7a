package store_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

func (w *world) kilobyte() millrace.Event {
	e := w.event()
	e.Payload = bytes.Repeat([]byte(`{"key": "value"}`), 64)
	return e
}

// BenchmarkAppend appends events of 1 KiB for 256 callers at once: without a
// key, with a client's, with a broker's coordinates, and with both.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name string
		key  func(e *millrace.Event, n int64)
	}{
		{"without a key", func(*millrace.Event, int64) {}},
		{"with a key", func(e *millrace.Event, n int64) { e.IdempotencyKey = fmt.Sprint("order-", n) }},
		{"with coordinates", func(e *millrace.Event, n int64) { e.BrokerMessageID = coordinates(n) }},
		{"with both", func(e *millrace.Event, n int64) {
			e.IdempotencyKey, e.BrokerMessageID = fmt.Sprint("order-", n), coordinates(n)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			var next atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			in(256, func(int) {
				for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
					e := w.kilobyte()
					c.key(&e, n)
					if _, err := w.AppendEvent(context.Background(), e, true); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			w.report(b)
		})
	}
}

// coordinates are those of a topic's message, as Kafka's source makes them.
func coordinates(offset int64) string {
	return fmt.Sprintf("kafka:0193a5d2-7b1c-7c3e-9b1a-2f4d5e6f7a8b:1:dGhlIHRvcGljJ3MgaWQ:%d:%d", offset%3, offset)
}

// cycle takes one event through the store: appended, fanned out, claimed and
// settled.
func (w *world) cycle(ctx context.Context) error {
	e, err := w.AppendEvent(ctx, w.kilobyte(), false)
	if err != nil {
		return err
	}
	made, err := w.FanOut(ctx, millrace.FanOut{Event: e, ConfigVersion: 1, Targets: targets(1)})
	if err != nil {
		return err
	}
	if mine, err := w.Claim(ctx, made[0].ID, 1, "1-0"); err != nil || !mine {
		return fmt.Errorf("claimed %v: %w", mine, err)
	}
	f := attempted(made[0].ID, 1, millrace.Delivered)
	f.Attempt.Body = []byte("ok")
	if counted, err := w.Settle(ctx, f); err != nil || !counted {
		return fmt.Errorf("settled %v: %w", counted, err)
	}
	return nil
}

// BenchmarkCycle takes events through the store for 256 callers at once.
func BenchmarkCycle(b *testing.B) {
	w := newWorld(b)
	w.exec(`CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public`)
	before := w.statements()
	var next atomic.Int64
	b.ResetTimer()
	in(256, func(int) {
		for next.Add(1) <= int64(b.N) {
			if err := w.cycle(context.Background()); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(w.statements()-before)/float64(b.N), "statements/event")
	w.report(b)
}

// BenchmarkCycleAtRate takes events through the store as they come, at a
// steady rate, for three seconds.
func BenchmarkCycleAtRate(b *testing.B) {
	for _, rate := range []int{50, 1000, 2000} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			w := newWorld(b)
			w.exec(`CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public`)
			events := rate * 3
			before := w.statements()
			var all sync.WaitGroup
			took := make([]time.Duration, events)
			start := time.Now()
			b.ResetTimer()
			for i := range events {
				<-time.After(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
				all.Go(func() {
					began := time.Now()
					if err := w.cycle(context.Background()); err != nil {
						b.Error(err)
					}
					took[i] = time.Since(began)
				})
			}
			all.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[events/2].Microseconds())/1e3, "p50-ms")
			b.ReportMetric(float64(took[events*99/100].Microseconds())/1e3, "p99-ms")
			b.ReportMetric(float64(w.statements()-before)/float64(events), "statements/event")
			b.ReportMetric(0, "ns/op")
			w.report(b)
		})
	}
}

// statements is how many statements this database was sent in this schema so
// far; a schema's own tables have their own query ids.
func (w *world) statements() int {
	w.t.Helper()
	return w.count(`SELECT coalesce(sum(calls), 0) FROM public.pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`)
}

func (w *world) report(b *testing.B) {
	for _, s := range w.Stats().Batches {
		if s.Flushes > 0 {
			b.Logf("%-40s %7d rows in %6d flushes: %.1f", s.Kind, s.Rows, s.Flushes, float64(s.Rows)/float64(s.Flushes))
		}
	}
}

// BenchmarkList lists 20 events of 1 KiB, with what became of them, for so many
// callers at once: from the primary, from a replica, and from a replica while
// events are appended. Lines is how often the primary was asked how far it is.
func BenchmarkList(b *testing.B) {
	for _, c := range []struct {
		name    string
		replica bool
		writing bool
	}{{"primary", false, false}, {"replica", true, false}, {"replica under writes", true, true}} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d callers", c.name, callers), func(b *testing.B) { benchmarkList(b, callers, c.replica, c.writing) })
		}
	}
}

func benchmarkList(b *testing.B, callers int, replica, writing bool) {
	p := newTwin(b)
	p.exec(`CREATE EXTENSION pg_stat_statements`)
	for range 200 {
		must[millrace.StoredEvent](b)(p.AppendEvent(b.Context(), p.kilobyte(), false))
	}
	if replica {
		p.watched()
		p.turns(store.ReplicaReady)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	if writing {
		writer.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, _ = p.AppendEvent(context.Background(), p.kilobyte(), false)
			}
		})
	}
	var next atomic.Int64
	b.ResetTimer()
	in(callers, func(int) {
		for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
			if _, err := p.other.Events(context.Background(), millrace.EventQuery{ProjectID: p.project}); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	close(stop)
	writer.Wait()
	from, _ := p.served()
	b.ReportMetric(float64(from)/float64(b.N), "replica/op")
	b.ReportMetric(float64(p.count(`SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%pg_current_wal_flush_lsn%'`))/float64(b.N), "lines/op")
}
