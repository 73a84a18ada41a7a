package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

// agedEvent appends an event of so many days ago.
func (w *world) agedEvent(days int) millrace.StoredEvent {
	w.t.Helper()
	e := w.event()
	e.ID = millrace.NewID(time.Now().AddDate(0, 0, -days))
	return must[millrace.StoredEvent](w.t)(w.AppendEvent(w.t.Context(), e, false))
}

// aged makes an event of so many days ago with one delivery, queued in turn 1.
func (w *world) aged(days int) millrace.Delivery {
	w.t.Helper()
	return must[[]millrace.Delivery](w.t)(w.FanOut(w.t.Context(), millrace.FanOut{Event: w.agedEvent(days), ConfigVersion: 1, Targets: targets(1)}))[0]
}

// partitionsOf makes the partitions of a day that many days ago and moves into them
// what the default ones caught.
func (w *world) partitionsOf(days int) {
	w.t.Helper()
	noError(w.t, w.MakePartitions(w.t.Context(), time.Now().AddDate(0, 0, -days), 0))
}

// replayed replays the event of a delivery; the replay began an hour ago.
func (w *world) replayed(d millrace.Delivery) millrace.Delivery {
	w.t.Helper()
	e := must[millrace.StoredEvent](w.t)(w.ReplayEvent(w.t.Context(), w.project, d.EventID))
	w.exec(`UPDATE replays SET created_at = now() - interval '1 hour' WHERE id = $1`, e.ReplayID)
	return must[[]millrace.Delivery](w.t)(w.FanOut(w.t.Context(), millrace.FanOut{Event: e, ConfigVersion: 1, Targets: targets(1)}))[0]
}

func (w *world) retain() store.Retained {
	w.t.Helper()
	return must[store.Retained](w.t)(w.Retain(w.t.Context(), time.Now()))
}

// rows counts what all tables of the log have of an event's day.
func (w *world) rows(event millrace.ID) int {
	w.t.Helper()
	day := millrace.TimeOf(event).UTC().Truncate(24 * time.Hour)
	from, to := millrace.FloorID(day), millrace.FloorID(day.AddDate(0, 0, 1))
	all := 0
	for table, key := range map[string]string{"events": "id", "matches": "event_id", "deliveries": "id", "facts": "delivery_id"} {
		all += w.count(`SELECT count(*) FROM `+table+` WHERE `+key+` >= $1 AND `+key+` < $2`, from, to)
	}
	return all
}

func TestRetentionExpiresWhatWaitsOrIsHeld(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule  string
		days  int
		state func(w *world, d millrace.ID)
		want  millrace.Status
	}{
		{"what waits expires", 31, func(w *world, d millrace.ID) { w.settle(attempted(d, 1, millrace.Waiting)) }, millrace.Expired},
		{"what waits to be sent at once expires", 31, func(w *world, d millrace.ID) {
			w.settle(attempted(d, 1, millrace.Delivered))
			must[millrace.DeliveryRecord](w.t)(w.Resend(w.t.Context(), w.project, d))
		}, millrace.Expired},
		{"what is held expires", 31, func(w *world, d millrace.ID) { w.settle(hold(d)) }, millrace.Expired},
		{"what the transport has is left to its turn", 31, func(*world, millrace.ID) {}, millrace.Queued},
		{"what is delivered stays so", 31, func(w *world, d millrace.ID) { w.settle(attempted(d, 1, millrace.Delivered)) }, millrace.Delivered},
		{"what was given up stays so", 31, func(w *world, d millrace.ID) { w.settle(attempted(d, 1, millrace.GivenUp)) }, millrace.GivenUp},
		{"what is younger waits on", 29, func(w *world, d millrace.ID) { w.settle(attempted(d, 1, millrace.Waiting)) }, millrace.Waiting},
		{"what is younger is held on", 29, func(w *world, d millrace.ID) { w.settle(hold(d)) }, millrace.Held},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.aged(c.days)
			c.state(w, d.ID)
			for range 2 { // a round can be repeated
				w.retain()
				if r := w.record(d.ID); r.Status != c.want {
					t.Errorf("it is %s, want %s", r.Status, c.want)
				}
				w.folds(d.ID)
			}
		})
	}
}

