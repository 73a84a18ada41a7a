package egress

import "sync/atomic"

// Stats is a snapshot of what a proxy is doing and has done since it started.
type Stats struct {
	Tunnels   int               // open, or being set up
	Pending   int               // connections without a tunnel
	Connects  map[Reason]uint64 // requests by how they ended; every reason is there
	BytesUp   uint64            // from clients to destinations
	BytesDown uint64
	Cut       uint64 // tunnels that the proxy closed: idle, too old, or shutting down
	Dropped   uint64 // connections closed unread, beyond max_pending
}

type counters struct {
	connects     map[Reason]*atomic.Uint64
	bytes        [2]atomic.Uint64
	cut, dropped atomic.Uint64
	pending      atomic.Int64
}

func newCounters() *counters {
	c := &counters{connects: make(map[Reason]*atomic.Uint64)}
	for _, reason := range Reasons() {
		c.connects[reason] = new(atomic.Uint64)
	}
	return c
}

// Stats returns the counters of the proxy, from memory.
func (p *Proxy) Stats() Stats {
	s := Stats{
		Tunnels:   p.roster.held(),
		Pending:   int(p.counters.pending.Load()),
		Connects:  make(map[Reason]uint64),
		BytesUp:   p.counters.bytes[up].Load(),
		BytesDown: p.counters.bytes[down].Load(),
		Cut:       p.counters.cut.Load(),
		Dropped:   p.counters.dropped.Load(),
	}
	for reason, count := range p.counters.connects {
		s.Connects[reason] = count.Load()
	}
	return s
}
