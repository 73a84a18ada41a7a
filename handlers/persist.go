package handlers

import (
	"context"
	"errors"

	millrace "github.com/millrace-dev/millrace"
)

// Persist appends what was queued to the event log. An event met again is a
// redelivery and goes on; a key met again under another id is a duplicate:
// kept, visible, and not fanned out.
type Persist struct {
	Log EventLog
	// InlineMax is the largest payload, in bytes, that travels inside the
	// message; larger ones travel by reference.
	InlineMax int
}

// Handle appends one event.
func (h *Persist) Handle(ctx context.Context, e millrace.Event) ([]millrace.StoredEvent, error) {
	stored, err := h.Log.AppendEvent(ctx, e, true)
	if err != nil {
		return nil, refusedForGood(err)
	}
	if stored.DuplicateOf != (millrace.ID{}) {
		return nil, nil
	}
	return []millrace.StoredEvent{stored.Light(h.InlineMax)}, nil
}

// refusedForGood marks what the store refuses for the message's own sake: no
// redelivery will mend it.
func refusedForGood(err error) error {
	var refused *millrace.Error
	if errors.As(err, &refused) {
		return millrace.Permanent(err)
	}
	return err
}
