package store_test

import (
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// inEachState makes a delivery in each state that there is.
func (w *world) inEachState() map[millrace.Status]millrace.ID {
	w.t.Helper()
	ctx := w.t.Context()
	settled := func(decided millrace.Status) millrace.ID {
		d := w.delivery()
		w.settle(attempted(d.ID, 1, decided))
		return d.ID
	}
	cancelled, dead, expired := w.delivery().ID, w.delivery().ID, w.delivery().ID
	must[millrace.DeliveryRecord](w.t)(w.Cancel(ctx, w.project, cancelled, "enough"))
	noError(w.t, w.AddDeadLetter(ctx, millrace.DeadLetter{ID: newID(), ProjectID: w.project, DeliveryID: dead, Stage: "deliver"}))
	w.settle(millrace.Fact{ID: newID(), DeliveryID: expired, Turn: 1, Kind: millrace.FactExpired, Decided: millrace.Expired, At: millrace.TimeOf(expired)})
	return map[millrace.Status]millrace.ID{
		millrace.Queued: w.delivery().ID, millrace.Waiting: settled(millrace.Waiting), millrace.Held: w.heldDelivery(newID()),
		millrace.Delivered: settled(millrace.Delivered), millrace.GivenUp: settled(millrace.GivenUp),
		millrace.Cancelled: cancelled, millrace.Expired: expired, millrace.Dead: dead,
	}
}

func TestResendMakesADeliveryWaitFromAnyState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for status, id := range w.inEachState() {
		before := w.record(id)
		if before.Status != status {
			t.Fatalf("made %s, it is %s", status, before.Status)
		}
		must[bool](t)(w.Claim(t.Context(), id, 1, "entry"))
		r := must[millrace.DeliveryRecord](t)(w.Resend(t.Context(), w.project, id))
		if r.Status != millrace.Waiting || r.Turn != 2 || r.State.Attempts != 0 || r.ClaimedBy != "" || r.Facts != before.Facts+1 {
			t.Errorf("%s, resent, reads %+v", status, r)
		}
		w.folds(id)
	}
	if n := len(must[[]millrace.Due](t)(w.DueDeliveries(t.Context(), 100))); n != len(millrace.Statuses) {
		t.Errorf("%d are due at once, want all %d", n, len(millrace.Statuses))
	}
	_, err := w.Resend(t.Context(), w.newProject(), w.delivery().ID)
	wantCode(t, err, millrace.CodeNotFound)
}

func TestCancelEndsWhatIsNotFinal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for status, id := range w.inEachState() {
		r, err := w.Cancel(t.Context(), w.project, id, "no one wants it")
		if status.Final() {
			wantCode(t, err, millrace.CodeConflict)
			if got := w.record(id).Status; got != status {
				t.Errorf("%s became %s", status, got)
			}
			continue
		}
		if err != nil || r.Status != millrace.Cancelled || r.HeldFor != "" {
			t.Errorf("%s, cancelled, reads %+v, %v", status, r.State, err)
		}
		w.folds(id)
		facts := must[[]millrace.Fact](t)(w.Facts(t.Context(), w.project, id))
		if last := facts[len(facts)-1]; last.Kind != millrace.FactCancelled || last.Reason != "no one wants it" {
			t.Errorf("its last fact is %+v", last)
		}
	}
	_, err := w.Cancel(t.Context(), w.newProject(), w.delivery().ID, "")
	wantCode(t, err, millrace.CodeNotFound)
}

func TestAnEndpointsOpenDeliveriesAreCancelledTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	endpoint := newID()
	var all []millrace.ID
	for i := range 12 {
		f := millrace.FanOut{Event: w.appended(), ConfigVersion: 1, Targets: targets(1)}
		f.Targets[0].EndpointID = endpoint
		if i%3 == 0 {
			f.Targets[0].Hold = millrace.HoldPaused
		}
		must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
		id := millrace.DeliveryID(f.Event.ID, f.Targets[0].SubscriptionID, millrace.ID{})
		if i%3 == 1 {
			w.settle(attempted(id, 1, millrace.Waiting))
		}
		all = append(all, id)
	}
	w.settle(attempted(all[2], 1, millrace.Delivered))
	other := w.delivery().ID
	n := 0
	noError(t, w.Tx(t.Context(), func(tx *sqlx.Tx) error {
		var err error
		n, err = w.CancelEndpointIn(t.Context(), tx, endpoint, "the endpoint was deleted")
		return err
	}))
	if n != 11 {
		t.Errorf("%d were cancelled, want 11", n)
	}
	for i, id := range all {
		want := millrace.Cancelled
		if i == 2 {
			want = millrace.Delivered
		}
		if got := w.record(id).Status; got != want {
			t.Errorf("delivery %d is %s, want %s", i, got, want)
		}
		w.folds(id)
	}
	if got := w.record(other).Status; got != millrace.Queued {
		t.Errorf("another endpoint's is %s", got)
	}
	if held := must[[]millrace.HeldEndpoint](t)(w.HeldEndpoints(t.Context())); len(held) != 0 {
		t.Errorf("held still: %v", held)
	}
}
