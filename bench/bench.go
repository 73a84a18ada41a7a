// Package bench measures the gateway end to end: it starts one with stores of
// its own, loads it over HTTP, receives the deliveries, and reconciles them.
// A run that lost or repeated an event is an error, not a figure.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options bound a run.
type Options struct {
	// Events is how many events each closed loop sends; Clients how many send
	// at once.
	Events, Clients int
	// Payload is the size of an event's data, in bytes.
	Payload int
	// Duration is how long each steady load lasts.
	Duration time.Duration
	// Log takes the gateway's log.
	Log io.Writer
}

// DefaultOptions is a run of about a minute.
func DefaultOptions() Options {
	return Options{Events: 30000, Clients: 128, Payload: 1024, Duration: 10 * time.Second, Log: io.Discard}
}

// Result is one scenario's figures.
type Result struct {
	Scenario string  `json:"scenario"`
	Events   int     `json:"events"`
	PerS     float64 `json:"events_per_s"`
	SQL      float64 `json:"sql_per_event"`
	Redis    float64 `json:"redis_per_event"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
	P99      float64 `json:"p99_ms"`
}

// Run runs the scenarios, one after the other, and reports each as it ends.
func Run(ctx context.Context, o Options, report func(Result)) (err error) {
	data, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	g, err := startGateway(ctx, filepath.Join(data, "data"), o.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	r, err := newReceiver()
	if err != nil {
		return err
	}
	defer r.close()
	b := bench{options: o, gateway: g, receiver: r}
	if err := b.subscribe(ctx); err != nil {
		return err
	}
	for _, s := range b.scenarios() {
		result, err := b.run(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		report(result)
	}
	return nil
}

type bench struct {
	options  Options
	gateway  *gateway
	receiver *receiver
}

type scenario struct {
	name string
	ack  string
	load func(ctx context.Context, s *sender) error
}

func (b bench) scenarios() []scenario {
	o := b.options
	closed := func(n int) func(ctx context.Context, s *sender) error {
		return func(ctx context.Context, s *sender) error { return s.closedLoop(ctx, n, o.Clients) }
	}
	steady := func(rate int) func(ctx context.Context, s *sender) error {
		return func(ctx context.Context, s *sender) error { return s.steadily(ctx, rate, o.Duration) }
	}
	return []scenario{
		{"warm-up", "queued", closed(o.Events / 5)},
		{"end to end, queued", "queued", closed(o.Events)},
		{"end to end, persisted", "persisted", closed(o.Events)},
		{"steady 50/s", "queued", steady(50)},
		{"steady 500/s", "queued", steady(500)},
	}
}

// subscribe makes one endpoint, the receiver, with a subscription to all.
func (b bench) subscribe(ctx context.Context) error {
	s := newSender(b.gateway.access, b.options.Payload, "queued")
	var endpoint struct{ UID string }
	if err := s.call(ctx, "/endpoints", fmt.Appendf(nil, `{"name":"bench","url":%q}`, b.receiver.url), &endpoint); err != nil {
		return err
	}
	return s.call(ctx, "/subscriptions", fmt.Appendf(nil, `{"name":"bench","endpoint_id":%q}`, endpoint.UID), &struct{}{})
}

func (b bench) run(ctx context.Context, sc scenario) (Result, error) {
	s := newSender(b.gateway.access, b.options.Payload, sc.ack)
	if err := b.gateway.resetCost(ctx); err != nil {
		return Result{}, err
	}
	start := time.Now()
	if err := sc.load(ctx, s); err != nil {
		return Result{}, err
	}
	events := len(s.sent)
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.receiver.wait(wait, events); err != nil {
		return Result{}, fmt.Errorf("not all of %d events arrived: %w", events, err)
	}
	took := time.Since(start)
	c, err := b.gateway.cost(ctx)
	if err != nil {
		return Result{}, err
	}
	latency, err := s.reconcile(b.receiver.reset())
	if err != nil {
		return Result{}, err
	}
	n, ms := float64(events), func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return Result{
		Scenario: sc.name, Events: events, PerS: n / took.Seconds(), SQL: float64(c.statements) / n, Redis: float64(c.commands) / n,
		P50: ms(latency.P50), P95: ms(latency.P95), P99: ms(latency.P99),
	}, nil
}
