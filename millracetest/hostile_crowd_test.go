package millracetest

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/millrace-dev/millrace/misbehave"
)

// TestEveryWayToMisbehaveAtOnce is every hostile receiver there is beside one
// that is not: that one gets everything, and when all is done, nothing of it
// is left in the gateway. It runs alone, as it weighs the process.
func TestEveryWayToMisbehaveAtOnce(t *testing.T) {
	const events, moreGoroutines, moreMemory = 40, 20, 16 << 20
	gw := New(t, Set("webhook.idle_timeout=1s"))
	healthy := gw.Receiver()
	before := footprintNow()
	all := map[misbehave.Mode]*hostile{}
	for _, mode := range misbehave.Modes() {
		all[mode] = gw.hostile(mode)
	}
	ids := gw.Under(Load{Events: events})
	healthy.Want(Events(ids...), Once())
	eventually(t, "everything has been tried that is not held by who wants no more", func() error {
		left, err := gw.list(`SELECT id FROM deliveries WHERE status IN ('queued', 'held') AND endpoint_id <> $1`, all[misbehave.Gone].endpoint)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d deliveries have not", len(left))
		}
		return err
	})
	for _, h := range all {
		h.end()
	}
	allowed := footprint{before.goroutines + moreGoroutines, before.memory + moreMemory}
	t.Logf("before %s, after %s", before, gw.settled(allowed))
}

// footprint is what the process holds: goroutines, and bytes that are in use.
type footprint struct {
	goroutines int
	memory     uint64
}

// String is the footprint for people.
func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines and %.1f MB", f.goroutines, float64(f.memory)/(1<<20))
}

func footprintNow() footprint {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), m.HeapAlloc}
}

// settled waits until the process holds no more than is allowed.
func (g *Gateway) settled(allowed footprint) footprint {
	g.t.Helper()
	var now footprint
	eventually(g.t, "the process has settled", func() error {
		g.client.CloseIdleConnections()
		if now = footprintNow(); now.goroutines > allowed.goroutines || now.memory > allowed.memory {
			return fmt.Errorf("it holds %s, and may hold %s", now, allowed)
		}
		return nil
	})
	return now
}