func hold(d millrace.ID) millrace.Fact {
	return millrace.Fact{ID: newID(), DeliveryID: d, Turn: 1, Kind: millrace.FactHeld, Decided: millrace.Held, At: time.Now(), Reason: string(millrace.HoldPaused)}
}

func TestAnExpiredDeliverySaysSoAndIsHeldNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.aged(31)
	w.settle(hold(d.ID))
	if done := w.retain(); done.Expired != 1 {
		t.Errorf("the round did %+v", done)
	}
	facts := must[[]millrace.Fact](t)(w.Facts(t.Context(), w.project, d.ID))
	if last := facts[len(facts)-1]; last.Kind != millrace.FactExpired || last.Decided != millrace.Expired || !last.Counted || last.Turn != 1 || last.Reason == "" {
		t.Errorf("its last fact is %+v", last)
	}
	if _, ok := w.handBack(millrace.Due{DeliveryID: d.ID, Turn: 1, Why: millrace.DueReleased}); ok {
		t.Error("it was released")
	}
	w.putOff(d.EndpointID)
	if n := len(must[[]millrace.HeldEndpoint](t)(w.HeldEndpoints(t.Context()))); n != 0 {
		t.Errorf("%d endpoints are looked at for nothing", n)
	}
	if done := w.retain(); done.Expired != 0 {
		t.Errorf("the next round did %+v", done)
	}
}

func TestMoreExpireThanOneStatementTakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.agedEvent(31)
	many := targets(store.CancelBatch + 1)
	for i := range many {
		many[i].Hold = millrace.HoldPaused
	}
	for part := range slices.Chunk(many, 2000) {
		e.ReplayID = newID() // a fan-out is made once
		e.ReplayID = millrace.DerivedID(millrace.TimeOf(e.ID), e.ReplayID)
		must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: e, ConfigVersion: 1, Targets: part}))
	}
	if done := w.retain(); done.Expired != len(many) {
		t.Errorf("%d expired, want %d", done.Expired, len(many))
	}
}

func TestRetentionDropsWholeDays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	settled, waits, young, edge := w.aged(40), w.aged(40), w.aged(20), w.aged(31)
	w.settle(attempted(settled.ID, 1, millrace.Delivered))
	w.settle(attempted(waits.ID, 1, millrace.Waiting))
	w.settle(attempted(edge.ID, 1, millrace.Delivered))
	for _, days := range []int{40, 31, 20} {
		w.partitionsOf(days)
	}
	today := w.appended()
	done := w.retain()
	day := millrace.TimeOf(settled.ID).Format("_20060102")
	want := []string{"deliveries" + day, "facts" + day, "matches" + day, "events" + day}
	if done.Expired != 1 || !slices.Equal(done.Dropped, want) {
		t.Errorf("the round did %+v, want one expired and %v dropped", done, want)
	}
	if n := w.rows(settled.EventID); n != 0 {
		t.Errorf("%d rows of the day are left", n)
	}
	_, err := w.Delivery(t.Context(), w.project, waits.ID)
	wantCode(t, err, millrace.CodeNotFound)
	for rule, id := range map[string]millrace.ID{"younger": young.EventID, "of the day after its expiry": edge.EventID, "of today": today.ID} {
		if _, err := w.Event(t.Context(), w.project, id); err != nil {
			t.Errorf("the event %s: %v", rule, err)
		}
	}
	if done := w.retain(); len(done.Dropped) != 0 || done.Deleted != 0 || done.Expired != 0 {
		t.Errorf("the next round did %+v", done)
	}
}

func TestADayStaysWhileSomethingOfItIsOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule string
		open func(w *world, d millrace.Delivery) (finish func())
	}{
		{"a delivery that the transport has", func(w *world, d millrace.Delivery) func() {
			must[millrace.DeliveryRecord](w.t)(w.Resend(w.t.Context(), w.project, d.ID))
			w.handBack(millrace.Due{DeliveryID: d.ID, Turn: 2, Why: millrace.DueTime})
			return func() { w.settle(attempted(d.ID, 3, millrace.Delivered)) }
		}},
		{"a replay's delivery that the transport has", func(w *world, d millrace.Delivery) func() {
			r := w.replayed(d)
			return func() { w.settle(attempted(r.ID, 1, millrace.Delivered)) }
		}},
		{"a replay's delivery that waits", func(w *world, d millrace.Delivery) func() {
			r := w.replayed(d)
			w.settle(attempted(r.ID, 1, millrace.Waiting))
			return func() { must[millrace.DeliveryRecord](w.t)(w.Cancel(w.t.Context(), w.project, r.ID, "enough")) }
		}},
		{"a replay's delivery that is held", func(w *world, d millrace.Delivery) func() {
			r := w.replayed(d)
			w.settle(hold(r.ID))
			return func() { must[millrace.DeliveryRecord](w.t)(w.Cancel(w.t.Context(), w.project, r.ID, "enough")) }
		}},
		{"a replay that is not fanned out yet", func(w *world, d millrace.Delivery) func() {
			e := must[millrace.StoredEvent](w.t)(w.ReplayEvent(w.t.Context(), w.project, d.EventID))
			w.exec(`UPDATE replays SET created_at = now() - interval '1 hour'`)
			return func() {
				must[[]millrace.Delivery](w.t)(w.FanOut(w.t.Context(), millrace.FanOut{Event: e, ConfigVersion: 1}))
			}
		}},
		{"a replay that began a moment ago", func(w *world, d millrace.Delivery) func() {
			e := must[millrace.StoredEvent](w.t)(w.ReplayEvent(w.t.Context(), w.project, d.EventID))
			must[[]millrace.Delivery](w.t)(w.FanOut(w.t.Context(), millrace.FanOut{Event: e, ConfigVersion: 1}))
			return func() { w.exec(`UPDATE replays SET created_at = now() - interval '1 hour'`) }
		}},
	} {
		for _, where := range []string{"in partitions of its own", "in the default partitions"} {
			t.Run(c.rule+", "+where, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				d, older := w.aged(40), w.aged(50)
				w.settle(attempted(d.ID, 1, millrace.Delivered))
				w.settle(attempted(older.ID, 1, millrace.Delivered))
				finish := c.open(w, d)
				if where == "in partitions of its own" {
					w.partitionsOf(40)
					w.partitionsOf(50)
				}
				before := w.rows(d.EventID)
				w.retain()
				if n := w.rows(d.EventID); n != before {
					t.Errorf("%d of %d rows are left of the day", n, before)
				}
				if n := w.rows(older.EventID); n != 0 {
					t.Errorf("%d rows are left of a day with nothing open", n)
				}
				finish()
				w.retain()
				if n := w.rows(d.EventID); n != 0 {
					t.Errorf("%d rows are left of the day when nothing is open", n)
				}
			})
		}
	}
}

func TestADayKeepsWhatWasOpenedAfterTheLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.aged(40)
	w.settle(attempted(d.ID, 1, millrace.Delivered))
	w.partitionsOf(40)
	looked := time.Now()
	must[millrace.DeliveryRecord](t)(w.Resend(t.Context(), w.project, d.ID))
	before := w.rows(d.EventID)
	for _, table := range []string{"deliveries", "facts", "matches", "events"} {
		dropped, err := w.DropUnder(t.Context(), table, millrace.TimeOf(d.ID), looked)
		if err != nil || dropped {
			t.Errorf("%s was dropped: %v, %v", table, dropped, err)
		}
	}
	if n := w.rows(d.EventID); n != before {
		t.Errorf("%d of %d rows are left", n, before)
	}
}

func TestBeyondTheLineTheDefaultPartitionIsEmptiedNotMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *store.Config) { c.Retention = 72 * time.Hour; c.IdempotencyWindow = time.Hour })
	old, kept := w.aged(10), w.aged(2)
	for _, d := range []millrace.Delivery{old, kept} {
		w.settle(attempted(d.ID, 1, millrace.Delivered))
	}
	before := w.partitions()
	noError(t, w.MakePartitions(t.Context(), time.Now(), 1))
	if n := w.partitions() - before; n != 4 {
		t.Errorf("%d partitions were made, want the 4 of the day that is kept", n)
	}
	if done := w.retain(); done.Deleted != 4 || len(done.Dropped) != 0 {
		t.Errorf("the round did %+v, want the 4 rows of a day deleted", done)
	}
	if n := w.rows(old.EventID); n != 0 {
		t.Errorf("%d rows of the old day are left", n)
	}
	if n := w.rows(kept.EventID); n != 4 {
		t.Errorf("%d rows of the kept day are left, want 4", n)
	}
}

func TestWithoutRetentionEverythingStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *store.Config) { c.Retention = 0 })
	d := w.aged(400)
	w.settle(attempted(d.ID, 1, millrace.Waiting))
	w.partitionsOf(400)
	if done := w.retain(); done.Expired != 0 || len(done.Dropped) != 0 || done.Deleted != 0 {
		t.Errorf("the round did %+v", done)
	}
	if r := w.record(d.ID); r.Status != millrace.Waiting {
		t.Errorf("it is %s", r.Status)
	}
}

func TestRetentionDeletesWhatIsKeptBesideTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, young := time.Now().AddDate(0, 0, -40), time.Now().AddDate(0, 0, -20)
	for _, at := range []time.Time{old, young} {
		for range 2 { // one open, one settled
			noError(t, w.AddDeadLetter(t.Context(), millrace.DeadLetter{ID: millrace.NewID(at), ProjectID: w.project, Stage: "persist", CreatedAt: at}))
		}
		w.exec(`UPDATE dead_letters SET settled = 'discarded', settled_at = $1 WHERE id = (SELECT id FROM dead_letters WHERE created_at = $1 LIMIT 1)`, at)
		w.exec(`INSERT INTO audit (id, project_id, at, actor, noun, noun_id, verb) VALUES ($1, $2, $3, 'test', 'project', $2, 'created')`, millrace.NewID(at), w.project, at)
		w.exec(`INSERT INTO replays (id, project_id, event_id, created_at) VALUES ($1, $2, $3, $4)`, millrace.NewID(at), w.project, newID(), at)
	}
	late := millrace.NewID(old) // of long ago, and settled only now
	noError(t, w.AddDeadLetter(t.Context(), millrace.DeadLetter{ID: late, ProjectID: w.project, Stage: "persist", CreatedAt: old}))
	noError(t, w.SettleDeadLetter(t.Context(), late, "discarded"))
	if done := w.retain(); done.Deleted != 3 {
		t.Errorf("the round did %+v, want an audit row, a settled dead letter and a replay deleted", done)
	}
	for table, want := range map[string]int{"dead_letters": 4, "audit": 1, "replays": 1} {
		if n := w.count(`SELECT count(*) FROM ` + table); n != want {
			t.Errorf("%s has %d rows, want %d", table, n, want)
		}
	}
}

// A reader that goes on for long is in the way of a drop: appends do not wait
// behind the two of them, and the next round drops.
func TestADropGivesWayToReadersAndAppends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.aged(40)
	w.settle(attempted(d.ID, 1, millrace.Delivered))
	w.partitionsOf(40)
	reader, err := w.db.BeginTx(t.Context(), nil)
	noError(t, err)
	if _, err := reader.ExecContext(t.Context(), `SELECT count(*) FROM deliveries`); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	appended := make(chan error)
	go func() {
		var err error
		for err == nil && ctx.Err() == nil {
			err = w.cycle(context.WithoutCancel(ctx))
		}
		appended <- err
	}()
	if _, err := w.Retain(t.Context(), time.Now()); !millrace.IsUnavailable(err) || !strings.Contains(err.Error(), "lock") {
		t.Errorf("a round that gets no lock says %v", err)
	}
	stop()
	if err := <-appended; err != nil {
		t.Errorf("an append meanwhile: %v", err)
	}
	noError(t, reader.Rollback())
	if done := w.retain(); len(done.Dropped) != 4 {
		t.Errorf("the next round did %+v", done)
	}
}

func TestRetentionAndAppendsGoOnTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var old []millrace.ID
	for days := 40; days < 44; days++ {
		d := w.aged(days)
		w.settle(attempted(d.ID, 1, millrace.Delivered))
		w.partitionsOf(days)
		old = append(old, d.EventID)
	}
	appended := make(chan struct{})
	go func() {
		defer close(appended)
		in(4, func(int) {
			for range 40 {
				if err := w.cycle(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}()
	eventually(t, "the end of four days", func() bool {
		if _, err := w.Retain(t.Context(), time.Now()); err != nil && !millrace.IsUnavailable(err) { // a round may lose its lock to the appends
			t.Error(err)
		}
		left := 0
		for _, id := range old {
			left += w.rows(id)
		}
		return left == 0
	})
	<-appended
	if n := w.count(`SELECT count(*) FROM deliveries WHERE status = 'delivered'`); n != 4*40 {
		t.Errorf("%d deliveries are there, want %d", n, 4*40)
	}
}
