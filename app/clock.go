package app

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Clock is PostgreSQL's clock as known here: ids are minted and due times
// decided by it, whatever this machine's own says.
type Clock struct {
	read   func(ctx context.Context) (time.Time, error)
	offset atomic.Int64 // nanoseconds to add to this machine's clock
}

// NewClock reads the clock once.
func NewClock(ctx context.Context, read func(ctx context.Context) (time.Time, error)) (*Clock, error) {
	c := &Clock{read: read}
	return c, c.sync(ctx)
}

// Now is the corrected time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// Watch corrects the offset every five seconds until ctx ends.
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
	ours := start.Add(time.Since(start) / 2)
	c.offset.Store(int64(theirs.Sub(ours)))
	return nil
}
