package store_test

import (
	"bytes"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

func TestWhatIsDueIsHandedBackWithItsEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	f := attempted(d.ID, 1, millrace.Waiting)
	f.NextAttemptAt = time.Now().Add(-time.Minute).UTC().Truncate(time.Microsecond)
	w.settle(f)
	due := must[[]millrace.Due](t)(w.DueDeliveries(t.Context(), 10))
	if want := (millrace.Due{DeliveryID: d.ID, Turn: 1, Why: millrace.DueTime}); len(due) != 1 || due[0] != want {
		t.Fatalf("due are %+v, want %+v", due, want)
	}
	due[0].Bulk = true
	back, ok := w.handBack(due[0])
	want := d
	want.Turn, want.Attempts, want.Bulk, want.DueAt = 2, 1, true, f.NextAttemptAt
	if !ok || !reflect.DeepEqual(back, want) {
		t.Errorf("handed back %v\n%+v, want\n%+v", ok, back, want)
	}
	r := w.record(d.ID)
	if r.Status != millrace.Queued || r.Turn != 2 || r.ClaimedBy != "" || !r.State.NextAttemptAt.Equal(f.NextAttemptAt) {
		t.Errorf("then it reads %+v", r)
	}
	w.folds(d.ID)
	if again := must[[]millrace.Due](t)(w.DueDeliveries(t.Context(), 10)); len(again) != 0 {
		t.Errorf("still due: %v", again)
	}
}

func TestOnlyWhatWaitsAndWhoseTimeHasComeIsDue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := func(in time.Duration) millrace.ID {
		d := w.delivery()
		f := attempted(d.ID, 1, millrace.Waiting)
		if in != 0 {
			f.NextAttemptAt = time.Now().Add(in)
		}
		w.settle(f)
		return d.ID
	}
	late, later, atOnce := at(-time.Minute), at(-time.Hour), at(0)
	at(time.Hour)
	w.delivery() // queued
	w.heldDelivery(newID())
	var got []millrace.ID
	for _, d := range must[[]millrace.Due](t)(w.DueDeliveries(t.Context(), 10)) {
		got = append(got, d.DeliveryID)
	}
	if want := []millrace.ID{atOnce, later, late}; !reflect.DeepEqual(got, want) {
		t.Errorf("due are %v, want %v", got, want)
	}
	if n := len(must[[]millrace.Due](t)(w.DueDeliveries(t.Context(), 2))); n != 2 {
		t.Errorf("%d listed, want 2", n)
	}
}

func TestATurnIsHandedBackOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, why := range []millrace.DueReason{millrace.DueTime, millrace.DueLost, millrace.DueReleased} {
		t.Run(string(why), func(t *testing.T) {
			var id millrace.ID
			switch why {
			case millrace.DueReleased:
				id = w.heldDelivery(newID())
			default:
				id = w.delivery().ID
			}
			if why == millrace.DueTime {
				w.settle(attempted(id, 1, millrace.Waiting))
			}
			var backs atomic.Int32
			in(20, func(int) {
				d, ok, err := w.HandBack(t.Context(), millrace.Due{DeliveryID: id, Turn: 1, Why: why})
				if err != nil {
					t.Error(err)
				}
				if ok {
					backs.Add(1)
					if d.Turn != 2 || d.Released != (why == millrace.DueReleased) {
						t.Errorf("handed back %+v", d)
					}
				}
			})
			if backs.Load() != 1 {
				t.Errorf("handed back %d times", backs.Load())
			}
			w.folds(id)
		})
	}
}

func TestADeliveryIsHandedBackFromTheStateItWasSeenIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	waiting := func() millrace.ID {
		d := w.delivery()
		w.settle(attempted(d.ID, 1, millrace.Waiting))
		return d.ID
	}
	final := func() millrace.ID {
		d := w.delivery()
		w.settle(attempted(d.ID, 1, millrace.Delivered))
		return d.ID
	}
	states := map[string]func() millrace.ID{
		"queued": func() millrace.ID { return w.delivery().ID }, "waiting": waiting, "held": func() millrace.ID { return w.heldDelivery(newID()) },
		"delivered": final, "unknown": newID,
	}
	from := map[millrace.DueReason]string{millrace.DueTime: "waiting", millrace.DueLost: "queued", millrace.DueReleased: "held"}
	for state, make := range states {
		for why, right := range from {
			if _, ok := w.handBack(millrace.Due{DeliveryID: make(), Turn: 1, Why: why}); ok != (state == right) {
				t.Errorf("%s, handed back as %s: %v", state, why, ok)
			}
		}
	}
	if _, _, err := w.HandBack(t.Context(), millrace.Due{DeliveryID: newID(), Turn: 1, Why: "nonsense"}); !millrace.IsPermanent(err) {
		t.Errorf("for no reason: %v", err)
	}
}

