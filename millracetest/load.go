package millracetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
)

// Load is many events from many clients at once. A client whose event was not
// taken sends it again until it is.
type Load struct {
	Events int
	// Ack is what each client prefers: queued or persisted; empty: nothing.
	Ack string
	// Keyed events have an idempotency key, so that one sent again is one.
	Keyed bool
	// Servers take the load in turn; none: the gateway's takes it all. A client
	// whom one does not answer goes on to the next.
	Servers []*Role
	// Meanwhile is done while the load goes on, at even distances.
	Meanwhile []func()
}

// clients is how many send at once.
const clients = 16

// Under puts the gateway under a load and returns the events' ids when all
// have been taken.
func (g *Gateway) Under(l Load) []string {
	g.t.Helper()
	ids, failed := make([]string, l.Events), make(chan error, clients)
	marks := make([]chan struct{}, len(l.Meanwhile))
	for i := range marks {
		marks[i] = make(chan struct{})
	}
	var next atomic.Int64
	var sending sync.WaitGroup
	for range clients {
		sending.Go(func() {
			for i := int(next.Add(1)) - 1; i < l.Events; i = int(next.Add(1)) - 1 {
				if every := l.Events / (len(marks) + 1); i > 0 && i%every == 0 && i/every <= len(marks) {
					close(marks[i/every-1])
				}
				if err := g.insist(l, i, &ids[i]); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	for i, act := range l.Meanwhile {
		select {
		case <-marks[i]:
			act()
		case err := <-failed:
			g.t.Fatal(err)
		}
	}
	sending.Wait()
	select {
	case err := <-failed:
		g.t.Fatal(err)
	default:
	}
	return ids
}

// insist sends one event of a load until it is taken, or refused for its own
// sake.
func (g *Gateway) insist(l Load, i int, id *string) error {
	e := Event("order.paid", "data", json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)))
	if l.Keyed {
		e["idempotency_key"] = fmt.Sprintf("order-%d", i)
	}
	var header []string
	if l.Ack != "" {
		header = []string{"Prefer", "ack=" + l.Ack}
	}
	var refused error
	turn := i
	err := until("the event is taken", func() error {
		c := call{method: http.MethodPost, path: "/events", body: e, header: header}
		if len(l.Servers) > 0 {
			c.at = l.Servers[turn%len(l.Servers)].url
		}
		turn++
		sent, err := g.try(c)
		if Refused(err).Status/100 == 4 {
			refused, err = err, nil
		}
		*id = sent.UID
		return err
	})
	return errors.Join(err, refused)
}
