package store_test

import (
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestAFactIsKeptWithAllThatIsInIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	f := attempted(d.ID, 1, millrace.Waiting)
	f.NextAttemptAt = time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	if !w.settle(f) {
		t.Fatal("it did not count")
	}
	f.Counted, f.Number = true, 1
	facts := must[[]millrace.Fact](t)(w.Attempts(t.Context(), w.project, d.ID))
	if len(facts) != 1 || !reflect.DeepEqual(facts[0], f) {
		t.Errorf("read\n%+v\n%+v, settled\n%+v\n%+v", facts[0], facts[0].Attempt, f, f.Attempt)
	}
	one := must[millrace.Fact](t)(w.Attempt(t.Context(), w.project, d.ID, f.ID))
	if !reflect.DeepEqual(one, f) {
		t.Errorf("read %+v", one)
	}
	r := w.record(d.ID)
	want := millrace.State{
		Status: millrace.Waiting, Attempts: 1, Facts: 1, NextAttemptAt: f.NextAttemptAt,
		LastOutcome: millrace.OutcomeServerError, LastCode: 500, LastLatency: f.Attempt.Latency,
	}
	if r.State != want {
		t.Errorf("the state is\n%+v, want\n%+v", r.State, want)
	}
	_, err := w.Attempt(t.Context(), w.project, d.ID, newID())
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Facts(t.Context(), w.newProject(), d.ID)
	wantCode(t, err, millrace.CodeNotFound)
}

func TestWhatStrangersSaidIsAlwaysStorable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	f := attempted(d.ID, 1, millrace.GivenUp)
	f.Reason, f.Attempt.Error = "nul\x00", "bad \xff bytes"
	f.Attempt.ResponseHeader = map[string][]string{"X": {"nul\x00 and \xff"}}
	if !w.settle(f) {
		t.Error("it did not count")
	}
	w.folds(d.ID)
}

func TestAnImpossibleFactIsRefusedForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := attempted(w.delivery().ID, 1, millrace.Cancelled)
	if _, err := w.Settle(t.Context(), f); !millrace.IsPermanent(err) {
		t.Errorf("error %v, want a permanent one", err)
	}
}

func TestWhichFactsCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	resend := func(d millrace.ID) { must[millrace.DeliveryRecord](t)(w.Resend(ctx, w.project, d)) }
	cancel := func(d millrace.ID) { must[millrace.DeliveryRecord](t)(w.Cancel(ctx, w.project, d, "")) }
	lost := func(d millrace.ID) { w.handBack(millrace.Due{DeliveryID: d, Turn: 1, Why: millrace.DueLost}) }
	cases := []struct {
		rule    string
		before  func(d millrace.ID)
		turn    int
		decided millrace.Status
		counts  bool
		then    millrace.Status
	}{
		{"of the current turn", func(millrace.ID) {}, 1, millrace.Waiting, true, millrace.Waiting},
		{"not of a turn that is over", lost, 1, millrace.Waiting, false, millrace.Queued},
		{"not of a turn that is settled", func(d millrace.ID) { w.settle(attempted(d, 1, millrace.GivenUp)) }, 1, millrace.Waiting, false, millrace.GivenUp},
		{"not of a cancelled one", cancel, 1, millrace.Waiting, false, millrace.Cancelled},
		{"a late 2xx of a turn that is over", lost, 1, millrace.Delivered, true, millrace.Delivered},
		{"a late 2xx of a cancelled one", cancel, 1, millrace.Delivered, true, millrace.Delivered},
		{"a late 2xx of one given up", func(d millrace.ID) { w.settle(attempted(d, 1, millrace.GivenUp)) }, 1, millrace.Delivered, true, millrace.Delivered},
		{"no second 2xx", func(d millrace.ID) { w.settle(attempted(d, 1, millrace.Delivered)) }, 1, millrace.Delivered, false, millrace.Delivered},
		{"no 2xx from before a resend", resend, 1, millrace.Delivered, false, millrace.Waiting},
		{"a late 2xx from after the resend", func(d millrace.ID) {
			resend(d) // turn 2
			w.handBack(millrace.Due{DeliveryID: d, Turn: 2, Why: millrace.DueTime})
			w.handBack(millrace.Due{DeliveryID: d, Turn: 3, Why: millrace.DueLost})
		}, 3, millrace.Delivered, true, millrace.Delivered},
	}
	for _, c := range cases {
		t.Run(c.rule, func(t *testing.T) {
			d := w.delivery()
			c.before(d.ID)
			f := attempted(d.ID, c.turn, c.decided)
			for range 2 { // the second time it is repeated, and must change nothing
				if counted := w.settle(f); counted != c.counts {
					t.Errorf("counted: %v", counted)
				}
				if got := w.record(d.ID).Status; got != c.then {
					t.Errorf("then it is %s, want %s", got, c.then)
				}
				w.folds(d.ID)
			}
			if n := w.count(`SELECT count(*) FROM facts WHERE delivery_id = $1 AND id = $2 AND counted = $3`, d.ID, f.ID, c.counts); n != 1 {
				t.Errorf("the fact is there %d times", n)
			}
		})
	}
}

func TestAFactRepeatedAfterTheNextTurnStillSaysThatItCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	f := attempted(d.ID, 1, millrace.Waiting)
	w.settle(f)
	w.handBack(millrace.Due{DeliveryID: d.ID, Turn: 1, Why: millrace.DueTime})
	before := w.record(d.ID)
	if !w.settle(f) {
		t.Error("repeated, it is said not to have counted")
	}
	if after := w.record(d.ID); !reflect.DeepEqual(after, before) {
		t.Errorf("repeated, it changed\n%+v to\n%+v", before, after)
	}
}

func TestTheSameFactFromManyAtOnceIsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	f := attempted(d.ID, 1, millrace.Waiting)
	var counted atomic.Int32
	in(20, func(int) {
		if c, err := w.Settle(t.Context(), f); err != nil {
			t.Error(err)
		} else if c {
			counted.Add(1)
		}
	})
	if counted.Load() != 20 || w.count(`SELECT count(*) FROM facts`) != 1 {
		t.Errorf("%d were told that it counted", counted.Load())
	}
	w.folds(d.ID)
}

func TestManyFlushesOfTheSameDeliveriesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: w.appended(), ConfigVersion: 1, Targets: targets(40)}))
	in(200, func(i int) {
		d := made[(i*7)%40].ID
		if i%2 == 0 {
			d = made[39-(i*7)%40].ID
		}
		if _, err := w.Settle(t.Context(), attempted(d, 1, millrace.Waiting)); err != nil {
			t.Error(err)
		}
		if _, _, err := w.HandBack(t.Context(), millrace.Due{DeliveryID: d, Turn: 1, Why: millrace.DueTime}); err != nil {
			t.Error(err)
		}
	})
	for _, b := range w.Stats().Batches {
		if b.Failed > 0 {
			t.Errorf("%s: %d flushes failed", b.Kind, b.Failed)
		}
	}
	for _, d := range made {
		w.folds(d.ID)
	}
}
