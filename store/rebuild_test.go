package store_test

import (
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

func TestRebuildFindsWhatIsNotTheFoldAndRepairsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	states := w.inEachState()
	turned := w.delivery().ID
	w.settle(attempted(turned, 1, millrace.Waiting))
	w.handBack(millrace.Due{DeliveryID: turned, Turn: 1, Why: millrace.DueTime})
	done := 0
	report := must[store.Report](t)(w.Rebuild(t.Context(), true, func(n int) { done = n }))
	if report.Deliveries != 9 || done != 9 || len(report.Differences) != 0 {
		t.Fatalf("before anything is wrong: %+v, %d done", report, done)
	}
	harm := map[millrace.ID]string{
		states[millrace.Delivered]: `UPDATE deliveries SET status = 'waiting' WHERE id = $1`,
		states[millrace.GivenUp]:   `UPDATE deliveries SET attempts = 7, last_code = 418, last_outcome = 'success', last_latency = 1 WHERE id = $1`,
		states[millrace.Held]:      `UPDATE deliveries SET held_for = NULL WHERE id = $1`,
		states[millrace.Waiting]:   `UPDATE deliveries SET next_attempt_at = '2020-01-01' WHERE id = $1`,
		turned:                     `UPDATE deliveries SET facts = 5 WHERE id = $1`,
		states[millrace.Cancelled]: `DELETE FROM facts WHERE delivery_id = $1`,
	}
	for id, statement := range harm {
		w.exec(statement, id)
	}
	check := func(want int) {
		t.Helper()
		report := must[store.Report](t)(w.Rebuild(t.Context(), true, nil))
		if len(report.Differences) != want {
			t.Errorf("%d differences, want %d: %v", len(report.Differences), want, report.Differences)
		}
		for _, d := range report.Differences {
			if harm[d.DeliveryID] == "" {
				t.Errorf("nothing was done to %s", d)
			}
		}
	}
	check(len(harm))
	check(len(harm)) // a check changes nothing
	if repaired := must[store.Report](t)(w.Rebuild(t.Context(), false, nil)); len(repaired.Differences) != len(harm) {
		t.Errorf("%d were repaired, want %d", len(repaired.Differences), len(harm))
	}
	check(0)
	for id := range harm {
		w.folds(id)
	}
	if r := w.record(turned); r.Status != millrace.Queued || r.Turn != 2 {
		t.Errorf("repaired, what the transport has reads %+v", r)
	}
}

func TestRebuildGoesThroughPagesAndPartitions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for day := range 3 {
		e := w.event()
		e.ID = millrace.NewID(time.Now().AddDate(0, 0, day))
		stored := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false))
		must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: stored, ConfigVersion: 1, Targets: targets(400)}))
	}
	w.exec(`UPDATE deliveries SET attempts = 1 WHERE id = (SELECT id FROM deliveries ORDER BY id DESC LIMIT 1)`)
	report := must[store.Report](t)(w.Rebuild(t.Context(), true, nil))
	if report.Deliveries != 1200 || len(report.Differences) != 1 {
		t.Errorf("%d deliveries and %d differences, want 1200 and 1", report.Deliveries, len(report.Differences))
	}
}
