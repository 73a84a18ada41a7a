package sources

import (
	"context"
	"sync"
	"time"
)

// sqsLeases keep the messages that are worked on hidden from others.
type sqsLeases struct {
	queue      *sqsQueue
	visibility time.Duration

	mu   sync.Mutex
	held map[*sqsMessage]struct{}
}

func newSQSLeases(q *sqsQueue, visibility time.Duration) *sqsLeases {
	return &sqsLeases{queue: q, visibility: visibility, held: map[*sqsMessage]struct{}{}}
}

// begin holds a message until end.
func (l *sqsLeases) begin(m *sqsMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[m] = struct{}{}
}

// end hides a message no more. Once it returns, no extension is under way.
func (l *sqsLeases) end(m *sqsMessage) {
	l.mu.Lock()
	delete(l.held, m)
	l.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
}

// any tells whether anything is held.
func (l *sqsLeases) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held) > 0
}

// keep extends every third of the visibility what is held then, until ctx
// ends.
func (l *sqsLeases) keep(ctx context.Context) {
	tick := time.NewTicker(l.visibility / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.extendAll(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// extendAll extends what was hidden longer than a sixth of the visibility
// ago: younger ones have time until the next round.
func (l *sqsLeases) extendAll(ctx context.Context) {
	before := time.Now().Add(-l.visibility / 6)
	l.mu.Lock()
	held := make([]*sqsMessage, 0, len(l.held))
	for m := range l.held {
		held = append(held, m)
	}
	l.mu.Unlock()
	var calls sync.WaitGroup
	defer calls.Wait()
	underWay := make(chan struct{}, sqsBatchCalls)
	for len(held) > 0 {
		n := min(sqsBatch, len(held))
		batch := held[:n]
		held = held[n:]
		underWay <- struct{}{}
		calls.Go(func() {
			l.extend(ctx, batch, before)
			<-underWay
		})
	}
}

// extend hides messages for longer. What ended meanwhile stays as it is.
func (l *sqsLeases) extend(ctx context.Context, batch []*sqsMessage, before time.Time) {
	var receipts []string
	now := time.Now()
	var extended []*sqsMessage
	for _, m := range batch {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.ended && m.hidden.Before(before) {
			receipts, extended = append(receipts, m.receipt), append(extended, m)
		}
	}
	if len(receipts) == 0 {
		return
	}
	if _, err := l.queue.hide(ctx, receipts, l.visibility); err != nil {
		return // the next round may still be in time
	}
	for _, m := range extended {
		m.hidden = now
	}
}
