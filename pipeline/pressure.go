package pipeline

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/pipeline/streams"
)

// leaveAt is the share of Redis' maxmemory from which nothing is added any
// more but what clients hand in: what is in the log is left to the sweep, and
// consumers drain.
const leaveAt = 0.85

// Pressure watches whether Redis answers and how full it is.
type Pressure struct {
	client    redis.UniversalClient
	persistAt atomic.Uint64 // float64 bits
	used      atomic.Uint64 // float64 bits; above 1 while Redis is away
}

// away is the reading of a Redis that does not answer.
const away = 2.0

// NewPressure makes the gauge; Watch keeps it.
func NewPressure(client redis.UniversalClient, persistAt float64) *Pressure {
	p := &Pressure{client: client}
	p.PersistFrom(persistAt)
	return p
}

// PersistFrom sets the share of maxmemory from which events are not left to
// the queue any more.
func (p *Pressure) PersistFrom(share float64) { p.persistAt.Store(math.Float64bits(share)) }

// Watch reads the gauge twice a second until ctx ends.
func (p *Pressure) Watch(ctx context.Context) {
	for ctx.Err() == nil {
		p.read(ctx)
		pause(ctx, 500*time.Millisecond)
	}
}

func (p *Pressure) read(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	used, known, err := streams.MemoryUsed(ctx, p.client)
	switch {
	case err != nil:
		used = away
	case !known:
		used = 0
	}
	p.used.Store(math.Float64bits(used))
}

// Used is the share of maxmemory in use; 0 where there is no limit, above 1
// while Redis does not answer.
func (p *Pressure) Used() float64 { return math.Float64frombits(p.used.Load()) }

// Accepting tells whether events may be left to the queue.
func (p *Pressure) Accepting() bool { return p.Used() < math.Float64frombits(p.persistAt.Load()) }

// Open tells whether stages may add what the log knows already.
func (p *Pressure) Open() bool { return p.Used() < leaveAt }

// Full tells whether Redis answers, and may take no more of what the log
// knows already.
func (p *Pressure) Full() bool {
	used := p.Used()
	return used >= leaveAt && used <= 1
}
