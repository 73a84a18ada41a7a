package app

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// Holding knows which endpoints hold deliveries: all of them as of a second
// ago, and at once those that this process held something for itself.
type Holding struct {
	store  heldEndpoints
	logger *slog.Logger
	now    atomic.Pointer[map[millrace.ID]struct{}]
	mu     sync.Mutex // held by whoever replaces the map
}

type heldEndpoints interface {
	HeldEndpoints(ctx context.Context) ([]millrace.HeldEndpoint, error)
}

// NewHolding makes a view that holds nothing until Watch has looked.
func NewHolding(store heldEndpoints, logger *slog.Logger) *Holding {
	h := &Holding{store: store, logger: logger}
	h.now.Store(&map[millrace.ID]struct{}{})
	return h
}

// Holds tells whether the endpoint holds deliveries.
func (h *Holding) Holds(endpoint millrace.ID) bool {
	_, holds := (*h.now.Load())[endpoint]
	return holds
}

// Add notes an endpoint that holds from now on.
func (h *Holding) Add(endpoint millrace.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Holds(endpoint) {
		return
	}
	next := maps.Clone(*h.now.Load())
	next[endpoint] = struct{}{}
	h.now.Store(&next)
}

// Watch looks once a second until ctx ends.
func (h *Holding) Watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		h.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (h *Holding) look(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held, err := h.store.HeldEndpoints(ctx)
	if err != nil {
		h.logger.Debug("the holding endpoints could not be read", "error", err)
		return
	}
	next := make(map[millrace.ID]struct{}, len(held))
	for _, e := range held {
		next[e.EndpointID] = struct{}{}
	}
	h.now.Store(&next)
}

// Places bounds how many deliveries to one endpoint are under way in this
// process.
type Places struct {
	most int
	mu   sync.Mutex
	in   map[millrace.ID]int
}

// NewPlaces gives each endpoint so many places.
func NewPlaces(most int) *Places { return &Places{most: most, in: map[millrace.ID]int{}} }

// Take takes a place, or answers false when all are taken.
func (p *Places) Take(endpoint millrace.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in[endpoint] >= p.most {
		return false
	}
	p.in[endpoint]++
	return true
}

// Leave gives a place back.
func (p *Places) Leave(endpoint millrace.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in[endpoint]--; p.in[endpoint] <= 0 {
		delete(p.in, endpoint)
	}
}
