package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// position is a place in PostgreSQL's write-ahead log.
type position int64

// lineTimeout bounds the asking for a line.
const lineTimeout = 2 * time.Second

// The end of what is on disk is behind every commit that somebody was told of.
// Where commits are told of before they are on disk, it is the end of all.
const selectLine = `
	SELECT (CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_flush_lsn() END
		- '0/0'::pg_lsn)::bigint`

// primaryLine tells how far the primary's log goes: a replica that has
// replayed it until there has all that was committed before the question.
// Callers who ask at once share one statement, but none is answered by one
// that began before it came.
type primaryLine struct {
	primary *sqlx.DB
	// turn is whoever asks now.
	turn chan struct{}

	mu   sync.Mutex
	next *question // not asked yet; nil: nobody waits
}

type question struct {
	done chan struct{} // closed when the others are set
	line position
	err  error
}

func newPrimaryLine(primary *sqlx.DB) *primaryLine {
	return &primaryLine{primary: primary, turn: make(chan struct{}, 1)}
}

// draw answers with a line that is drawn after the call began.
func (l *primaryLine) draw(ctx context.Context) (position, error) {
	q := l.join()
	select {
	case l.turn <- struct{}{}:
		if l.take(q) {
			l.ask(ctx, q)
		}
		<-l.turn
	case <-q.done:
	case <-ctx.Done():
		return 0, millrace.Unavailable(fmt.Errorf("ask PostgreSQL how far its log goes: %w", ctx.Err()))
	}
	<-q.done // whoever took it has asked it before it left its turn
	return q.line, q.err
}

// join is the question that will be asked next.
func (l *primaryLine) join() *question {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = &question{done: make(chan struct{})}
	}
	return l.next
}

// take makes the caller the one who asks, unless somebody has.
func (l *primaryLine) take(q *question) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next != q {
		return false
	}
	l.next = nil
	return true
}

// ask asks for all who share the question, so the caller's leaving does not
// end it.
func (l *primaryLine) ask(ctx context.Context, q *question) {
	defer close(q.done)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lineTimeout)
	defer cancel()
	q.err = mapError(l.primary.GetContext(ctx, &q.line, selectLine), "ask PostgreSQL how far its log goes")
}
