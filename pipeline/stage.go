package pipeline

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
)

// Handler is a stage's work. It answers with values to pass on, or with an
// error: counted and tried again, or marked millrace.Permanent or
// millrace.Unavailable.
type Handler[In, Out any] interface {
	Handle(ctx context.Context, in In) ([]Out, error)
}

// Source is where values enter the pipeline that no topic holds: a Watermill
// subscriber, and how its messages are read.
type Source[In any] struct {
	Subscriber message.Subscriber
	Decode     func(*message.Message) (In, error)
	// Answers says that a caller waits for the outcome of each message:
	// nothing is tried again behind its back.
	Answers bool
	// DeadLetter completes the dead letter of a message: whose it is, and
	// where it came from; nil: it is a delivery that was due.
	DeadLetter func(*message.Message, *millrace.DeadLetter)
}

// Sources are the entrances: what clients submit, and what the log's clock
// says is due.
type Sources struct {
	Submissions Source[millrace.Submission]
	Clock       Source[millrace.Due]
}

// Stage is one row of the pipeline: it reads one topic (or a source) and
// writes at most one (ingest: one of two).
type Stage struct {
	Name   string
	Limits Limits
	// Reads is the topic read; empty where Source stands in its place.
	Reads  string
	Source message.Subscriber
	// Writes is the topic written; empty for the last stage. Or is the other
	// one of ingest.
	Writes, Or string
	// Answers is the source's.
	Answers    bool
	deadLetter func(*message.Message, *millrace.DeadLetter)
	handle     message.HandlerFunc
}

// unlogged tells whether the log does not know yet what the stage writes to
// the topic.
func (s Stage) unlogged(topic string) bool { return s.Or != "" && topic == s.Writes }

// Enter declares the stage that takes submissions in; it writes to one of two
// topics, by what was promised to the client.
func Enter[In any](name string, l Limits, src Source[In], h Handler[In, handlers.Accepted], queued Topic[millrace.Event], persisted Topic[millrace.StoredEvent]) Stage {
	write := func(a handlers.Accepted) (*message.Message, error) {
		if a.Persisted != nil {
			return encode(persisted, *a.Persisted)
		}
		return encode(queued, *a.Queued)
	}
	return Stage{
		Name: name, Limits: l, Source: src.Subscriber, Writes: string(queued), Or: string(persisted),
		Answers: src.Answers, deadLetter: src.DeadLetter, handle: adapt(src.Decode, h.Handle, write),
	}
}

// Between declares a stage that reads one topic and writes another.
func Between[In, Out any](name string, l Limits, from Topic[In], h Handler[In, Out], to Topic[Out]) Stage {
	write := func(v Out) (*message.Message, error) { return encode(to, v) }
	return Stage{Name: name, Limits: l, Reads: string(from), Writes: string(to), handle: adapt(decode[In], h.Handle, write)}
}

// From declares a stage that reads a source and writes a topic.
func From[In, Out any](name string, l Limits, src Source[In], h Handler[In, Out], to Topic[Out]) Stage {
	write := func(v Out) (*message.Message, error) { return encode(to, v) }
	return Stage{Name: name, Limits: l, Source: src.Subscriber, Writes: string(to), handle: adapt(src.Decode, h.Handle, write)}
}

// Last declares a stage that reads a topic and writes nothing but the log.
func Last[In any](name string, l Limits, from Topic[In], h Handler[In, handlers.Nothing]) Stage {
	write := func(handlers.Nothing) (*message.Message, error) {
		return nil, fmt.Errorf("stage %s writes no topic", name)
	}
	return Stage{Name: name, Limits: l, Reads: string(from), handle: adapt(decode[In], h.Handle, write)}
}

// DecodeJSON reads a source's message whose payload is one JSON value.
func DecodeJSON[In any](msg *message.Message) (In, error) {
	var in In
	return in, json.Unmarshal(msg.Payload, &in)
}

// adapt makes a Watermill handler of a plain one: decode, handle, encode.
func adapt[In, Out any](read func(*message.Message) (In, error), handle func(context.Context, In) ([]Out, error), write func(Out) (*message.Message, error)) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		in, err := read(msg)
		if err != nil {
			return nil, millrace.Permanent(&undecodableError{err})
		}
		out, err := handle(msg.Context(), in)
		if err != nil || len(out) == 0 {
			return nil, err
		}
		msgs := make([]*message.Message, len(out))
		for i, v := range out {
			if msgs[i], err = write(v); err != nil {
				return nil, millrace.Permanent(err)
			}
		}
		return msgs, nil
	}
}

// undecodableError is a message that is not of its topic's type.
type undecodableError struct{ err error }

// Error says what could not be read.
func (u *undecodableError) Error() string { return u.err.Error() }

// Unwrap answers with the cause.
func (u *undecodableError) Unwrap() error { return u.err }
