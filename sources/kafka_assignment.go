package sources

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// assignment is what a member has of its topic: which partitions, what waits
// of each, and what is in flight.
type assignment struct {
	workers int
	// pause and resume say which partition is fetched.
	pause, resume func(number int32)

	mu         sync.Mutex
	partitions map[int32]*partition
	turns      []*partition // whose turn it is, first of all
	bytes      int          // in flight
	// full is since when a partition is full that is fetched; zero: none is.
	full time.Time
	// begin is told when something may begin, and fetch when something may be
	// fetched.
	begin, fetch chan struct{}
}

func newAssignment(workers int) *assignment {
	return &assignment{workers: workers, partitions: map[int32]*partition{}, begin: make(chan struct{}, 1), fetch: make(chan struct{}, 1)}
}

// task is a message that may begin.
type task struct {
	of     *partition
	record *kgo.Record
	begun  *begun
}

// add takes partitions over.
func (a *assignment) add(topic string, numbers []int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range numbers {
		a.replace(n, topic)
		a.resume(n) // a pause outlives an assignment
	}
	tell(a.fetch)
}

// replace begins a partition anew. What is in flight of the one before it
// commits nothing any more.
func (a *assignment) replace(n int32, topic string) *partition {
	if old, known := a.partitions[n]; known {
		old.giveUp()
		old.end()
	}
	p := newPartition(n, topic)
	a.partitions[n] = p
	a.order()
	return p
}

func (a *assignment) order() {
	a.turns = slices.Collect(maps.Values(a.partitions))
}

// remove gives partitions up: nothing of them begins any more.
func (a *assignment) remove(numbers []int32) (removed []*partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range numbers {
		p, known := a.partitions[n]
		if !known {
			continue
		}
		p.giveUp()
		delete(a.partitions, n)
		removed = append(removed, p)
	}
	a.order()
	tell(a.fetch)
	return removed
}

// put adds what was fetched. A partition of another topic is another
// partition, if of the same name.
func (a *assignment) put(topic string, number int32, records []*kgo.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, known := a.partitions[number]
	if !known {
		return
	}
	if p.topic != topic {
		p = a.replace(number, topic)
	}
	p.waiting = append(p.waiting, records...)
	for _, r := range records {
		p.bytes += sizeOf(r)
	}
	tell(a.begin)
}

// next is the next message that may begin; false: ctx ended before there was
// one.
func (a *assignment) next(ctx context.Context) (task, bool) {
	for {
		if t, ok := a.try(); ok {
			return t, true
		}
		select {
		case <-a.begin:
		case <-ctx.Done():
			return task{}, false
		}
	}
}

func (a *assignment) try() (task, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, p := range a.turns {
		if !a.may(p) {
			continue
		}
		a.turns = append(slices.Delete(a.turns, i, i+1), p)
		r, b := p.next()
		a.bytes += b.bytes
		a.refill(p)
		return task{of: p, record: r, begun: b}, true
	}
	return task{}, false
}

// may tells whether a message of the partition may begin. Where there are
// several, none takes all of the workers: one that waits is not to hold up
// the others.
func (a *assignment) may(p *partition) bool {
	if len(p.waiting) == 0 || len(p.begun) >= maxAhead {
		return false
	}
	if len(a.partitions) > 1 && p.running >= max(1, a.workers-a.workers/4) {
		return false
	}
	return a.bytes == 0 || a.bytes+sizeOf(p.waiting[0]) <= runningBytes
}

// refill has a partition fetched again that is not full any more.
func (a *assignment) refill(p *partition) {
	if p.full() {
		return
	}
	if p.paused {
		p.paused = false
		a.resume(p.number)
	}
	if len(p.waiting) == 0 || !a.full.IsZero() {
		tell(a.fetch)
	}
}

// settle notes how a message ended.
func (a *assignment) settle(t task, acked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes -= t.begun.bytes
	t.of.settle(t.begun, acked)
	tell(a.begin)
}

// hungry waits until there is something to fetch for: a partition of which
// nothing waits.
func (a *assignment) hungry(ctx context.Context) bool {
	patience := time.NewTimer(restAfter)
	defer patience.Stop()
	for !a.feed(time.Now()) {
		patience.Reset(restAfter)
		select {
		case <-a.fetch:
		case <-patience.C:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

// feed tells whether to fetch now. A partition that is full has a while to have
// room again, and is fetched with the others. Only then does it rest, and they
// are fetched without it: it is late when it has room, as a broker that has
// nothing of the others may take its time to answer.
func (a *assignment) feed(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	held, hungry, full := 0, len(a.partitions) == 0, false
	for _, p := range a.partitions {
		held += p.bytes
		hungry = hungry || len(p.waiting) == 0
		full = full || p.full() && !p.paused
	}
	if !hungry || held > heldBytes {
		return false
	}
	switch {
	case !full:
		a.full = time.Time{}
		return true
	case a.full.IsZero():
		a.full = now
	}
	if now.Sub(a.full) < restAfter {
		return false
	}
	a.full = time.Time{}
	for _, p := range a.partitions {
		if p.full() && !p.paused {
			p.paused = true
			a.pause(p.number)
		}
	}
	return true
}

// uncommitted are those of the partitions of which the broker does not know
// where the group goes on.
func (a *assignment) uncommitted(of []*partition) (due []*partition, offsets map[int32]kgo.EpochOffset) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if of == nil {
		of = slices.Collect(maps.Values(a.partitions))
	}
	offsets = map[int32]kgo.EpochOffset{}
	for _, p := range of {
		if p.acked != p.committed {
			due, offsets[p.number] = append(due, p), p.acked
		}
	}
	return due, offsets
}

// committed notes what the broker knows.
func (a *assignment) committed(p *partition, at kgo.EpochOffset) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.committed = at
}

// tell wakes whoever waits, if anyone does.
func tell(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
