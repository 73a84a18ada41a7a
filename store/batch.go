package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
)

// errClosed is what an append gets from a store that is closing.
var errClosed = errors.New("the store is closing")

// appendKind says how rows of one kind are written together.
type appendKind[K comparable, T, R any] struct {
	name string
	// key: a flush carries one row of each key; a second waits for the next.
	key func(T) K
	// second is another key of the row, where it has one; nil: none does.
	second func(T) (K, bool)
	// compare puts the rows of a flush in the order in which they are locked,
	// so that no two flushes deadlock.
	compare func(a, b T) int
	// weight bounds a flush besides its rows: see maxWeight.
	weight func(T) int
	// write is one statement for all rows (a second one for what the first
	// did not take). It sets each call's result, or its err.
	write func(ctx context.Context, calls []*call[T, R]) error
}

// call is one row on its way, and what became of it.
type call[T, R any] struct {
	row    T
	result R
	err    error
	done   chan struct{}
}

// limits bound a batcher.
type limits struct {
	rows     int
	weight   int
	writers  int
	interval time.Duration
}

// batcher commits the rows of concurrent callers together: they wait for the
// same flush. A flush starts as soon as a writer is free, under load a little
// later (see pace), so it carries one row when idle and hundreds under load.
type batcher[K comparable, T, R any] struct {
	kind   appendKind[K, T, R]
	limits limits
	// slots bounds the rows that wait or are being written.
	slots chan struct{}
	// collecting lets one writer at a time gather a flush.
	collecting chan struct{}
	// wake tells the gatherer that rows came.
	wake    chan struct{}
	quit    chan struct{}
	writers sync.WaitGroup
	stats   batchCounters

	mu      sync.Mutex
	closed  bool
	pending []*call[T, R]
	spare   []*call[T, R]

	// Of the gatherer alone.
	pace pace
	seen map[K]struct{}
}

func newBatcher[K comparable, T, R any](kind appendKind[K, T, R], l limits) *batcher[K, T, R] {
	b := &batcher[K, T, R]{
		kind: kind, limits: l,
		slots:      make(chan struct{}, 16*l.rows),
		collecting: make(chan struct{}, 1),
		wake:       make(chan struct{}, 1),
		quit:       make(chan struct{}),
		pace:       pace{interval: l.interval, started: time.Now()},
		seen:       map[K]struct{}{},
	}
	for range l.writers {
		b.writers.Go(b.writeAll)
	}
	return b
}

// do writes one row and waits for its commit. A caller whose context ends
// gets an error that says the result is unknown: the row may still be written.
func (b *batcher[K, T, R]) do(ctx context.Context, row T) (R, error) {
	var none R
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return none, millrace.Unavailable(fmt.Errorf("%s: waited in vain for room: %w", b.kind.name, ctx.Err()))
	}
	c := &call[T, R]{row: row, done: make(chan struct{})}
	if !b.add(c) {
		<-b.slots
		return none, millrace.Unavailable(fmt.Errorf("%s: %w", b.kind.name, errClosed))
	}
	select {
	case <-c.done:
		return c.result, c.err
	case <-ctx.Done():
		return none, millrace.Unavailable(fmt.Errorf("%s: the result is unknown: %w", b.kind.name, ctx.Err()))
	}
}

func (b *batcher[K, T, R]) add(c *call[T, R]) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.pending = append(b.pending, c)
	n := len(b.pending)
	b.mu.Unlock()
	if n == 1 || n == b.enough() {
		select {
		case b.wake <- struct{}{}:
		default: // the gatherer has been told
		}
	}
	return true
}

// close writes what waits and ends the writers.
func (b *batcher[K, T, R]) close() {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.quit)
	}
	b.mu.Unlock()
	b.writers.Wait()
}

// writeAll is a writer: it gathers a flush, writes it, and again.
func (b *batcher[K, T, R]) writeAll() {
	for {
		calls, more := b.gather()
		if !more {
			return
		}
		b.flush(calls)
		for _, c := range calls {
			close(c.done)
			<-b.slots
		}
	}
}

// gather waits for rows and takes as many as a flush may carry; false when
// the batcher is closed and nothing is left.
func (b *batcher[K, T, R]) gather() ([]*call[T, R], bool) {
	b.collecting <- struct{}{}
	defer func() { <-b.collecting }()
	for b.waiting() == 0 {
		select {
		case <-b.wake:
		case <-b.quit:
			if b.waiting() == 0 {
				return nil, false
			}
		}
	}
	b.linger()
	calls := b.take()
	b.pace.start(time.Now(), len(calls))
	slices.SortFunc(calls, func(x, y *call[T, R]) int { return b.kind.compare(x.row, y.row) })
	return calls, true
}

