package sources

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Bounds of what a member holds of its partitions.
const (
	// fullRecords and fullBytes are what waits of one partition before it is
	// not fetched any more, and restAfter for how long nothing else is fetched
	// before it rests.
	fullRecords = 10_000
	fullBytes   = 4 << 20
	restAfter   = 500 * time.Millisecond
	// heldBytes is what waits of all of them.
	heldBytes = 64 << 20
	// runningBytes is what is in flight of all of them. A larger message is in
	// flight alone.
	runningBytes = 64 << 20
	// maxAhead is how many messages of a partition may have begun while the
	// first of them is not settled: what a crash delivers again at most.
	maxAhead = 10_000
)

// partition is what a member holds of one partition, as long as it is its own:
//
//	fetched ─▶ waiting ─▶ begun ─▶ settled, in any order
//	                        └ the commit follows the first that is not acked
type partition struct {
	number int32
	// topic is the id of the topic, or its name where there is none.
	topic string
	// life ends when the partition has gone to another, and with it what is
	// still in flight.
	life context.Context
	end  context.CancelFunc

	waiting []*kgo.Record
	bytes   int // of what waits
	begun   []*begun
	running int // begun and not settled
	paused  bool
	// acked is where the group goes on, and committed what the broker knows of
	// it.
	acked, committed kgo.EpochOffset
	// idle is there once the partition is given up: closed when nothing of it
	// is in flight.
	idle chan struct{}
}

// begun is a message in flight, or settled behind one that is.
type begun struct {
	next  kgo.EpochOffset
	bytes int
	acked bool
}

func newPartition(number int32, topic string) *partition {
	p := &partition{number: number, topic: topic}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// full tells whether enough waits.
func (p *partition) full() bool { return len(p.waiting) >= fullRecords || p.bytes >= fullBytes }

// next takes the first that waits.
func (p *partition) next() (*kgo.Record, *begun) {
	r := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	b := &begun{next: kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}, bytes: sizeOf(r)}
	p.bytes -= b.bytes
	p.begun = append(p.begun, b)
	p.running++
	return r, b
}

// settle notes how a message ended. What is not acked is never passed by.
func (p *partition) settle(b *begun, acked bool) {
	b.acked = acked
	p.running--
	for len(p.begun) > 0 && p.begun[0].acked {
		p.acked = p.begun[0].next
		p.begun[0] = nil
		p.begun = p.begun[1:]
	}
	if p.running == 0 && p.idle != nil {
		close(p.idle)
	}
}

// giveUp drops what waits: another reads it.
func (p *partition) giveUp() {
	p.waiting, p.bytes = nil, 0
	if p.idle == nil {
		p.idle = make(chan struct{})
		if p.running == 0 {
			close(p.idle)
		}
	}
}

func sizeOf(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
