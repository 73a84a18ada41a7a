package pipeline

import (
	"context"
	"errors"
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
	"github.com/millrace-dev/millrace/pipeline/streams"
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
	return a.measured(s, a.traced(s, a.settled(s, &gate{}, timed(s, recovered(s.handle)))))
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

// settled acts on the four outcomes: values pass on, an error is counted by
// the transport, a permanent one becomes a dead letter, and while something
// is unavailable the stage waits and then goes on where it was. Where a
// caller waits for the answer, every error is the answer.
func (a Around) settled(s Stage, g *gate, next message.HandlerFunc) message.HandlerFunc {
	if s.Answers {
		return next
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		for {
			if err := g.wait(msg.Context()); err != nil {
				return nil, err
			}
			if s.Reads != "" && !streams.Held(msg) {
				return nil, errNotHeld
			}
			out, err := next(msg)
			if millrace.IsPermanent(err) {
				out, err = nil, a.bury(msg, s, err)
			}
			if !millrace.IsUnavailable(err) {
				g.through()
				if err != nil {
					streams.Fail(msg, err)
				}
				return out, err
			}
			a.Metrics.stage(s.Name).waits.Inc()
			a.Logger.Warn("the stage waits for what it needs", "stage", s.Name, "error", err)
			if err := g.pause(msg.Context()); err != nil {
				return nil, err
			}
		}
	}
}

// errNotHeld: this process was stopped for longer than its lease; the entry
// is another's by now, so nothing more is begun with it.
var errNotHeld = errors.New("the lease of the message has passed")

// bury keeps the message as a dead letter: no redelivery will mend it.
func (a Around) bury(msg *message.Message, s Stage, cause error) error {
	reason := "permanent"
	var undecodable *undecodableError
	if errors.As(cause, &undecodable) {
		reason = "undecodable"
	}
	d := a.deadLetter(s, msg)
	d.Reason, d.Error, d.History = reason, cause.Error(), []string{cause.Error()}
	return a.keep(msg.Context(), d)
}

// traced continues the trace the message carries, and hands it on to what
// the stage passes on. Without a configured tracer, a trace that came in
// travels through unchanged.
func (a Around) traced(s Stage, next message.HandlerFunc) message.HandlerFunc {
	w3c := propagation.TraceContext{}
	return func(msg *message.Message) ([]*message.Message, error) {
		whole := msg.Context()
		ctx := w3c.Extract(whole, propagation.MapCarrier(msg.Metadata))
		ctx, span := a.Tracer.Start(ctx, "millrace."+s.Name, trace.WithSpanKind(trace.SpanKindConsumer))
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
			w3c.Inject(ctx, propagation.MapCarrier(m.Metadata))
		}
		return out, err
	}
}

// measured counts a message, how it ended and how long it took.
func (a Around) measured(s Stage, next message.HandlerFunc) message.HandlerFunc {
	m := a.Metrics.stage(s.Name)
	return func(msg *message.Message) ([]*message.Message, error) {
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
