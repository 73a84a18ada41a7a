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
	// since are those that this process held something for since the last look
	// began, which it may have missed.
	since map[millrace.ID]struct{}
}

type heldEndpoints interface {
	HeldEndpoints(ctx context.Context) ([]millrace.HeldEndpoint, error)
}

// NewHolding makes a view that holds nothing until Watch has looked.
func NewHolding(store heldEndpoints, logger *slog.Logger) *Holding {
	h := &Holding{store: store, logger: logger, since: map[millrace.ID]struct{}{}}
	h.now.Store(&map[millrace.ID]struct{}{})
	return h
}

// Holds tells whether the endpoint holds deliveries.
func (h *Holding) Holds(endpoint millrace.ID) bool {
	_, holds := (*h.now.Load())[endpoint]
	return holds
}

// release asks for what may be released only while some endpoint holds
// anything, which spares an idle PostgreSQL five questions a second.
func (h *Holding) release(next func(context.Context, int) ([]millrace.Due, error)) func(context.Context, int) ([]millrace.Due, error) {
	return func(ctx context.Context, limit int) ([]millrace.Due, error) {
		if len(*h.now.Load()) == 0 {
			return nil, nil
		}
		return next(ctx, limit)
	}
}

// Add notes an endpoint that holds from now on.
func (h *Holding) Add(endpoint millrace.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since[endpoint] = struct{}{}
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
	clear(h.since)
	h.mu.Unlock()
	held, err := h.store.HeldEndpoints(ctx)
	if err != nil {
		h.logger.Debug("the holding endpoints could not be read", "error", err)
		return
	}
	next := make(map[millrace.ID]struct{}, len(held))
	for _, e := range held {
		next[e.EndpointID] = struct{}{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.Copy(next, h.since)
	h.now.Store(&next)
}

// Places bounds how many deliveries to one endpoint are under way in this
// process. A burst waits a moment for a place; only an endpoint too slow to
// give one back in time has its deliveries held.
type Places struct {
	most     int
	patience time.Duration
	mu       sync.Mutex
	in       map[millrace.ID]*places
}

// places are one endpoint's: a token each, and how many use or want one.
type places struct {
	tokens chan struct{}
	users  int
}

// NewPlaces gives each endpoint so many places, and says how long a delivery
// waits for one.
func NewPlaces(most int, patience time.Duration) *Places {
	return &Places{most: most, patience: patience, in: map[millrace.ID]*places{}}
}

// Take takes a place; false: none was given back in time.
func (p *Places) Take(ctx context.Context, endpoint millrace.ID) bool {
	e := p.enter(endpoint)
	select {
	case e.tokens <- struct{}{}:
		return true
	default:
	}
	patience := time.NewTimer(p.patience)
	defer patience.Stop()
	select {
	case e.tokens <- struct{}{}:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	p.exit(endpoint)
	return false
}

// Leave gives a place back.
func (p *Places) Leave(endpoint millrace.ID) { <-p.exit(endpoint).tokens }

func (p *Places) enter(endpoint millrace.ID) *places {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.in[endpoint]
	if !ok {
		e = &places{tokens: make(chan struct{}, p.most)}
		p.in[endpoint] = e
	}
	e.users++
	return e
}

func (p *Places) exit(endpoint millrace.ID) *places {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.in[endpoint]
	if e.users--; e.users == 0 {
		delete(p.in, endpoint)
	}
	return e
}
