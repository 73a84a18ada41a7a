package app

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// held is a store that knows which endpoints hold deliveries.
type held struct {
	mu  sync.Mutex
	all []millrace.HeldEndpoint
	err error
}

func (h *held) HeldEndpoints(context.Context) ([]millrace.HeldEndpoint, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all, h.err
}

func (h *held) set(err error, all ...millrace.HeldEndpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all, h.err = all, err
}

func TestHolding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := millrace.NewID(time.Now()), millrace.NewID(time.Now())
		store := &held{}
		h := NewHolding(store, slog.New(slog.DiscardHandler))
		want := func(when string, ofA, ofB bool) {
			t.Helper()
			synctest.Wait()
			if h.Holds(a) != ofA || h.Holds(b) != ofB {
				t.Errorf("%s: holds %v and %v, want %v and %v", when, h.Holds(a), h.Holds(b), ofA, ofB)
			}
		}
		want("before it looked", false, false)
		store.set(nil, millrace.HeldEndpoint{EndpointID: a})
		go h.Watch(t.Context())
		want("after the first look", true, false)
		h.Add(b)
		h.Add(b)
		want("at once what this process held", true, true)
		store.set(errAway)
		<-time.After(time.Second)
		want("while the store is away, what it knew", true, true)
		store.set(nil)
		<-time.After(time.Second)
		want("a second after nothing is held any more", false, false)
	})
}

func TestWhatIsHeldDuringALookIsNotForgottenByIt(t *testing.T) {
	a := millrace.NewID(time.Now())
	h := NewHolding(nil, slog.New(slog.DiscardHandler))
	h.store = looked(func() { h.Add(a) }) // it was read before, and does not wait for the look
	h.look(t.Context())
	if !h.Holds(a) {
		t.Error("it is forgotten")
	}
	h.store = looked(func() {})
	h.look(t.Context())
	if h.Holds(a) {
		t.Error("it is remembered after a look that began later")
	}
}

// looked is a store without held endpoints that does something while it is
// read.
type looked func()

func (l looked) HeldEndpoints(context.Context) ([]millrace.HeldEndpoint, error) {
	l()
	return nil, nil
}

func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := millrace.NewID(time.Now()), millrace.NewID(time.Now())
		p := NewPlaces(2, time.Second)
		for range 2 {
			if !p.Take(t.Context(), a) {
				t.Fatal("a free place is not given")
			}
		}
		if !p.Take(t.Context(), b) {
			t.Error("one endpoint takes another's places")
		}
		began := time.Now()
		if p.Take(t.Context(), a) {
			t.Error("a third of two places is given")
		}
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("waited %s for a place, want its patience, 1s", waited)
		}
		got := make(chan bool)
		go func() { got <- p.Take(t.Context(), a) }()
		synctest.Wait()
		p.Leave(a)
		if !<-got {
			t.Error("a place given back in time is not given to whoever waits")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.Take(ctx, a) {
			t.Error("a place that is not there is given to someone who left")
		}
		p.Leave(a)
		p.Leave(a)
		p.Leave(b)
		if len(p.in) != 0 {
			t.Errorf("%d endpoints without deliveries take up room", len(p.in))
		}
	})
}

func TestNothingIsAskedForReleaseWhileNothingIsHeld(t *testing.T) {
	h := NewHolding(nil, slog.New(slog.DiscardHandler))
	asked := 0
	next := h.release(func(context.Context, int) ([]millrace.Due, error) {
		asked++
		return []millrace.Due{{}}, nil
	})
	if due, err := next(t.Context(), 1); len(due) != 0 || err != nil || asked != 0 {
		t.Fatalf("asked %d times, and got %v, %v", asked, due, err)
	}
	h.Add(millrace.NewID(time.Now()))
	if due, err := next(t.Context(), 1); len(due) != 1 || err != nil || asked != 1 {
		t.Fatalf("with one that holds: asked %d times, and got %v, %v", asked, due, err)
	}
}
