package store_test

import (
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

// aged makes an event of the past with one delivery of it.
func (w *world) aged(days int) millrace.Delivery {
	w.t.Helper()
	e := w.event()
	e.ID = millrace.NewID(time.Now().AddDate(0, 0, -days))
	stored := must[millrace.StoredEvent](w.t)(w.AppendEvent(w.t.Context(), e, false))
	made := must[[]millrace.Delivery](w.t)(w.FanOut(w.t.Context(), millrace.FanOut{
		Event: stored, ConfigVersion: 1, Targets: []millrace.Target{{SubscriptionID: newID(), EndpointID: newID()}},
	}))
	return made[0]
}

func TestRetentionExpiresWhatIsOpenAndDropsTheDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	open, settled, young := w.aged(40), w.aged(40), w.aged(20)
	w.settle(attempted(settled.ID, 1, millrace.Delivered))
	if err := w.MakePartitions(t.Context(), now.AddDate(0, 0, -40), 0); err != nil {
		t.Fatal(err)
	}
	gone := retain(t, w, now)
	if gone.Expired != 1 || len(gone.Dropped) != 4 {
		t.Errorf("the round did %+v, want one expired and the day's four partitions dropped", gone)
	}
	if w.count(`SELECT count(*) FROM events`) != 1 || w.count(`SELECT count(*) FROM facts WHERE kind = 'expired'`) != 0 {
		t.Error("what is beyond the line is still there")
	}
	if _, err := w.Delivery(t.Context(), open.ProjectID, open.ID); millrace.CodeOf(err) != millrace.CodeNotFound {
		t.Errorf("the expired delivery reads %v", err)
	}
	if r := w.record(young.ID); r.Status != millrace.Queued {
		t.Errorf("a younger one reads %s", r.Status)
	}
}

func TestRetentionShowsForADayWhatExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.aged(30) // just beyond the line, within the grace
	w.retained(t, 1)
	if r := w.record(d.ID); r.Status != millrace.Expired {
		t.Errorf("it reads %s, want expired", r.Status)
	}
	w.folds(d.ID)
	w.retained(t, 0)
}

func TestRetentionKeepsTheEventsOfAnOpenReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.aged(40)
	w.settle(attempted(old.ID, 1, millrace.Delivered))
	replayed := must[millrace.StoredEvent](t)(w.ReplayEvent(t.Context(), old.ProjectID, old.EventID))
	made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{
		Event: replayed, ConfigVersion: 1, Targets: []millrace.Target{{SubscriptionID: newID(), EndpointID: newID()}},
	}))
	if err := w.MakePartitions(t.Context(), time.Now().AddDate(0, 0, -40), 0); err != nil {
		t.Fatal(err)
	}
	if gone := retain(t, w, time.Now()); len(gone.Dropped) != 0 {
		t.Errorf("dropped %v under an open replay", gone.Dropped)
	}
	w.settle(attempted(made[0].ID, 1, millrace.Delivered))
	if gone := retain(t, w, time.Now()); len(gone.Dropped) != 4 {
		t.Errorf("dropped %v once the replay was done", gone.Dropped)
	}
}

func TestRetentionDeletesWhatNoPartitionCaught(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.aged(40)
	w.settle(attempted(d.ID, 1, millrace.Delivered))
	retain(t, w, time.Now())
	for _, table := range []string{"events", "matches", "deliveries", "facts"} {
		if n := w.count(`SELECT count(*) FROM ` + table); n != 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
}

func retain(t *testing.T, w *world, now time.Time) store.Retained {
	t.Helper()
	return must[store.Retained](t)(w.Retain(t.Context(), now))
}

func (w *world) retained(t *testing.T, expired int) {
	t.Helper()
	if gone := retain(t, w, time.Now()); gone.Expired != expired {
		t.Errorf("%d expired, want %d", gone.Expired, expired)
	}
}
