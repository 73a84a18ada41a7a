package store_test

import (
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func (w *world) lookedAt() []millrace.HeldEndpoint {
	w.t.Helper()
	return must[[]millrace.HeldEndpoint](w.t)(w.HeldToLookAt(w.t.Context(), 10))
}

// putOff looks at an endpoint again in an hour, as it is now.
func (w *world) putOff(endpoint millrace.ID) {
	w.t.Helper()
	noError(w.t, w.LookAgain(w.t.Context(), w.seen(endpoint), time.Hour))
}

func (w *world) seen(endpoint millrace.ID) millrace.HeldEndpoint {
	w.t.Helper()
	for _, e := range must[[]millrace.HeldEndpoint](w.t)(w.HeldEndpoints(w.t.Context())) {
		if e.EndpointID == endpoint {
			return e
		}
	}
	return millrace.HeldEndpoint{EndpointID: endpoint}
}

func TestAChangeSinceAnEndpointWasSeenIsNotPutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	endpoint := newID()
	w.heldDelivery(endpoint)
	seen := w.seen(endpoint)
	noError(t, w.LookNow(t.Context(), endpoint))
	noError(t, w.LookAgain(t.Context(), seen, time.Hour))
	if got := w.lookedAt(); len(got) != 1 {
		t.Error("it became due while it was looked at, and is not to be looked at")
	}
	w.putOff(endpoint)
	if got := w.lookedAt(); len(got) != 0 {
		t.Errorf("put off, it is to be looked at: %v", got)
	}
}

func TestAnEndpointThatHoldsIsLookedAtUntilItHoldsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	endpoint := newID()
	first, second := w.heldDelivery(endpoint), w.heldDelivery(endpoint)
	if got := w.lookedAt(); len(got) != 1 || got[0].EndpointID != endpoint || got[0].ProjectID != w.project {
		t.Fatalf("to look at are %v, want %s", got, endpoint)
	}
	held := must[[]millrace.Due](t)(w.HeldDeliveries(t.Context(), endpoint, 10))
	if len(held) != 2 || held[0].DeliveryID != first || held[1].DeliveryID != second || held[0].Why != millrace.DueReleased {
		t.Errorf("held are %+v", held)
	}
	w.putOff(endpoint)
	if got := w.lookedAt(); len(got) != 0 {
		t.Errorf("put off, it is to be looked at: %v", got)
	}
	noError(t, w.LookNow(t.Context(), endpoint))
	if got := w.lookedAt(); len(got) != 1 {
		t.Error("it is not to be looked at now")
	}
	for _, d := range held {
		w.handBack(d)
	}
	w.putOff(endpoint)
	if got := must[[]millrace.HeldEndpoint](t)(w.HeldEndpoints(t.Context())); len(got) != 0 {
		t.Errorf("holding nothing it is still there: %v", got)
	}
	if n := must[int](t)(w.QueuedCount(t.Context(), endpoint, 10)); n != 2 {
		t.Errorf("%d are queued, want 2", n)
	}
	if n := must[int](t)(w.QueuedCount(t.Context(), endpoint, 1)); n != 1 {
		t.Errorf("counted %d, beyond the most", n)
	}
}

func TestHoldingOneMoreMakesItsEndpointDueAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	endpoint := newID()
	w.heldDelivery(endpoint)
	w.putOff(endpoint)
	w.heldDelivery(endpoint)
	if got := w.lookedAt(); len(got) != 1 {
		t.Error("held by fan-out, it is not to be looked at")
	}
	w.putOff(endpoint)
	d := w.delivery()
	w.exec(`UPDATE deliveries SET endpoint_id = $1 WHERE id = $2`, endpoint, d.ID)
	w.settle(millrace.Fact{ID: newID(), DeliveryID: d.ID, Turn: 1, Kind: millrace.FactHeld, Decided: millrace.Held, At: time.Now(), Reason: string(millrace.HoldInFlight)})
	if got := w.lookedAt(); len(got) != 1 {
		t.Error("held by deliver, it is not to be looked at")
	}
	w.folds(d.ID)
	if r := w.record(d.ID); r.Status != millrace.Held || r.HeldFor != millrace.HoldInFlight {
		t.Errorf("held, it reads %+v", r.State)
	}
}

func TestWhatIsHeldWhileItsEndpointIsForgottenIsNotMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	endpoint := newID()
	for range 10 {
		id := w.heldDelivery(endpoint)
		w.handBack(millrace.Due{DeliveryID: id, Turn: 1, Why: millrace.DueReleased})
		in(2, func(i int) {
			if i == 0 {
				w.putOff(endpoint)
				return
			}
			id = w.heldDelivery(endpoint)
		})
		if n := w.count(`SELECT count(*) FROM held_endpoints WHERE endpoint_id = $1`, endpoint); n != 1 {
			t.Fatal("an endpoint holds a delivery and was forgotten")
		}
		w.handBack(millrace.Due{DeliveryID: id, Turn: 1, Why: millrace.DueReleased})
	}
}

func TestFindHeldCountsWhatIsHeldAndMendsAMissingRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if n := must[int](t)(w.FindHeld(t.Context())); n != 0 {
		t.Errorf("%d are held before anything is", n)
	}
	one, two := newID(), newID()
	w.heldDelivery(one)
	w.heldDelivery(one)
	w.heldDelivery(two)
	w.delivery() // queued
	w.putOff(two)
	w.exec(`DELETE FROM held_endpoints WHERE endpoint_id = $1`, one)
	if n := must[int](t)(w.FindHeld(t.Context())); n != 3 {
		t.Errorf("%d are held, want 3", n)
	}
	if got := w.lookedAt(); len(got) != 1 || got[0].EndpointID != one {
		t.Errorf("to look at are %v, want the mended one alone", got)
	}
}
