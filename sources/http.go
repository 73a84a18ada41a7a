// Package sources is how events come in: each source is a Watermill
// subscriber that feeds the ingest stage.
package sources

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

// HTTP is the source of events that clients submit by the API: a message is
// acknowledged by the pipeline, and then its client is answered.
type HTTP struct {
	out      chan *message.Message
	places   chan struct{}
	patience time.Duration

	mu     sync.Mutex
	closed chan struct{}
}

// HTTPConfig bounds the source.
type HTTPConfig struct {
	// Concurrency is how many submissions may be in the pipeline at once.
	Concurrency int
	// Patience is how long a submission waits for its answer.
	Patience time.Duration
}

// NewHTTP makes the source.
func NewHTTP(c HTTPConfig) *HTTP {
	return &HTTP{
		out: make(chan *message.Message), places: make(chan struct{}, c.Concurrency),
		patience: c.Patience, closed: make(chan struct{}),
	}
}

// errOverloaded: too many clients wait already.
var errOverloaded = errors.New("too many submissions are under way")

// ErrClosed: the source takes nothing more; nothing was done.
var ErrClosed = errors.New("the server is stopping")

// errNoAnswer: the pipeline did not answer in time; the event may or may not
// have been taken.
var errNoAnswer = errors.New("the submission was not settled in time")

// Submit passes a submission through the ingest stage and answers with its
// receipt. What the queue does not take is submitted once more under the same
// id, to be stored in line. An error means that nothing is promised.
func (h *HTTP) Submit(ctx context.Context, s millrace.Submission) (millrace.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, h.patience)
	defer cancel()
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	case <-ctx.Done():
		return millrace.Receipt{}, millrace.Unavailable(errOverloaded)
	}
	receipt, acked, err := h.pass(ctx, s)
	if err != nil || acked {
		return receipt, err
	}
	if receipt.Failed == nil && receipt.Ack == millrace.AckQueued {
		s.EventID, s.Ack = receipt.Event.ID, millrace.AckPersisted
		receipt, acked, err = h.pass(ctx, s)
		if errors.Is(err, ErrClosed) {
			err = millrace.Unavailable(errNoAnswer) // something was done: the queue may have it
		}
		if err != nil || acked {
			return receipt, err
		}
	}
	switch {
	case receipt.Failed != nil:
		return millrace.Receipt{}, receipt.Failed
	case receipt.Ack == millrace.AckPersisted:
		return receipt, nil // it is in the log; the sweep passes it on
	}
	return millrace.Receipt{}, millrace.Unavailable(errors.New("neither the queue nor the store took the event"))
}

// pass sends one message through the stage and waits for its ack or nack.
func (h *HTTP) pass(ctx context.Context, s millrace.Submission) (millrace.Receipt, bool, error) {
	var receipt millrace.Receipt
	s.Receipt = &receipt
	msg := message.NewMessage("", nil)
	if s.TraceParent != "" {
		msg.Metadata.Set("traceparent", s.TraceParent) // W3C Trace Context
	}
	// The client may leave; what it handed in is settled all the same.
	msg.SetContext(context.WithValue(context.WithoutCancel(ctx), submissionKey{}, &s))
	select {
	case h.out <- msg:
	case <-ctx.Done():
		return receipt, false, millrace.Unavailable(errOverloaded)
	case <-h.closed:
		return receipt, false, millrace.Unavailable(ErrClosed)
	}
	select {
	case <-msg.Acked():
		return receipt, true, nil
	case <-msg.Nacked():
		return receipt, false, nil
	case <-ctx.Done():
		return millrace.Receipt{}, false, millrace.Unavailable(errNoAnswer)
	}
}

type submissionKey struct{}

// Submission reads the submission of a message that came from HTTP.
func Submission(msg *message.Message) (millrace.Submission, error) {
	s, ok := msg.Context().Value(submissionKey{}).(*millrace.Submission)
	if !ok {
		return millrace.Submission{}, errors.New("the message carries no submission")
	}
	return *s, nil
}

// Subscribe hands the submissions to the router, until ctx ends or Close.
func (h *HTTP) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			select {
			case msg := <-h.out:
				out <- msg
			case <-ctx.Done():
				return
			case <-h.closed:
				return
			}
		}
	}()
	return out, nil
}

// Close ends the subscription; submissions are refused as unavailable then.
func (h *HTTP) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
	return nil
}
