package handlers

import (
	"context"
	"errors"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// sweepLog has so many lost deliveries and events, and notes the bounds it
// was asked for.
type sweepLog struct {
	at            time.Time
	deliveries    int
	events        int
	since, before time.Time
	asked         int
}

func (l *sweepLog) Now(context.Context) (time.Time, error) { return l.at, nil }

func (l *sweepLog) LostDeliveries(_ context.Context, before time.Time, limit int) ([]millrace.Due, error) {
	l.before, l.asked = before, l.asked+1
	n := min(limit, l.deliveries)
	l.deliveries -= n
	return make([]millrace.Due, n), nil
}

func (l *sweepLog) UnmatchedEvents(_ context.Context, since, until time.Time, limit int) ([]millrace.StoredEvent, error) {
	l.since, l.before, l.asked = since, until, l.asked+1
	return make([]millrace.StoredEvent, min(limit, l.events)), nil
}

// barrier is passed when it says so; each mark is counted.
type barrier struct {
	passed bool
	err    error
	marks  int
}

func (b *barrier) Mark(context.Context) (func(context.Context) (bool, error), error) {
	b.marks++
	return func(context.Context) (bool, error) { return b.passed, b.err }, nil
}

type checkpoints struct {
	at    time.Time
	saved int
}

func (c *checkpoints) Checkpoint(context.Context, string) (time.Time, error) { return c.at, nil }

func (c *checkpoints) SaveCheckpoint(_ context.Context, _ string, t time.Time) error {
	c.at, c.saved = t, c.saved+1
	return nil
}

func TestLostDeliveriesAreThoseFromBeforeTheBarrierAndTheGrace(t *testing.T) {
	log, b := &sweepLog{at: now, deliveries: 3}, &barrier{}
	s := &LostDeliveries{Log: log, Barrier: b, Grace: 20 * time.Second}
	for range 3 {
		lost, err := s.Next(t.Context(), 2)
		must(t, err)
		if len(lost) != 0 || log.asked != 0 {
			t.Fatalf("%d are lost although the barrier was not passed", len(lost))
		}
	}
	log.at = now.Add(time.Hour) // the moment of the line counts, not of its passing
	b.passed = true
	lost, err := s.Next(t.Context(), 2)
	must(t, err)
	if len(lost) != 2 || !lost[0].Bulk || !log.before.Equal(now.Add(-20*time.Second)) || b.marks != 1 {
		t.Errorf("lost %+v from before %s after %d marks", lost, log.before, b.marks)
	}
	b.passed = false
	if lost, err = s.Next(t.Context(), 2); err != nil || len(lost) != 1 {
		t.Errorf("a full page is not followed by the rest of what one barrier proved: %+v, %v", lost, err)
	}
	if lost, err = s.Next(t.Context(), 2); err != nil || len(lost) != 0 || b.marks != 2 || log.asked != 2 {
		t.Errorf("after the last page no new line is drawn: %+v, %v, %d marks", lost, err, b.marks)
	}
}

func TestABarrierIsDrawnAnewWhenItsStreamWasReset(t *testing.T) {
	log, b := &sweepLog{at: now, deliveries: 1}, &barrier{passed: true, err: errOdd}
	s := &LostDeliveries{Log: log, Barrier: b}
	if _, err := s.Next(t.Context(), 2); !errors.Is(err, errOdd) || log.asked != 0 {
		t.Fatalf("error %v, asked %d times", err, log.asked)
	}
	b.err, log.at = nil, now.Add(time.Minute)
	lost, err := s.Next(t.Context(), 2)
	must(t, err)
	if len(lost) != 1 || b.marks != 2 || !log.before.Equal(now.Add(time.Minute)) {
		t.Errorf("lost %d from before %s after %d marks", len(lost), log.before, b.marks)
	}
}

func newLostEvents(log *sweepLog, b *barrier) (*LostEvents, *checkpoints, *int) {
	c, fanned := &checkpoints{at: now.Add(-time.Hour)}, new(int)
	return &LostEvents{Log: log, Checkpoints: c, Barrier: b, Grace: 20 * time.Second, FanOut: func(context.Context, millrace.StoredEvent) error {
		*fanned++
		log.events--
		return nil
	}}, c, fanned
}

func TestLostEventsAreFannedOutFromTheCheckpointToTheBarrier(t *testing.T) {
	log, b := &sweepLog{at: now, events: sweepPage + 3}, &barrier{}
	s, c, fanned := newLostEvents(log, b)
	swept, err := s.Sweep(t.Context())
	if err != nil || swept != 0 || c.saved != 0 || log.asked != 0 {
		t.Fatalf("swept %d before the barrier was passed, %v", swept, err)
	}
	b.passed = true
	swept, err = s.Sweep(t.Context())
	must(t, err)
	if swept != sweepPage+3 || *fanned != swept || log.asked != 2 {
		t.Errorf("swept %d, fanned out %d in %d pages", swept, *fanned, log.asked)
	}
	if until := now.Add(-20 * time.Second); !log.since.Equal(now.Add(-time.Hour)) || !log.before.Equal(until) || !c.at.Equal(until) {
		t.Errorf("swept [%s, %s) and saved %s", log.since, log.before, c.at)
	}
}

func TestTheCheckpointStaysWhereAnEventCouldNotBeFannedOut(t *testing.T) {
	log := &sweepLog{at: now, events: 5}
	s, c, fanned := newLostEvents(log, &barrier{passed: true})
	s.FanOut = func(context.Context, millrace.StoredEvent) error {
		if *fanned++; *fanned == 3 {
			return errAway
		}
		return nil
	}
	swept, err := s.Sweep(t.Context())
	if !errors.Is(err, errAway) || swept != 2 || c.saved != 0 {
		t.Errorf("swept %d, saved %d times, %v", swept, c.saved, err)
	}
}
