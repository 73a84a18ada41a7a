package store

import "time"

const (
	// company is how many rows must be expected within an interval for it to
	// pay to wait for them.
	company = 24
	// paceMemory is how far back the rate of arrival is remembered.
	paceMemory = 100 * time.Millisecond
)

// pace decides how long a flush waits for company. Idle traffic never waits.
// Under load a flush starts no sooner than an interval after the one before,
// or as soon as rows stop coming: then all who could come are there.
type pace struct {
	interval time.Duration
	started  time.Time // of the flush before
	rate     float64   // rows a second
}

// wait is how long a flush that could start now shall wait at most.
func (p *pace) wait(now time.Time) time.Duration {
	if p.rate*p.interval.Seconds() < company {
		return 0
	}
	return p.interval - now.Sub(p.started)
}

// quiet is how long no row must have come for the waiting to end: ten times
// the usual gap.
func (p *pace) quiet() time.Duration {
	gap := time.Duration(10 * float64(time.Second) / p.rate)
	return min(max(gap, time.Millisecond), p.interval)
}

// start notes that a flush of so many rows starts now.
func (p *pace) start(now time.Time, rows int) {
	gap := max(now.Sub(p.started), time.Microsecond)
	share := gap.Seconds() / (gap + paceMemory).Seconds()
	p.rate += (float64(rows)/gap.Seconds() - p.rate) * share
	p.started = now
}
