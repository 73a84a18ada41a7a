package sources

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline"
)

// agent is the ingest stage of one process, with a handler of the test's in
// the place of the store.
type agent struct {
	t      testing.TB
	broker Broker
	stop   func() // lets what is in flight finish, and ends
	seen   chan millrace.Submission
	dead   chan millrace.DeadLetter
}

type agentConfig struct {
	source millrace.Source
	// handle is what the stage does with a message; nil: takes it.
	handle func(context.Context, millrace.Submission) error
	// grace is how long what is in flight may take at the end; 0: as long as
	// the test has patience.
	grace time.Duration
	// dial is the way to the broker; nil: any.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// anywhere dials whatever it is told to.
func anywhere(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

// startAgent reads a source until stop, or the test's end.
func startAgent(t testing.TB, c agentConfig) *agent {
	t.Helper()
	if c.grace == 0 {
		c.grace = patience
	}
	if c.dial == nil {
		c.dial = anywhere
	}
	a := &agent{t: t, seen: make(chan millrace.Submission, 100_000), dead: make(chan millrace.DeadLetter, 1000)}
	broker, err := NewBroker(BrokerConfig{Source: c.source, MaxBytes: 1 << 20, ShutdownTimeout: c.grace, Dial: c.dial, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a.broker = broker
	streams := pipeline.DefaultStreamsConfig()
	streams.ShutdownTimeout = 2 * c.grace
	live, err := pipeline.NewLive(
		pipeline.Transport{Publisher: nowhere{}, Pressure: pipeline.NewPressure(nil, 0.7), Config: streams},
		pipeline.Around{
			Metrics: pipeline.NewMetrics(prometheus.NewRegistry()), Tracer: noop.NewTracerProvider().Tracer(""), Dead: buried(a.dead),
			Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		})
	if err != nil {
		t.Fatal(err)
	}
	reader := Messages{Source: c.source}
	from := pipeline.Source[millrace.Submission]{Subscriber: broker, Decode: reader.Submission, DeadLetter: reader.DeadLetter}
	limits := pipeline.Limits{Concurrency: 1, MaxRedeliveries: 1000, MinBackoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond}
	end, err := live.Start(pipeline.Enter("ingest", limits, from, ingested{a.seen, c.handle}, pipeline.Ingested, pipeline.Persisted))
	if err != nil {
		t.Fatal(err)
	}
	a.stop = sync.OnceFunc(func() {
		end()
		if err := live.Close(); err != nil {
			t.Errorf("close the stage: %v", err)
		}
	})
	t.Cleanup(a.stop)
	return a
}

// ingested is a handler that notes what it took.
type ingested struct {
	seen chan<- millrace.Submission
	take func(context.Context, millrace.Submission) error
}

// Handle takes one submission.
func (i ingested) Handle(ctx context.Context, s millrace.Submission) ([]handlers.Accepted, error) {
	if i.take != nil {
		if err := i.take(ctx, s); err != nil {
			return nil, err
		}
	}
	i.seen <- s
	return nil, nil
}

// buried are dead letters that tell of each.
type buried chan<- millrace.DeadLetter

// AddDeadLetter keeps one.
func (b buried) AddDeadLetter(_ context.Context, d millrace.DeadLetter) error {
	b <- d
	return nil
}

// nowhere is a publisher that nothing reaches.
type nowhere struct{}

// Publish drops the messages.
func (nowhere) Publish(string, ...*message.Message) error { return nil }

// Close does nothing.
func (nowhere) Close() error { return nil }

// next is the next submission that was taken.
func (a *agent) next() millrace.Submission {
	a.t.Helper()
	return receive(a.t, a.seen, "a message is taken")
}

// nextDead is the next dead letter.
func (a *agent) nextDead() millrace.DeadLetter {
	a.t.Helper()
	return receive(a.t, a.dead, "a message becomes a dead letter")
}

// wantNothingMore fails if an agent that has stopped took more.
func (a *agent) wantNothingMore() {
	a.t.Helper()
	if n := len(a.seen); n != 0 {
		a.t.Errorf("%d more were taken, such as %+v", n, <-a.seen)
	}
	if n := len(a.dead); n != 0 {
		a.t.Errorf("%d more became dead letters, such as %+v", n, <-a.dead)
	}
}

// wantState waits until the source is so, and answers with its state.
func (a *agent) wantState(want millrace.SourceHealth) (s millrace.SourceState) {
	a.t.Helper()
	eventually(a.t, func() bool {
		s = a.broker.State()
		return s.Health == want
	}, func() string {
		return "the source is " + string(want) + ", not " + string(s.Health) + " (" + s.Error + ")"
	})
	return s
}

// wantLeft waits until so many messages are left at the broker.
func wantLeft(t *testing.T, h brokerHarness, want int) {
	t.Helper()
	var n int
	eventually(t, func() bool {
		n = h.Left(t)
		return n == want
	}, func() string { return fmt.Sprintf("%d messages are left at the broker, not %d", want, n) })
}

// eventually waits until something is so.
func eventually(t testing.TB, so func() bool, what func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what())
		}
	}
}
