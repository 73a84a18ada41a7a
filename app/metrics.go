package app

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
	"github.com/millrace-dev/millrace/pipeline"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// metrics are the figures of DESIGN 6, all from memory; the lag of the topics
// is read from Redis when somebody asks.
type metrics struct {
	process     *process
	pipeline    *pipeline.Metrics
	agentRouter atomic.Pointer[pipeline.Router]
	intakes     atomic.Pointer[intakes]
	leader      atomic.Pointer[leader]
	held        atomic.Pointer[heldCount]

	requests *prometheus.HistogramVec
	attempts *prometheus.CounterVec
	facts    *prometheus.CounterVec
	seconds  prometheus.Histogram
	first    prometheus.Histogram
	late     prometheus.Histogram
	due      *prometheus.GaugeVec
	reused   prometheus.Counter
}

func newMetrics(r prometheus.Registerer, p *process) *metrics {
	m := &metrics{
		process:  p,
		pipeline: pipeline.NewMetrics(r),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millrace_http_request_seconds", Help: "Time to answer a request, by route and status.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 12)}, []string{"route", "status"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_attempts_total", Help: "Attempts at deliveries, by outcome."}, []string{"outcome"}),
		facts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_facts_total", Help: "Facts written by deliver, by what they decided and whether they counted."}, []string{"kind", "decided", "counted"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_attempt_seconds", Help: "Time an attempt took.", Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 13)}),
		first: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_accepted_to_attempted_seconds", Help: "Time from an event's acceptance to the end of the first attempt at a delivery of it.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 15)}),
	}
	m.late = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "millrace_scheduled_to_sent_seconds", Help: "Time from the moment a retry was due to the moment it was sent.",
		Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 12)})
	m.due = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "millrace_past_due", Help: "Deliveries that the leader's last look found due, by feed: due, released, lost; at most stages.retry.concurrency."}, []string{"feed"})
	m.reused = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "millrace_coordinates_reused_total", Help: "Brokers' coordinates that came again with another message, as when a topic was deleted and made again."})
	for _, o := range millrace.Outcomes {
		m.attempts.WithLabelValues(string(o))
	}
	r.MustRegister(m.requests, m.attempts, m.facts, m.seconds, m.first, m.late, topicCollector{m})
	return m
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

func (m *metrics) fact(d millrace.Delivery, f millrace.Fact) {
	m.facts.WithLabelValues(string(f.Kind), string(f.Decided), strconv.FormatBool(f.Counted)).Inc()
	if f.Attempt == nil {
		return
	}
	m.attempts.WithLabelValues(string(f.Attempt.Outcome)).Inc()
	m.seconds.Observe(f.Attempt.Latency.Seconds())
	if !d.DueAt.IsZero() {
		m.late.Observe(f.Attempt.StartedAt.Sub(d.DueAt).Seconds())
	}
	if d.Turn == 1 && d.ReplayID == (millrace.ID{}) {
		m.first.Observe(f.At.Sub(millrace.TimeOf(d.EventID)).Seconds())
	}
}

func (m *metrics) lookedAt(feed string, due int) { m.due.WithLabelValues(feed).Set(float64(due)) }

// heldCount is how many deliveries were held when the leader last counted.
type heldCount struct {
	term       context.Context // of its leadership
	deliveries int
}

// leads tells whether this process is the leader now: what that alone knows,
// the others do not show, not even what they knew when they led.
func (m *metrics) leads() bool {
	l := m.leader.Load()
	if l == nil {
		return false
	}
	now, end := context.WithCancel(context.Background())
	end()
	_, err := l.leading(now)
	return err == nil
}

// topicCollector reads what the transport and the store count.
type topicCollector struct{ *metrics }

