package egress

import (
	"context"
	"sync"
)

// roster admits CONNECTs up to a limit, and knows which tunnels are open. A place is held from a request's admission to the end of its
// tunnel.
type roster struct {
	limit int

	mu      sync.Mutex
	places  int
	closing bool
	empty   chan struct{} // closed when closing and no place is held
	tunnels map[*tunnel]struct{}
}

func newRoster(limit int) *roster {
	return &roster{limit: limit, empty: make(chan struct{}), tunnels: make(map[*tunnel]struct{})}
}

// admit returns Allowed, and then leave must be called once.
func (r *roster) admit() Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closing:
		return ShuttingDown
	case r.places >= r.limit:
		return Overloaded
	}
	r.places++
	return Allowed
}

func (r *roster) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.places--
	r.closeIfEmpty()
}

func (r *roster) closeIfEmpty() {
	if r.closing && r.places == 0 {
		close(r.empty)
	}
}

// drain admits nobody from now on.
func (r *roster) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closing {
		r.closing = true
		r.closeIfEmpty()
	}
}

// wait returns when nobody holds a place any more, or with the context's error.
func (r *roster) wait(ctx context.Context) error {
	select {
	case <-r.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *roster) open(t *tunnel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tunnels[t] = struct{}{}
}

func (r *roster) remove(t *tunnel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tunnels, t)
}

// pick returns the open tunnels that the function chooses, told whether the roster is closing.
func (r *roster) pick(choose func(t *tunnel, closing bool) bool) []*tunnel {
	r.mu.Lock()
	defer r.mu.Unlock()
	var picked []*tunnel
	for t := range r.tunnels {
		if choose(t, r.closing) {
			picked = append(picked, t)
		}
	}
	return picked
}

func (r *roster) held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.places
}
