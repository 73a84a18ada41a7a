package pipeline

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the pipeline's figures, by stage. They are kept in memory and
// never read from a table.
type Metrics struct {
	handled  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	waits    *prometheus.CounterVec
	deads    *prometheus.CounterVec
	left     *prometheus.CounterVec

	mu     sync.Mutex
	stages map[string]stageMetrics
}

type stageMetrics struct {
	handled, failed, waits prometheus.Counter
	seconds                prometheus.Observer
	inFlight               prometheus.Gauge
}

// NewMetrics makes the pipeline's metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_stage_messages_total", Help: "Messages a stage has settled, by result: ok or error."}, []string{"stage", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millrace_stage_seconds", Help: "Time from a message's arrival in a stage to its settlement, waits included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 14)}, []string{"stage"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_stage_in_flight", Help: "Messages a stage has in its hands."}, []string{"stage"}),
		waits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_stage_waits_total", Help: "Tries that found a store or the egress away; the stage waited."}, []string{"stage"}),
		deads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_dead_letters_total", Help: "Messages that became dead letters, by reason."}, []string{"stage", "reason"}),
		left: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_left_to_sweep_total", Help: "Messages not added to a full Redis; the sweep passes on what they stand for."}, []string{"stage"}),
		stages: map[string]stageMetrics{},
	}
	r.MustRegister(m.handled, m.seconds, m.inFlight, m.waits, m.deads, m.left)
	return m
}

func (m *Metrics) stage(name string) stageMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.stages[name]
	if !ok {
		s = stageMetrics{
			handled: m.handled.WithLabelValues(name, "ok"), failed: m.handled.WithLabelValues(name, "error"),
			waits: m.waits.WithLabelValues(name), seconds: m.seconds.WithLabelValues(name), inFlight: m.inFlight.WithLabelValues(name),
		}
		m.stages[name] = s
	}
	return s
}

func (m *Metrics) dead(stage, reason string) { m.deads.WithLabelValues(stage, reason).Inc() }

// LeftToSweep counts messages that were not added to a full or absent Redis.
func (m *Metrics) LeftToSweep(stage string) prometheus.Counter { return m.left.WithLabelValues(stage) }
