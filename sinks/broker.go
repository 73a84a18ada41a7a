package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-dev/millrace"
)

// methodPublish stands where a webhook's attempt has its HTTP method.
const methodPublish = "PUBLISH"

// publisher hands one message to a broker of its kind, and returns when the
// broker has confirmed that it keeps it: nothing else is a success. It keeps
// to the deadline of ctx.
type publisher interface {
	publish(ctx context.Context, p posting) (placed, *dialError)
	close()
}

// placed is where a message went.
type placed struct {
	where any // for people, as JSON
	peer  string
}

// broker makes an attempt of what a publisher does.
type broker struct {
	publisher publisher
	now       func() time.Time
}

func newBroker(p publisher) *broker { return &broker{publisher: p, now: time.Now} }

func (b *broker) send(ctx context.Context, r millrace.Request) (millrace.Attempt, error) {
	started := b.now()
	a := millrace.Attempt{URL: r.Endpoint.URL, Method: methodPublish, StartedAt: started}
	p, err := compose(&r, started)
	if err != nil {
		return failed(a, millrace.OutcomeUnsendable, sentence(err)), nil
	}
	a.RequestHeader = p.shown
	inner, cancel := context.WithDeadline(ctx, deadlineOf(&r.Endpoint, started))
	defer cancel()
	where, why := b.publisher.publish(inner, p)
	a.Latency, a.IP = time.Since(started), where.peer
	switch {
	case why == nil:
		a.Outcome = millrace.OutcomeSuccess
		a.Body, err = json.Marshal(where.where)
		return a, err
	case ctx.Err() != nil:
		return a, millrace.Unavailable(fmt.Errorf("send delivery: %w", context.Cause(ctx)))
	case why.ours:
		return a, millrace.Unavailable(fmt.Errorf("send delivery: %w", why))
	}
	if why.peer != "" {
		a.IP = why.peer
	}
	return failed(a, why.outcome, why.text), nil
}

// outcomeWith is a broker's own answer, with the outcome that it is.
func outcomeWith(o millrace.Outcome, format string, args ...any) *dialError {
	return &dialError{outcome: o, text: fmt.Sprintf(format, args...)}
}

// why says what became of a message that was not confirmed. Answer knows what
// the broker itself says, and is nil for anything else. The sentences are the
// tenant's to read: they name no address of ours, and no secret.
func (l *line) why(ctx context.Context, p posting, err error, answer func(error) *dialError) *dialError {
	if said := answer(err); said != nil {
		return said
	}
	var dial *dialError
	if errors.As(err, &dial) {
		return dial
	}
	if errors.Is(err, errClosing) || l.base.Err() != nil {
		return &dialError{ours: true, text: errClosing.Error()}
	}
	if trouble := l.trouble(p.began); trouble != nil {
		return trouble
	}
	said := &dialError{peer: l.peer()}
	switch {
	case ctx.Err() != nil || isTimeout(err):
		said.outcome, said.text = millrace.OutcomeTimeout, "The broker did not confirm the message within the deadline."
	case isReset(err):
		said.outcome, said.text = millrace.OutcomeReset, "The connection was closed before the broker confirmed the message."
	default:
		said.outcome, said.text = millrace.OutcomeBadResponse, "The broker's answer is not to be understood: "+quotable(err)+"."
		return said
	}
	if l.lost() {
		return &dialError{ours: true, text: "the egress went away"}
	}
	return said
}
