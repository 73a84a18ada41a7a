package bench

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// route is a way events take: the call that hands them in, and the receiver's
// endpoints that each must arrive at, once. The event with the number n of a
// run takes the route n modulo the number of routes.
type route struct {
	head  []byte // the request up to where the data begins
	key   int
	first int // its endpoints: first, first+1, …, first+fan-1
}

// plan is what a run sends.
type plan struct {
	data   template
	routes []route
	fan    int           // deliveries of each event
	delay  time.Duration // how long the receiver takes to answer
	ids    bool          // the gateway answers ids and signs deliveries by them
	says   []byte        // what every answer must contain; nil: nothing
	secret string        // what signs the deliveries; empty: nothing does
}

// ledger notes what was sent and what arrived in one run. It has room for a
// number of events; times are nanoseconds since its making.
type ledger struct {
	plan
	made     time.Time
	due      []int64 // when the event was to be sent: latencies count from here
	sent     []int64
	answered []int64 // 0: not accepted
	ids      []uid

	events   atomic.Int64 // that were accepted
	arrivals []arrival    // event n at the endpoint first+s: n*fan+s
	finished atomic.Int64
	lastDone atomic.Int64
	want     atomic.Int64
	slots    chan struct{} // each event that has arrived everywhere frees one
	complete chan struct{}
	once     sync.Once

	mu      sync.Mutex
	fault   error         // the first
	faulted chan struct{} // closed with it
}

// arrival is one delivery at the receiver.
type arrival struct {
	times atomic.Int32
	at    int64 // the first time
	id    uid
}

// verifyEvery is how many deliveries there are for one whose signature is
// checked; bodies are compared always.
const verifyEvery = 64

// newLedger has room for so many events. The window is how many may be on their
// way at once, where the load asks for slots.
func newLedger(p plan, events, window int) *ledger {
	l := &ledger{
		plan: p, made: time.Now(), due: make([]int64, events), sent: make([]int64, events), answered: make([]int64, events), ids: make([]uid, events),
		arrivals: make([]arrival, events*p.fan), slots: make(chan struct{}, max(window, 1)), complete: make(chan struct{}),
		faulted: make(chan struct{}),
	}
	l.want.Store(-1)
	for range window {
		l.slots <- struct{}{}
	}
	return l
}

func (l *ledger) now() int64 { return int64(time.Since(l.made)) }

func (l *ledger) route(n int) route { return l.routes[n%len(l.routes)] }

// accepted notes that an event was sent and answered with success.
func (l *ledger) accepted(n int, sent int64, id uid) {
	l.sent[n], l.ids[n] = sent, id
	l.answered[n] = l.now()
	l.events.Add(1)
}

// arrive notes a delivery, and says whether its signature is to be checked.
func (l *ledger) arrive(endpoint int, m *message) (known, check bool) {
	at := l.now()
	n, ok := l.data.number(m.body)
	if !ok || n >= len(l.due) {
		l.fail(fmt.Errorf("a delivery is not what was sent in this run: %.80q", m.body))
		return false, false
	}
	slot := endpoint - l.route(n).first
	if slot < 0 || slot >= l.fan {
		l.fail(fmt.Errorf("event %d arrived at endpoint %d, which it is not for", n, endpoint))
		return false, false
	}
	a := &l.arrivals[n*l.fan+slot]
	if times := a.times.Add(1); times > 1 {
		l.fail(fmt.Errorf("event %d (%x) arrived at endpoint %d %d times", n, parseUID(m.fields.id), endpoint, times))
		return false, false
	}
	a.at, a.id = at, parseUID(m.fields.id)
	return true, (n*l.fan+slot)%verifyEvery == 0
}

// done notes that a delivery was answered.
func (l *ledger) done() {
	l.lastDone.Store(l.now()) // the last writer may be some microseconds early
	n := l.finished.Add(1)
	if n%int64(l.fan) == 0 {
		select {
		case l.slots <- struct{}{}:
		default: // without a window nobody takes them
		}
	}
	if n == l.want.Load() {
		l.once.Do(func() { close(l.complete) })
	}
}

// seal says that nothing more is sent.
func (l *ledger) seal() {
	l.want.Store(l.events.Load() * int64(l.fan))
	if l.finished.Load() >= l.want.Load() {
		l.once.Do(func() { close(l.complete) })
	}
}

// fail keeps the first fault: it makes the run a failure.
func (l *ledger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault == nil {
		l.fault = err
		close(l.faulted)
	}
}

// broken is the first fault.
func (l *ledger) broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault
}

// reconcile compares what was accepted with what arrived: each exactly once,
// under its own id.
func (l *ledger) reconcile() error {
	if err := l.broken(); err != nil {
		return err
	}
	lost := 0
	for i := range l.arrivals {
		a, n := &l.arrivals[i], i/l.fan
		sent := l.answered[n] != 0
		switch arrived := a.times.Load() == 1; {
		case sent && !arrived:
			lost++
		case arrived && !sent:
			return fmt.Errorf("event %d arrived and was not accepted", n)
		case arrived && l.plan.ids && (a.id != l.ids[n] || a.id == uid{}):
			return fmt.Errorf("event %d was accepted as %x and arrived as %x", n, l.ids[n], a.id)
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d of %d deliveries were lost", lost, l.want.Load())
	}
	return nil
}

// span is from the first request to the last acceptance, and to the last
// answer of the receiver.
func (l *ledger) span() (accepting, all time.Duration) {
	var first, last int64
	for n, at := range l.answered {
		if at == 0 {
			continue
		}
		if first == 0 || l.sent[n] < first {
			first = l.sent[n]
		}
		last = max(last, at)
	}
	return time.Duration(last - first), time.Duration(l.lastDone.Load() - first)
}

// firstArrival is when the first delivery arrived.
func (l *ledger) firstArrival() int64 {
	first := l.lastDone.Load()
	for i := range l.arrivals {
		if at := l.arrivals[i].at; at != 0 && at < first {
			first = at
		}
	}
	return first
}

// requestTimes are how long the gateway took to answer, sorted.
func (l *ledger) requestTimes() []int64 {
	var all []int64
	for n, at := range l.answered {
		if at != 0 {
			all = append(all, at-l.due[n])
		}
	}
	slices.Sort(all)
	return all
}

// latencies are the times from when each event was to be sent to its arrival,
// sorted: one for each delivery.
func (l *ledger) latencies() []int64 {
	var all []int64
	for i := range l.arrivals {
		if l.answered[i/l.fan] != 0 {
			all = append(all, l.arrivals[i].at-l.due[i/l.fan])
		}
	}
	slices.Sort(all)
	return all
}

// Quantiles are the median and the tail of some times, in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
}

// quantiles reads them off sorted times.
func quantiles(sorted []int64) Quantiles {
	if len(sorted) == 0 {
		return Quantiles{}
	}
	at := func(q float64) float64 {
		return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / 1e6
	}
	return Quantiles{at(0.50), at(0.95), at(0.99)}
}