var (
	lagDesc       = prometheus.NewDesc("millrace_topic_lag", "Messages of a topic that no consumer has read yet.", []string{"topic", "lane"}, nil)
	pendingDesc   = prometheus.NewDesc("millrace_topic_pending", "Messages of a topic that are read and not acknowledged.", []string{"topic", "lane"}, nil)
	redeliverDesc = prometheus.NewDesc("millrace_stage_redeliveries_total", "Messages delivered to a stage again.", []string{"stage"}, nil)
	takeoverDesc  = prometheus.NewDesc("millrace_stage_takeovers_total", "Messages taken over from a consumer that died.", []string{"stage"}, nil)
	flushDesc     = prometheus.NewDesc("millrace_store_flushes_total", "Statements of group commits, by kind of append.", []string{"append"}, nil)
	rowsDesc      = prometheus.NewDesc("millrace_store_rows_total", "Rows of group commits, by kind of append; by flushes it is the batch size.", []string{"append"}, nil)
	sourceDesc    = prometheus.NewDesc("millrace_source_healthy", "Whether a source that reads a broker is connected: 1, or 0.", []string{"source", "project", "broker"}, nil)
	sourceLagDesc = prometheus.NewDesc("millrace_source_lag", "Messages of a source that wait at its broker, where the broker tells.", []string{"source", "project", "broker"}, nil)
	holdingDesc   = prometheus.NewDesc("millrace_held_endpoints", "Endpoints that hold deliveries.", nil, nil)
	heldDesc      = prometheus.NewDesc("millrace_held_deliveries", "Deliveries that are held, as of the leader's last count; the leader alone has it.", nil, nil)
	replicaDesc   = prometheus.NewDesc("millrace_replica_state", "How a read replica stands: 1 for the state that it is in, 0 for the others.", []string{"replica", "state"}, nil)
	readsDesc     = prometheus.NewDesc("millrace_replica_reads_total", "Reads of the API that a replica served, and those that the primary did although there are replicas.", []string{"from"}, nil)
	memoryDesc    = prometheus.NewDesc("millrace_redis_memory_used", "Share of Redis' maxmemory in use; above 1: it does not answer.", nil, nil)
)

// Describe names the metrics.
func (c topicCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagDesc, pendingDesc, redeliverDesc, takeoverDesc, flushDesc, rowsDesc, sourceDesc, sourceLagDesc, holdingDesc, heldDesc, replicaDesc, readsDesc, memoryDesc} {
		to <- d
	}
	c.due.Describe(to)
}

// Collect reads them.
func (c topicCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge(holdingDesc, float64(len(*c.process.holding.now.Load())))
	if h := c.held.Load(); h != nil && h.term.Err() == nil {
		gauge(heldDesc, float64(h.deliveries))
	}
	if c.leads() {
		c.due.Collect(to)
	}
	gauge(memoryDesc, c.process.transport.Pressure.Used())
	for _, b := range c.process.store.Stats().Batches {
		count(flushDesc, float64(b.Flushes), b.Kind)
		count(rowsDesc, float64(b.Rows), b.Kind)
	}
	c.replicas(gauge, count)
	c.sources(gauge)
	router := c.agentRouter.Load()
	if router == nil {
		return
	}
	for stage, s := range router.Stats() {
		count(redeliverDesc, float64(s.Redeliveries), stage)
		count(takeoverDesc, float64(s.Takeovers), stage)
	}
	c.backlogs(gauge)
}

func (c topicCollector) sources(gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	in := c.intakes.Load()
	if in == nil {
		return
	}
	for _, s := range in.all() {
		if s.source.PubSub == nil {
			continue // it is about to run
		}
		labels := []string{s.source.ID.String(), s.source.ProjectID.String(), string(s.source.PubSub.Kind)}
		up := 0.0
		if s.state.Health == millrace.SourceHealthy {
			up = 1
		}
		gauge(sourceDesc, up, labels...)
		if s.state.Lag >= 0 {
			gauge(sourceLagDesc, float64(s.state.Lag), labels...)
		}
	}
}

func (c topicCollector) backlogs(gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for topic, stage := range map[string]string{string(pipeline.Ingested): "persist", string(pipeline.Persisted): "fanout", string(pipeline.Due): "deliver"} {
		backlog, err := streams.Lag(ctx, c.process.redis, c.process.config.Streams.Prefix, topic, pipeline.Group(stage))
		if err != nil {
			continue
		}
		for lane, b := range map[string]streams.LaneBacklog{"live": backlog.Live, "bulk": backlog.Bulk} {
			gauge(lagDesc, float64(b.Lag), topic, lane)
			gauge(pendingDesc, float64(b.Pending), topic, lane)
		}
	}
}

// egressCollector reads what the egress counts.
type egressCollector struct{ proxy *egress.Proxy }

var (
	tunnelsDesc  = prometheus.NewDesc("millrace_egress_tunnels", "Tunnels of the egress that are open or being set up.", nil, nil)
	connectsDesc = prometheus.NewDesc("millrace_egress_connects_total", "Requests to the egress, by how they ended.", []string{"reason"}, nil)
)

// Describe names the metrics.
func (c egressCollector) Describe(to chan<- *prometheus.Desc) {
	to <- tunnelsDesc
	to <- connectsDesc
}

// Collect reads them.
func (c egressCollector) Collect(to chan<- prometheus.Metric) {
	s := c.proxy.Stats()
	to <- prometheus.MustNewConstMetric(tunnelsDesc, prometheus.GaugeValue, float64(s.Tunnels))
	for reason, n := range s.Connects {
		to <- prometheus.MustNewConstMetric(connectsDesc, prometheus.CounterValue, float64(n), string(reason))
	}
}
