package store_test

import (
	"sync/atomic"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

func TestOneEntryOfManyGetsATurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	var got atomic.Int32
	in(20, func(i int) {
		mine, err := w.Claim(t.Context(), d.ID, 1, name("entry %d", i))
		if err != nil {
			t.Error(err)
		}
		if mine {
			got.Add(1)
		}
	})
	if got.Load() != 1 {
		t.Errorf("%d entries have the turn", got.Load())
	}
}

func TestAClaimIsForTheTurnAndTheEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cases := []struct {
		rule  string
		setUp func(d millrace.ID)
		turn  int
		want  bool
	}{
		{"the current turn is given", func(millrace.ID) {}, 1, true},
		{"the entry that has it gets it again", func(d millrace.ID) { must[bool](t)(w.Claim(t.Context(), d, 1, "entry")) }, 1, true},
		{"one that another has is not given", func(d millrace.ID) { must[bool](t)(w.Claim(t.Context(), d, 1, "other")) }, 1, false},
		{"a turn to come is not given", func(millrace.ID) {}, 2, false},
		{"a turn that is over is not given", func(d millrace.ID) { w.handBack(millrace.Due{DeliveryID: d, Turn: 1, Why: millrace.DueLost}) }, 1, false},
		{"the next turn is free again", func(d millrace.ID) {
			must[bool](t)(w.Claim(t.Context(), d, 1, "other"))
			w.exec(`UPDATE deliveries SET updated_at = now() - interval '1 hour' WHERE id = $1`, d)
			w.handBack(millrace.Due{DeliveryID: d, Turn: 1, Why: millrace.DueLost})
		}, 2, true},
		{"a settled turn is not given", func(d millrace.ID) { w.settle(attempted(d, 1, millrace.Waiting)) }, 1, false},
		{"a cancelled one is not given", func(d millrace.ID) {
			must[millrace.DeliveryRecord](t)(w.Cancel(t.Context(), w.project, d, "enough"))
		}, 1, false},
	}
	for _, c := range cases {
		t.Run(c.rule, func(t *testing.T) {
			d := w.delivery()
			c.setUp(d.ID)
			if got := must[bool](t)(w.Claim(t.Context(), d.ID, c.turn, "entry")); got != c.want {
				t.Errorf("claimed: %v", got)
			}
		})
	}
	if got := must[bool](t)(w.Claim(t.Context(), newID(), 1, "entry")); got {
		t.Error("an unknown delivery was given")
	}
}

func TestManyClaimsAtOnceAllGetTheirs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.appended()
	made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: e, ConfigVersion: 1, Targets: targets(200)}))
	in(200, func(i int) {
		if mine, err := w.Claim(t.Context(), made[i].ID, 1, name("entry %d", i)); err != nil || !mine {
			t.Errorf("claim %d: %v, %v", i, mine, err)
		}
	})
	for i, d := range made[:10] {
		if r := w.record(d.ID); r.ClaimedBy != name("entry %d", i) || r.ConvoyStatus() != "Processing" {
			t.Errorf("delivery %d is %s, claimed by %q", i, r.ConvoyStatus(), r.ClaimedBy)
		}
	}
}

func TestClaimsAloneDoNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery()
	if n := w.Claiming().Stats().OpenConnections; n != 0 {
		t.Fatalf("what makes a delivery has used %d of the claims' connections", n)
	}
	must[bool](t)(w.Claim(t.Context(), d.ID, 1, "entry"))
	if n := w.Claiming().Stats().OpenConnections; n != 1 {
		t.Errorf("a claim has used %d of its own connections", n)
	}
	for kind, pool := range map[string]*sqlx.DB{"claims": w.Claiming(), "appends": w.Appending(), "reads": w.Reading()} {
		var async bool // of our own will, whatever the server's configuration says
		noError(t, pool.GetContext(t.Context(), &async, `SELECT source = 'client' AND setting = 'off' FROM pg_settings WHERE name = 'synchronous_commit'`))
		if async != (kind == "claims") {
			t.Errorf("%s are committed asynchronously: %v", kind, async)
		}
	}
}
