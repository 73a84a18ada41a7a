package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// theirs is PostgreSQL's clock: off by so much, and slow to answer.
type theirs struct {
	mu        sync.Mutex
	off, slow time.Duration
	err       error
}

func (c *theirs) read(context.Context) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	<-time.After(c.slow / 2)
	now := time.Now().Add(c.off)
	<-time.After(c.slow / 2)
	return now, c.err
}

func (c *theirs) set(off time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off, c.err = off, err
}

func TestTheClockIsPostgreSQLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &theirs{off: time.Hour, slow: 2 * time.Second}
		clock, err := NewClock(t.Context(), db.read)
		if err != nil {
			t.Fatal(err)
		}
		want := func(when string, off time.Duration) {
			t.Helper()
			if got := time.Until(clock.Now()); got != off {
				t.Errorf("%s: %s ahead, want %s", when, got, off)
			}
		}
		want("after a slow answer", time.Hour)
		db.set(-time.Hour, nil)
		go clock.Watch(t.Context(), slog.New(slog.DiscardHandler))
		<-time.After(8 * time.Second)
		synctest.Wait()
		want("after its clock was set", -time.Hour)
		db.set(0, errAway)
		<-time.After(5 * time.Second)
		synctest.Wait()
		want("while it is away", -time.Hour)
	})
}

func TestAClockThatCannotBeReadIsNone(t *testing.T) {
	if _, err := NewClock(t.Context(), (&theirs{err: errAway}).read); !errors.Is(err, errAway) {
		t.Errorf("error %v", err)
	}
}

func TestTheClockGoesOnByWhatHasPassedNotByThisMachinesTime(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	clock, err := NewClock(t.Context(), func(context.Context) (time.Time, error) { return at, nil })
	if err != nil {
		t.Fatal(err)
	}
	clock.since = func(time.Time) time.Duration { return 3 * time.Second } // whatever time.Now says
	if now := clock.Now(); !now.Equal(at.Add(3 * time.Second)) {
		t.Errorf("it is %s, want 3s after %s", now, at)
	}
}
