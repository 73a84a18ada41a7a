package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace-dev/millrace/store"
)

// leader strives for the lock that one agent has: it hands back what is due,
// releases what is held, sweeps, and keeps the partitions.
type leader struct {
	lead   func(ctx context.Context, name string) (*store.Leadership, error)
	logger *slog.Logger

	mu      sync.Mutex
	term    context.Context // of the current leadership; nil without
	elected chan struct{}   // closed when term is set
}

func newLeader(lead func(ctx context.Context, name string) (*store.Leadership, error), logger *slog.Logger) *leader {
	return &leader{lead: lead, logger: logger, elected: make(chan struct{})}
}

// run strives for the lock until ctx ends.
func (l *leader) run(ctx context.Context) {
	for ctx.Err() == nil {
		ship, err := l.lead(ctx, "agent")
		if err != nil {
			if ctx.Err() == nil {
				l.logger.Warn("the leader's lock cannot be asked for", "error", err)
				wait(ctx, time.Second)
			}
			continue
		}
		term, end := context.WithCancel(ctx)
		l.begin(term)
		l.logger.Info("this agent leads")
		select {
		case <-ship.Done():
			l.logger.Warn("this agent does not lead any more")
		case <-ctx.Done():
		}
		l.end()
		end()
		_ = ship.Close()
	}
}

func (l *leader) begin(term context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = term
	close(l.elected)
}

func (l *leader) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term, l.elected = nil, make(chan struct{})
}

// leading blocks until this process leads; the context ends with that.
func (l *leader) leading(ctx context.Context) (context.Context, error) {
	for {
		l.mu.Lock()
		term, elected := l.term, l.elected
		l.mu.Unlock()
		if term != nil {
			return term, nil
		}
		select {
		case <-elected:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// while runs the work again and again, at the interval, while this process
// leads, until ctx ends. The work's context ends with either.
func (l *leader) while(ctx context.Context, every time.Duration, work func(ctx context.Context)) {
	for ctx.Err() == nil {
		term, err := l.leading(ctx)
		if err != nil {
			return
		}
		both, end := either(term, ctx)
		work(both)
		end()
		wait(ctx, every)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
