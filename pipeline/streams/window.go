package streams

import (
	"container/heap"
	"sync"
	"time"
)

// window is what a subscription works on: it gives its readers room, and says in which order the entries that are ready are run. What a shard holds, every entry from
// its delivery to its confirmed ack, is guarded by it.
//
// At most size entries run at once, and bulk never takes the last eighth of the slots, so that a live message does not wait for a slow bulk one to end.
type window struct {
	size, bulkSize, maxWaiting, weight int

	start func() // starts a worker; called with mu held

	mu                            sync.Mutex
	again                         [laneCount]fifo // taken over, or waited long enough
	live, bulk                    fifo
	waiting                       dueHeap
	timer                         *time.Timer
	workers, running, runningBulk int
	streak                        int             // live entries begun while bulk waited
	seats, hungry, backlogged     int             // how many seats there are, and how many of them are full, and have more
	queue                         []*seat         // who waits for room
	claims                        int             // under way
	ackedInClaim                  map[string]bool // what was acked since a claim began, nil outside of one
	closed                        bool
}

func newWindow(cfg SubscriberConfig, start func()) *window {
	w := &window{
		size: cfg.Concurrency, bulkSize: max(1, cfg.Concurrency-(cfg.Concurrency+7)/8), maxWaiting: cfg.MaxWaiting, weight: cfg.BulkWeight,
		start: start,
	}
	w.timer = time.AfterFunc(time.Hour, w.wake)
	w.timer.Stop()
	return w
}

// push takes in what a read brought, and whether it brought all that it asked for, and its stream has more of live. An entry that is held already is not begun
// twice: it is only ours again.
func (w *window) push(s *seat, entries []*entry, full, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(s, full, more)
	for _, e := range entries {
		if !w.admit(e) {
			continue
		}
		if e.lane == Bulk {
			w.bulk.push(e)
		} else {
			w.live.push(e)
		}
	}
	w.kick()
	w.tell()
}

func (w *window) admit(e *entry) bool {
	if old := e.shard.held[e.lane][e.id]; old != nil {
		old.hold(time.Duration(e.renewed.Load()))
		return false
	}
	e.shard.held[e.lane][e.id] = e
	return true
}

// kick starts workers for what is ready.
func (w *window) kick() {
	for n := w.ready(); n > 0 && w.workers < w.size && !w.closed; n-- {
		w.workers++
		w.start()
	}
}

func (w *window) ready() int {
	return w.again[Live].len() + w.again[Bulk].len() + w.live.len() + w.bulk.len()
}

// take returns the next entry to run, or nil if the worker that asks is to end.
func (w *window) take() *entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.choose()
	if e == nil {
		w.workers--
		return nil
	}
	e.state = running
	w.running++
	if e.lane == Bulk {
		w.runningBulk++
	}
	return e
}

func (w *window) choose() *entry {
	if w.closed {
		return nil
	}
	bulkFull := w.runningBulk >= w.bulkSize
	switch {
	case w.again[Live].len() > 0:
		return w.again[Live].pop()
	case w.again[Bulk].len() > 0 && !bulkFull:
		return w.again[Bulk].pop()
	}
	if w.bulk.len() == 0 || bulkFull {
		if w.live.len() == 0 {
			return nil
		}
		return w.live.pop()
	}
	switch {
	case w.streak >= w.weight:
	case w.live.len() > 0:
		w.streak++
		return w.live.pop()
	case w.backlogged > 0:
		return nil // live entries are about to be read, and it is still their turn
	}
	w.streak = 0
	return w.bulk.pop()
}

// done ends the run of e, which is now in the given state; waiting needs park.
func (w *window) done(e *entry, to state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave(e, to)
}

// park ends the run of e until it is due.
func (w *window) park(e *entry, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.due = due
	heap.Push(&w.waiting, e)
	if w.waiting[0] == e && !w.closed {
		w.timer.Reset(time.Until(due))
	}
	w.leave(e, waiting)
}

// drop ends the run of e, which is no longer ours.
func (w *window) drop(e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(e.shard.held[e.lane], e.id)
	w.leave(e, ready)
}

func (w *window) leave(e *entry, to state) {
	e.state = to
	w.running--
	if e.lane == Bulk {
		w.runningBulk--
	}
	w.tell()
}

// wake makes ready what has waited long enough.
func (w *window) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	now := time.Now()
	for len(w.waiting) > 0 && !w.waiting[0].due.After(now) {
		e := heap.Pop(&w.waiting).(*entry)
		e.state = ready
		w.again[e.lane].push(e)
	}
	if len(w.waiting) > 0 {
		w.timer.Reset(time.Until(w.waiting[0].due))
	}
	w.kick()
	w.tell()
}

// forget lets go of entries whose ack is confirmed.
func (w *window) forget(entries []*entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		if e.shard.held[e.lane][e.id] == e {
			delete(e.shard.held[e.lane], e.id)
		}
		if w.ackedInClaim != nil {
			w.ackedInClaim[e.key+"/"+e.id] = true
		}
	}
}

// holding returns the entries of a shard's lane that are held.
func (w *window) holding(s *shard, lane Lane) []*entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	entries := make([]*entry, 0, len(s.held[lane]))
	for _, e := range s.held[lane] {
		entries = append(entries, e)
	}
	return entries
}

// inFlight returns how many entries run.
func (w *window) inFlight() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running
}

// idle reports whether nothing runs.
func (w *window) idle() bool { return w.inFlight() == 0 }

// waitingCount returns how many entries wait for their next try.
func (w *window) waitingCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting)
}

// close lets nothing begin any more.
func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.timer.Stop()
}

// abandoned returns the ids of the entries of a shard's lane that still run.
func (w *window) abandoned(s *shard, lane Lane) []any {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []any
	for id, e := range s.held[lane] {
		if e.state == running {
			ids = append(ids, id)
		}
	}
	return ids
}
