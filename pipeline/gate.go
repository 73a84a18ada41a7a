package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// gate holds a whole stage back while something that it needs is away. There
// is one backoff for all of its messages: whoever fails shuts the gate for a
// while, whoever comes waits in front of it, and then they try again.
type gate struct {
	failures atomic.Int64
	mu       sync.Mutex
	shut     chan struct{} // closed when the wait is over; nil while open
}

// Backoff of a stage whose stores are away.
const (
	waitFirst = 50 * time.Millisecond
	waitLast  = 2 * time.Second
)

// wait blocks while the gate is shut.
func (g *gate) wait(ctx context.Context) error {
	if g.failures.Load() == 0 {
		return nil
	}
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause shuts the gate, or joins those who wait already, and blocks until it
// opens.
func (g *gate) pause(ctx context.Context) error {
	g.mu.Lock()
	if g.shut != nil {
		g.mu.Unlock()
		return g.wait(ctx)
	}
	shut := make(chan struct{})
	g.shut = shut
	backoff := min(waitFirst<<min(g.failures.Add(1)-1, 10), waitLast)
	g.mu.Unlock()
	pause(ctx, backoff)
	g.mu.Lock()
	g.shut = nil
	g.mu.Unlock()
	close(shut)
	return ctx.Err()
}

// through notes that the stage works: the next failure waits briefly again.
func (g *gate) through() {
	if g.failures.Load() != 0 {
		g.failures.Store(0)
	}
}
