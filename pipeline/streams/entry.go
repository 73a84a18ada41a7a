package streams

import (
	"container/heap"
	"sync/atomic"
	"time"
)

// state is where an entry is on its way; see the drawing of the package.
type state uint8

const (
	ready state = iota
	running
	waiting
	settled
)

// entry is one stream entry that this consumer holds.
type entry struct {
	shard  *shard
	lane   Lane
	key    string
	id     string
	fields []any

	// renewed is when the entry was last known to be ours, as time since the subscription began.
	renewed atomic.Int64
	// lost says that the lease has passed, or that another consumer has the entry: it is not renewed any more, and not begun.
	lost atomic.Bool

	// Guarded by the window.
	state state
	due   time.Time

	// Of the worker that runs the entry.
	nacks     int // deliveries that were nacked
	burials   int // times that Dead refused it
	takeovers int
	reason    Reason // why it is dead, "" while it is not
	cause     error  // what Fail said of this delivery
	history   []string
}

// hold notes that the entry was ours at that moment.
func (e *entry) hold(since time.Duration) {
	e.renewed.Store(int64(since))
	e.lost.Store(false)
}

// fifo is a queue of entries that reuses its room.
type fifo struct {
	items []*entry
	head  int
}

func (f *fifo) len() int { return len(f.items) - f.head }

func (f *fifo) push(e *entry) {
	if f.head > 0 && len(f.items) == cap(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, e)
}

func (f *fifo) pop() *entry {
	e := f.items[f.head]
	f.items[f.head] = nil
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return e
}

// dueHeap is the entries that wait, the next one first.
type dueHeap []*entry

var _ heap.Interface = (*dueHeap)(nil)

// Len returns how many entries wait.
func (h dueHeap) Len() int { return len(h) }

// Less orders by the time that the entries are due.
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

// Swap exchanges two entries.
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push adds an *entry.
func (h *dueHeap) Push(x any) { *h = append(*h, x.(*entry)) }

// Pop removes the last *entry.
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
