package store_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestUnmatchedIsWhatNobodyFannedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	since := must[time.Time](t)(w.Now(t.Context())).Add(-time.Second)
	first := w.appended()
	fanned := w.appended()
	must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: fanned, ConfigVersion: 1}))
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.keyed("key"), true))
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.keyed("key"), true)) // its duplicate
	dead := w.appended()
	letter := millrace.DeadLetter{ID: newID(), ProjectID: w.project, EventID: dead.ID, Stage: "fanout"}
	noError(t, w.AddDeadLetter(t.Context(), letter))
	until := must[time.Time](t)(w.Now(t.Context())).Add(time.Second)
	w.exec(`UPDATE events SET stored_at = $1 WHERE id = $2`, until, w.appended().ID)

	found := must[[]millrace.StoredEvent](t)(w.UnmatchedEvents(t.Context(), since, until, 10))
	if len(found) != 2 || !reflect.DeepEqual(found[0], first) || found[1].IdempotencyKey != "key" {
		t.Errorf("found %+v", found)
	}
	if found := must[[]millrace.StoredEvent](t)(w.UnmatchedEvents(t.Context(), since, until, 1)); len(found) != 1 {
		t.Errorf("%d listed, want 1", len(found))
	}
	noError(t, w.SettleDeadLetter(t.Context(), letter.ID, "discarded"))
	if found := must[[]millrace.StoredEvent](t)(w.UnmatchedEvents(t.Context(), since, until, 10)); len(found) != 3 {
		t.Errorf("with the dead letter settled, %d are listed, want 3", len(found))
	}
}

func TestAnOldIdStoredNowIsSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.event()
	e.ID = millrace.NewID(time.Now().Add(-3 * 24 * time.Hour))
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false))
	now := must[time.Time](t)(w.Now(t.Context()))
	if found := must[[]millrace.StoredEvent](t)(w.UnmatchedEvents(t.Context(), now.Add(-time.Minute), now.Add(time.Minute), 10)); len(found) != 1 {
		t.Errorf("%d listed, want 1", len(found))
	}
}

func TestALongLogIsSweptInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	last := w.appended()
	// 45,000 events that were fanned out, most of them before the last one.
	w.exec(`
		WITH made AS (
			INSERT INTO events (id, project_id, type, payload, config_version, stored_at)
			SELECT ($1::text || lpad(to_hex(i), 12, '0'))::uuid, $2, 'x', '', 1, now() - i * interval '1 ms' FROM generate_series(1, 45000) i
			RETURNING id
		)
		INSERT INTO matches (event_id, replay_id, matched, config_version) SELECT id, $3, 0, 1 FROM made`,
		newID().String()[:24], w.project, millrace.ID{})
	now := must[time.Time](t)(w.Now(t.Context()))
	found := must[[]millrace.StoredEvent](t)(w.UnmatchedEvents(t.Context(), now.Add(-time.Hour), now.Add(time.Second), 10))
	if len(found) != 1 || found[0].ID != last.ID {
		t.Errorf("found %+v, want %s", found, last.ID)
	}
}

func TestACheckpointNeverGoesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := time.Now().UTC().Truncate(time.Microsecond)
	if got := must[time.Time](t)(w.Checkpoint(t.Context(), "sweep")); !got.IsZero() {
		t.Errorf("before it was saved it is %s", got)
	}
	for _, save := range []time.Time{at, at.Add(-time.Hour), at.Add(-time.Microsecond)} {
		noError(t, w.SaveCheckpoint(t.Context(), "sweep", save))
		if got := must[time.Time](t)(w.Checkpoint(t.Context(), "sweep")); !got.Equal(at) {
			t.Errorf("saved %s, it is %s, want %s", save, got, at)
		}
	}
	noError(t, w.SaveCheckpoint(t.Context(), "sweep", at.Add(time.Second)))
	if got := must[time.Time](t)(w.Checkpoint(t.Context(), "sweep")); !got.Equal(at.Add(time.Second)) {
		t.Errorf("it does not go forward: %s", got)
	}
}
