package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	millrace "github.com/millrace-dev/millrace"
)

// DeadLetters keeps messages that cannot be processed.
type DeadLetters interface {
	AddDeadLetter(ctx context.Context, d millrace.DeadLetter) error
}

// Around is what stands around every stage, once, in one order:
//
//	measured → traced → settled → timed → recovered → the handler
//
// so a panic is an error like another, each try has the stage's timeout, and
// a message is measured from its arrival to its settlement, waits included.
type Around struct {
	Metrics *Metrics
	Tracer  trace.Tracer
	Dead    DeadLetters
	Logger  *slog.Logger
	Now     func() time.Time
}

// wrap puts the middleware around a stage's handler.
func (a Around) wrap(s Stage) message.HandlerFunc {
	return a.measured(s, a.traced(s, a.settled(s, timed(s, recovered(s.handle)))))
}

// recovered turns a panic into an error, counted like any other.
func recovered(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) (out []*message.Message, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		return next(msg)
	}
}

// timed bounds one try. A stage with no timeout bounds its own parts.
func timed(s Stage, next message.HandlerFunc) message.HandlerFunc {
	if s.Limits.Timeout == 0 {
		return next
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		whole := msg.Context()
		ctx, cancel := context.WithTimeout(whole, s.Limits.Timeout)
		defer cancel()
		msg.SetContext(ctx)
		defer msg.SetContext(whole)
		return next(msg)
	}
}

// traced continues the trace the message carries, and hands it on to what
// the stage passes on, but for what has a trace of its own. Without a
// configured tracer, a trace that came in travels through unchanged.
func (a Around) traced(s Stage, next message.HandlerFunc) message.HandlerFunc {
	w3c, name := propagation.TraceContext{}, "millrace."+s.Name
	kind := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	return func(msg *message.Message) ([]*message.Message, error) {
		whole := msg.Context()
		ctx := w3c.Extract(whole, propagation.MapCarrier(msg.Metadata))
		ctx, span := a.Tracer.Start(ctx, name, kind...)
		defer span.End()
		if !span.IsRecording() {
			return next(msg)
		}
		span.SetAttributes(attribute.String("messaging.destination.name", s.Reads), attribute.String("messaging.message.id", msg.UUID))
		msg.SetContext(ctx)
		defer msg.SetContext(whole)
		out, err := next(msg)
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		for _, m := range out {
			// What the log's clock hands back has the trace of its event.
			if had := m.Metadata.Get(traceKey); had == "" || had == msg.Metadata.Get(traceKey) {
				w3c.Inject(ctx, propagation.MapCarrier(m.Metadata))
			}
		}
		return out, err
	}
}

// measured counts a message, how it ended and how long it took.
func (a Around) measured(s Stage, next message.HandlerFunc) message.HandlerFunc {
	m := a.Metrics.stage(s.Name)
	return func(msg *message.Message) ([]*message.Message, error) {
		growStack(nil)
		start := time.Now()
		m.inFlight.Inc()
		out, err := next(msg)
		m.inFlight.Dec()
		m.seconds.Observe(time.Since(start).Seconds())
		if err != nil {
			m.failed.Inc()
		} else {
			m.handled.Inc()
		}
		return out, err
	}
}

// growStack gives the goroutine the stack that a stage needs, at once. Watermill
// starts one for each message, and its stack would be copied on the way down
// three times, which took 8 % of an agent's time. What is put into fill is not
// the point: the frame of a function has room for all of its variables.
//
//go:noinline
func growStack(fill []byte) int {
	if fill == nil {
		return 0
	}
	var frame [10 << 10]byte
	return copy(frame[:], fill)
}
