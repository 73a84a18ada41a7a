package egress

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	smallBuffer = 4 << 10  // what a silent tunnel holds in each direction
	largeBuffer = 32 << 10 // two TLS records, while much is coming
	// restQuiet is how long both sides are silent after the destination spoke last before the tunnel counts as at rest.
	restQuiet = 250 * time.Millisecond
)

// tunnel carries bytes between a client and a destination until both have ended, or until it is closed by the proxy's watch.
//
// What it carries is encrypted, but who spoke last shows: after the client, an answer is owed; after the destination, the exchange is over.
type tunnel struct {
	client, dest net.Conn
	early        []byte // what the client sent right behind its CONNECT
	limits       tunnelLimits
	epoch        time.Time

	// gate keeps what the client sends from being passed on once the tunnel is retired: it was not sent, then, and may be sent again.
	gate    sync.Mutex
	retired bool

	heard     [2]atomic.Int64 // by direction: when bytes last moved, in nanoseconds since epoch
	halfEnded atomic.Bool
	buffers   *buffers
	bytes     *[2]atomic.Uint64
}

type tunnelLimits struct {
	idle, halfClosed, lifetime time.Duration
}

// The directions of a tunnel.
const (
	up   = 0 // client to destination
	down = 1 // destination to client
)

// run carries both directions and returns when both have ended and both connections are closed.
func (t *tunnel) run() {
	var back sync.WaitGroup
	back.Go(func() { t.pump(down, t.client, t.dest) })
	t.pump(up, t.dest, t.client)
	back.Wait()
	t.close()
}

// pump carries one direction. Its end is passed on as the end of that direction alone; an error ends the tunnel.
func (t *tunnel) pump(direction int, to, from net.Conn) {
	err := t.copy(direction, to, from)
	if err != nil {
		t.close()
		return
	}
	t.touch(direction)
	t.halfEnded.Store(true)
	if half, ok := to.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		t.close()
	}
}

func (t *tunnel) close() {
	t.client.Close()
	t.dest.Close()
}

func (t *tunnel) touch(direction int) { t.heard[direction].Store(int64(time.Since(t.epoch))) }

// retire decides that the tunnel is to be closed, if it is overdue: from then on nothing of the client's is passed on.
func (t *tunnel) retire(now time.Time, draining bool) bool {
	t.gate.Lock()
	defer t.gate.Unlock()
	t.retired = t.retired || t.overdue(now, draining)
	return t.retired
}

// admit notes that bytes move in a direction. It refuses the client's once the tunnel is retired.
func (t *tunnel) admit(direction int) error {
	if direction == up {
		t.gate.Lock()
		defer t.gate.Unlock()
		if t.retired {
			return errRetired
		}
	}
	t.touch(direction)
	return nil
}

var errRetired = errors.New("the tunnel is being closed")

// overdue tells whether the tunnel has to be closed. Draining, because of its age or because the proxy stops, it goes at its next rest.
func (t *tunnel) overdue(now time.Time, draining bool) bool {
	age := now.Sub(t.epoch)
	sent, answered := time.Duration(t.heard[up].Load()), time.Duration(t.heard[down].Load())
	quiet := age - max(sent, answered)
	switch {
	case quiet >= t.limits.idle:
		return true
	case t.halfEnded.Load() && quiet >= t.limits.halfClosed:
		return true
	case age >= t.limits.lifetime+t.limits.idle:
		return true
	case draining || age >= t.limits.lifetime:
		return answered >= sent && quiet >= restQuiet
	}
	return false
}