func TestReleasingLeavesAFact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.heldDelivery(newID())
	w.handBack(millrace.Due{DeliveryID: d, Turn: 1, Why: millrace.DueReleased})
	facts := must[[]millrace.Fact](t)(w.Facts(t.Context(), w.project, d))
	if len(facts) != 2 || facts[0].Kind != millrace.FactHeld || facts[1].Kind != millrace.FactReleased || !facts[1].Counted || facts[1].Number != 2 {
		t.Errorf("the facts are %+v", facts)
	}
	for _, f := range facts {
		noError(t, f.Validate())
	}
	if r := w.record(d); r.HeldFor != "" || r.Status != millrace.Queued {
		t.Errorf("released, it reads %+v", r.State)
	}
}

func TestALargePayloadTravelsByReference(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *store.Config) { c.InlinePayloadMax = 100 })
	for _, size := range []int{0, 100, 101} {
		e := w.event()
		e.Payload = bytes.Repeat([]byte("x"), size)
		stored := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false))
		made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: stored, ConfigVersion: 1, Targets: targets(1)}))
		back, ok := w.handBack(millrace.Due{DeliveryID: made[0].ID, Turn: 1, Why: millrace.DueLost})
		if !ok || back.ByReference != (size > 100) || (len(back.Payload) != size) != back.ByReference {
			t.Errorf("%d bytes: by reference: %v, with %d bytes", size, back.ByReference, len(back.Payload))
		}
	}
}

func TestWhatIsClaimedIsNotLostForAsLongAsATurnMayLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	w.exec(`UPDATE deliveries SET queued_at = now() - interval '1 hour', updated_at = now() - interval '1 hour' WHERE id = $1`, d.ID)
	before := must[time.Time](t)(w.Now(t.Context())).Add(-20 * time.Second)
	lost := func() int { return len(must[[]millrace.Due](t)(w.LostDeliveries(t.Context(), before, 10))) }
	if lost() != 1 {
		t.Error("a delivery that nobody claimed is not lost")
	}
	if !must[bool](t)(w.Claim(t.Context(), d.ID, 1, "stream/1-0")) {
		t.Fatal("the turn is not to be claimed")
	}
	if lost() != 0 {
		t.Error("a delivery that is being sent is taken for lost")
	}
	w.exec(`UPDATE deliveries SET updated_at = now() - interval '2 min' WHERE id = $1`, d.ID)
	if lost() != 1 {
		t.Error("a delivery whose claim is older than any turn is not lost")
	}
}

func TestWhatWasClaimedSinceItWasListedIsNotHandedBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	w.exec(`UPDATE deliveries SET queued_at = now() - interval '1 minute'`)
	lost := must[[]millrace.Due](t)(w.LostDeliveries(t.Context(), must[time.Time](t)(w.Now(t.Context())), 10))
	if len(lost) != 1 {
		t.Fatalf("%d are lost, want 1", len(lost))
	}
	if !must[bool](t)(w.Claim(t.Context(), d.ID, 1, "0-1")) {
		t.Fatal("it was not claimed")
	}
	if _, ok := w.handBack(lost[0]); ok {
		t.Error("it was handed back while it may be on its way")
	}
	w.exec(`UPDATE deliveries SET updated_at = now() - interval '2 min'`)
	if _, ok := w.handBack(lost[0]); !ok {
		t.Error("it was not handed back, though no turn lasts as long")
	}
}

func TestLostIsWhatWasQueuedBeforeTheMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, young, done := w.delivery(), w.delivery(), w.delivery()
	w.exec(`UPDATE deliveries SET queued_at = now() - interval '1 min' WHERE id IN ($1, $2)`, old.ID, done.ID)
	w.settle(attempted(done.ID, 1, millrace.Delivered))
	now := must[time.Time](t)(w.Now(t.Context()))
	lost := must[[]millrace.Due](t)(w.LostDeliveries(t.Context(), now.Add(-30*time.Second), 10))
	if want := (millrace.Due{DeliveryID: old.ID, Turn: 1, Why: millrace.DueLost}); len(lost) != 1 || lost[0] != want {
		t.Errorf("lost are %+v, want %s and not %s", lost, old.ID, young.ID)
	}
	w.handBack(lost[0])
	if lost := must[[]millrace.Due](t)(w.LostDeliveries(t.Context(), now.Add(-30*time.Second), 10)); len(lost) != 0 {
		t.Errorf("handed back, it is lost still: %v", lost)
	}
}
