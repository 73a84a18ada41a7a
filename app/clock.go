package app

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Clock is PostgreSQL's clock as known here: ids are minted and due times
// decided by it, whatever this machine's own says. Between two readings it
// goes on by what has passed, so that setting this machine's clock moves
// nothing.
type Clock struct {
	read func(ctx context.Context) (time.Time, error)
	// since measures what has passed, by the monotonic clock.
	since func(time.Time) time.Duration
	last  atomic.Pointer[reading]
}

// reading is what PostgreSQL's clock said, and when, by this machine's.
type reading struct{ theirs, ours time.Time }

// NewClock reads the clock once.
func NewClock(ctx context.Context, read func(ctx context.Context) (time.Time, error)) (*Clock, error) {
	c := &Clock{read: read, since: time.Since}
	return c, c.sync(ctx)
}

// Now is PostgreSQL's time.
func (c *Clock) Now() time.Time {
	r := c.last.Load()
	return r.theirs.Add(c.since(r.ours))
}

// Watch reads the clock every five seconds until ctx ends.
func (c *Clock) Watch(ctx context.Context, logger *slog.Logger) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.sync(ctx); err != nil {
				logger.Debug("PostgreSQL's clock could not be read", "error", err)
			}
		}
	}
}

// sync assumes that the answer was given half way through the round trip.
func (c *Clock) sync(ctx context.Context) error {
	start := time.Now()
	theirs, err := c.read(ctx)
	if err != nil {
		return err
	}
	c.last.Store(&reading{theirs: theirs, ours: start.Add(c.since(start) / 2)})
	return nil
}
