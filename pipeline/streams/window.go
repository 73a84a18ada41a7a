package streams

import (
	"container/heap"
	"sync"
	"time"
)

// window is what a subscription holds: every entry from its delivery to its confirmed ack, and the order in which those that are ready are run.
//
// At most size entries run at once, and bulk never takes the last eighth of the slots, so that a live message does not wait for a slow bulk one to end.
type window struct {
	size, bulkSize, maxWaiting, weight int

	start func()        // starts a worker; called with mu held
	freed chan struct{} // told when what the reader asked for has become free

	mu                            sync.Mutex
	held                          [laneCount]map[string]*entry
	again                         [laneCount]fifo // taken over, or waited long enough
	live, bulk                    fifo
	waiting                       dueHeap
	timer                         *time.Timer
	workers, running, runningBulk int
	streak                        int  // live entries begun while bulk waited
	liveBacklog                   bool // the stream has more live entries than the last read brought
	asked                         room
	ackedInClaim                  map[string]bool // what was acked since a claim began, nil outside of one
	closed                        bool
}

// room is how many entries of each lane there is place for. Bulk is also limited by live's.
type room struct{ live, bulk int }

func newWindow(cfg SubscriberConfig, start func()) *window {
	w := &window{
		size: cfg.Concurrency, bulkSize: max(1, cfg.Concurrency-(cfg.Concurrency+7)/8), maxWaiting: cfg.MaxWaiting, weight: cfg.BulkWeight,
		start: start, freed: make(chan struct{}, 1),
	}
	for lane := range w.held {
		w.held[lane] = map[string]*entry{}
	}
	w.timer = time.AfterFunc(time.Hour, w.wake)
	w.timer.Stop()
	return w
}

// push takes in what a read brought, and says whether the stream has more of live. An entry that is held already is not begun twice: it is only ours again.
func (w *window) push(entries []*entry, liveBacklog bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.liveBacklog = liveBacklog
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
}

func (w *window) admit(e *entry) bool {
	if old := w.held[e.lane][e.id]; old != nil {
		old.hold(time.Duration(e.renewed.Load()))
		return false
	}
	w.held[e.lane][e.id] = e
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
	case w.liveBacklog:
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
	delete(w.held[e.lane], e.id)
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

// tell lets the reader go on if it waits for room that there is now.
func (w *window) tell() {
	if w.asked.live == 0 {
		return
	}
	if r := w.space(); r.live >= w.asked.live && r.bulk >= w.asked.bulk {
		w.asked = room{}
		select {
		case w.freed <- struct{}{}:
		default:
		}
	}
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

func (w *window) space() room {
	if len(w.waiting) >= w.maxWaiting {
		return room{}
	}
	bulkFree := w.bulkSize - w.runningBulk
	free := w.size - w.running - w.live.len() - w.again[Live].len() - min(bulkFree, w.again[Bulk].len())
	return room{live: free, bulk: min(free, bulkFree-w.again[Bulk].len()) - w.bulk.len()}
}

// ask returns the room that there is; if it is less than what is wanted, freed is told once there is that much.
func (w *window) ask(want room) room {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.space()
	w.asked = room{}
	if r.live < want.live || r.bulk < want.bulk {
		w.asked = want
	}
	return r
}

// forget lets go of entries whose ack is confirmed.
func (w *window) forget(entries []*entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		if w.held[e.lane][e.id] == e {
			delete(w.held[e.lane], e.id)
		}
		if w.ackedInClaim != nil {
			w.ackedInClaim[e.key+"/"+e.id] = true
		}
	}
}

// holding returns the entries of a lane that are held.
func (w *window) holding(lane Lane) []*entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	entries := make([]*entry, 0, len(w.held[lane]))
	for _, e := range w.held[lane] {
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

// abandoned returns the ids of a lane's entries that still run.
func (w *window) abandoned(lane Lane) []any {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []any
	for id, e := range w.held[lane] {
		if e.state == running {
			ids = append(ids, id)
		}
	}
	return ids
}