// linger waits for company, if the load says that it will come.
func (b *batcher[K, T, R]) linger() {
	left := b.pace.wait(time.Now())
	if left <= 0 || b.waiting() >= b.enough() {
		return
	}
	end := time.Now().Add(left)
	quiet := time.NewTicker(b.pace.quiet())
	defer quiet.Stop()
	for before := 0; ; {
		select {
		case <-quiet.C:
			now := b.waiting()
			if now == before || now >= b.enough() || time.Now().After(end) {
				return
			}
			before = now
		case <-b.wake:
			if b.waiting() >= b.enough() {
				return
			}
		case <-b.quit:
			return
		}
	}
}

// enough rows are not made to wait for more.
func (b *batcher[K, T, R]) enough() int { return max(b.limits.rows/4, 1) }

func (b *batcher[K, T, R]) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending)
}

// take moves a flush's rows out of the pending ones, in their order of
// arrival, one of each key.
func (b *batcher[K, T, R]) take() []*call[T, R] {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.seen)
	var calls []*call[T, R]
	rest, weight := b.spare[:0], 0
	for _, c := range b.pending {
		w := b.kind.weight(c.row)
		twice := b.met(c.row)
		full := len(calls) > 0 && (len(calls) == b.limits.rows || weight+w > b.limits.weight)
		if twice || full {
			rest = append(rest, c)
			continue
		}
		b.meet(c.row)
		weight += w
		calls = append(calls, c)
	}
	clear(b.pending)
	b.pending, b.spare = rest, b.pending[:0]
	return calls
}

// met tells whether the flush has a row of one of this row's keys.
func (b *batcher[K, T, R]) met(row T) bool {
	if _, twice := b.seen[b.kind.key(row)]; twice || b.kind.second == nil {
		return twice
	}
	key, has := b.kind.second(row)
	_, twice := b.seen[key]
	return has && twice
}

func (b *batcher[K, T, R]) meet(row T) {
	b.seen[b.kind.key(row)] = struct{}{}
	if b.kind.second == nil {
		return
	}
	if key, has := b.kind.second(row); has {
		b.seen[key] = struct{}{}
	}
}

// flush writes the calls. A statement refused for a row's sake is bisected,
// so that a bad row fails alone; any other failure is every row's, and means
// that PostgreSQL is away.
func (b *batcher[K, T, R]) flush(calls []*call[T, R]) {
	err := b.try(calls)
	switch {
	case err == nil:
	case isRefused(err) && len(calls) > 1:
		b.flush(calls[:len(calls)/2])
		b.flush(calls[len(calls)/2:])
	case isRefused(err):
		calls[0].err = mapError(err, b.kind.name)
	default:
		b.stats.failed.Add(1)
		err = millrace.Unavailable(fmt.Errorf("%s: %w", b.kind.name, err))
		for _, c := range calls {
			c.err = err
		}
	}
}

// try writes the calls, again if PostgreSQL rolled back for others' sake.
func (b *batcher[K, T, R]) try(calls []*call[T, R]) error {
	const tries = 3
	var err error
	for range tries {
		b.stats.flushes.Add(1)
		b.stats.rows.Add(int64(len(calls)))
		for _, c := range calls {
			c.err = nil
		}
		if err = b.kind.write(context.Background(), calls); !isRollback(err) {
			return err
		}
	}
	return err
}

// batchCounters count what a batcher did.
type batchCounters struct {
	flushes, rows, failed atomic.Int64
}

// BatchStats is what the appends of one kind have done since the start.
type BatchStats struct {
	Kind string
	// Flushes is how many times rows were written together, retries included.
	Flushes int64
	Rows    int64
	// Failed is how many flushes failed because PostgreSQL was away.
	Failed int64
	// Waiting is how many rows wait now.
	Waiting int
}

func (b *batcher[K, T, R]) snapshot() BatchStats {
	return BatchStats{
		Kind: b.kind.name, Waiting: b.waiting(),
		Flushes: b.stats.flushes.Load(), Rows: b.stats.rows.Load(), Failed: b.stats.failed.Load(),
	}
}
