package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// SweepLog is what a sweep reads of the log.
type SweepLog interface {
	// Now is PostgreSQL's clock.
	Now(ctx context.Context) (time.Time, error)
	// UnmatchedEvents lists events stored in [since, until) that were never
	// fanned out, in the log's order.
	UnmatchedEvents(ctx context.Context, since, until time.Time, limit int) ([]millrace.StoredEvent, error)
	// LostDeliveries lists deliveries queued since before the moment.
	LostDeliveries(ctx context.Context, before time.Time, limit int) ([]millrace.Due, error)
}

// Checkpoints keep how far a sweep has come, durably, and never go back.
type Checkpoints interface {
	Checkpoint(ctx context.Context, name string) (time.Time, error)
	SaveCheckpoint(ctx context.Context, name string, t time.Time) error
}

// Barrier is one topic's line in the stream: whatever was added before it has
// been acknowledged once Passed.
type Barrier interface {
	// Mark draws the line at what is in the topic now.
	Mark(ctx context.Context) (passed func(context.Context) (bool, error), err error)
}

// errNotYet: the topic's backlog stands before the line still.
var errNotYet = errors.New("the barrier has not been passed yet")

// line is a barrier under way: the moment it was drawn, and whether the topic
// has drained past it.
type line struct {
	at     time.Time
	passed func(context.Context) (bool, error)
}

// drawn waits, one call at a time, for a line to be passed: PostgreSQL's
// clock is read first, then the topic's last ids. It answers with the moment,
// or errNotYet.
func (l *line) drawn(ctx context.Context, log SweepLog, b Barrier) (time.Time, error) {
	if l.passed == nil {
		now, err := log.Now(ctx)
		if err != nil {
			return time.Time{}, err
		}
		passed, err := b.Mark(ctx)
		if err != nil {
			return time.Time{}, err
		}
		l.at, l.passed = now, passed
	}
	ok, err := l.passed(ctx)
	if err != nil {
		l.passed = nil // the stream was reset under it: begin again
		return time.Time{}, err
	}
	if !ok {
		return time.Time{}, errNotYet
	}
	l.passed = nil
	return l.at, nil
}

// LostDeliveries finds deliveries that the transport lost: queued since
// before a barrier on `deliveries.due` that has been passed.
type LostDeliveries struct {
	Log     SweepLog
	Barrier Barrier
	// Grace exceeds the longest time from stamp to the reply of the XADD.
	Grace time.Duration
	line  line
	until time.Time
}

// Next lists up to limit lost deliveries.
func (s *LostDeliveries) Next(ctx context.Context, limit int) ([]millrace.Due, error) {
	if s.until.IsZero() {
		at, err := s.line.drawn(ctx, s.Log, s.Barrier)
		if errors.Is(err, errNotYet) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		s.until = at.Add(-s.Grace)
	}
	lost, err := s.Log.LostDeliveries(ctx, s.until, limit)
	for i := range lost {
		lost[i].Bulk = true
	}
	if err == nil && len(lost) < limit {
		s.until = time.Time{}
	}
	return lost, err
}

// LostEvents finds events that were stored, passed on, and lost before they
// were fanned out, and fans them out in line.
type LostEvents struct {
	Log         SweepLog
	Checkpoints Checkpoints
	Barrier     Barrier
	Grace       time.Duration
	// FanOut does the work of the stage and of its publisher. One that fails
	// for good becomes a dead letter there, so that the checkpoint moves on.
	FanOut func(ctx context.Context, e millrace.StoredEvent) error
	line   line
}

// checkpointEvents names the durable cursor of LostEvents.
const checkpointEvents = "sweep.events"

// sweepPage is how many events are fanned out between two looks.
const sweepPage = 500

// Sweep fans out what was lost before the last barrier, and tells how many.
func (s *LostEvents) Sweep(ctx context.Context) (int, error) {
	at, err := s.line.drawn(ctx, s.Log, s.Barrier)
	if errors.Is(err, errNotYet) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	since, err := s.Checkpoints.Checkpoint(ctx, checkpointEvents)
	if err != nil {
		return 0, err
	}
	until := at.Add(-s.Grace)
	swept, err := s.between(ctx, since, until)
	if err != nil {
		return swept, err
	}
	return swept, s.Checkpoints.SaveCheckpoint(ctx, checkpointEvents, until)
}

func (s *LostEvents) between(ctx context.Context, since, until time.Time) (int, error) {
	for swept := 0; ; {
		lost, err := s.Log.UnmatchedEvents(ctx, since, until, sweepPage)
		if err != nil {
			return swept, err
		}
		for _, e := range lost {
			if err := s.FanOut(ctx, e); err != nil {
				return swept, fmt.Errorf("fan out lost event %s: %w", e.ID, err)
			}
			swept++
		}
		if len(lost) < sweepPage {
			return swept, nil
		}
	}
}
