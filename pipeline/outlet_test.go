package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	millrace "github.com/millrace-dev/millrace"
)

// stream is a publisher in memory; each call fails first with what is in
// fails.
type stream struct {
	fails []error
	got   map[string]int
}

func (s *stream) Publish(topic string, msgs ...*message.Message) error {
	if len(s.fails) > 0 {
		err := s.fails[0]
		s.fails = s.fails[1:]
		return err
	}
	if s.got == nil {
		s.got = map[string]int{}
	}
	s.got[topic] += len(msgs)
	return nil
}

func (s *stream) Close() error { return nil }

func value(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Counter.GetValue()
}

func gauge(t *testing.T, g prometheus.Gauge) float64 {
	t.Helper()
	var m dto.Metric
	if err := g.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Gauge.GetValue()
}

func observed(t *testing.T, o prometheus.Observer) (count uint64, sum float64) {
	t.Helper()
	var m dto.Metric
	if err := o.(prometheus.Histogram).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Histogram.GetSampleCount(), m.Histogram.GetSampleSum()
}

func pressure(used float64) *Pressure {
	p := NewPressure(nil, 0.70)
	p.used.Store(math.Float64bits(used))
	return p
}

func TestWhatAStageMayDoWhenRedisTakesNoMessage(t *testing.T) {
	fault, full := errors.New("connection refused"), errors.New("OOM command not allowed when used memory > 'maxmemory'")
	ingest := Stage{Name: "ingest", Answers: true, Writes: string(Ingested), Or: string(Persisted)}
	persist := Stage{Name: "persist", Writes: string(Persisted)}
	for _, c := range []struct {
		name      string
		stage     Stage
		to        string
		used      float64
		fails     []error
		err       error
		got, left int
	}{
		{name: "what is taken is passed on", stage: persist, to: string(Persisted), got: 1},
		{name: "a queued event that is not taken is its client's to know", stage: ingest, to: string(Ingested), fails: []error{fault}, err: fault},
		{name: "a persisted one that is not taken is left to the sweep", stage: ingest, to: string(Persisted), fails: []error{fault}, left: 1},
		{name: "a persisted one is not even tried while Redis is away", stage: ingest, to: string(Persisted), used: away, left: 1},
		{name: "what the log knows waits for a Redis that is away", stage: persist, to: string(Persisted), fails: []error{fault, fault}, got: 1},
		{name: "what the log knows is left to the sweep when Redis is full", stage: persist, to: string(Persisted), fails: []error{full}, left: 1},
		{name: "what the log knows is left to the sweep before Redis is full", stage: persist, to: string(Persisted), used: 0.9, left: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, left := &stream{fails: c.fails}, prometheus.NewCounter(prometheus.CounterOpts{Name: "left"})
			o := &outlet{stage: c.stage, next: s, pressure: pressure(c.used), shares: NewShares(nil, DefaultStreamsConfig(), nil), left: left, logger: slog.New(slog.DiscardHandler), closing: t.Context()}
			err := o.Publish(c.to, message.NewMessage("m", nil))
			if !errors.Is(err, c.err) || s.got[c.to] != c.got || int(value(t, left)) != c.left {
				t.Errorf("%v, %d passed on, %g left; want %v, %d, %d", err, s.got[c.to], value(t, left), c.err, c.got, c.left)
			}
		})
	}
}

func TestAStageThatClosesDoesNotWaitForRedis(t *testing.T) {
	closing, cancel := context.WithCancel(t.Context())
	cancel()
	fault := errors.New("connection refused")
	o := &outlet{
		stage: Stage{Writes: string(Persisted)}, next: &stream{fails: []error{fault, fault}}, pressure: pressure(0), shares: NewShares(nil, DefaultStreamsConfig(), nil),
		left: prometheus.NewCounter(prometheus.CounterOpts{Name: "left"}), logger: slog.New(slog.DiscardHandler), closing: closing,
	}
	if err := o.Publish(string(Persisted), message.NewMessage("m", nil)); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
}

func TestEachMessageGoesToTheTopicItWasEncodedFor(t *testing.T) {
	queued, err := encode(Ingested, millrace.Event{})
	if err != nil {
		t.Fatal(err)
	}
	persisted, err := encode(Persisted, millrace.StoredEvent{})
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{}
	o := &outlet{stage: Stage{Answers: true, Writes: string(Ingested), Or: string(Persisted)}, next: s, pressure: pressure(0), shares: NewShares(nil, DefaultStreamsConfig(), nil), closing: t.Context()}
	if err := o.Publish(string(Ingested), queued, persisted); err != nil || s.got[string(Ingested)] != 1 || s.got[string(Persisted)] != 1 {
		t.Errorf("%v, %v", err, s.got)
	}
}

func TestPressureDecidesWhoMayAdd(t *testing.T) {
	for used, want := range map[float64][2]bool{0: {true, true}, 0.69: {true, true}, 0.75: {false, true}, 0.9: {false, false}, away: {false, false}} {
		if p := pressure(used); p.Accepting() != want[0] || p.Open() != want[1] {
			t.Errorf("at %g: accepting %v, open %v, want %v", used, p.Accepting(), p.Open(), want)
		}
	}
}
