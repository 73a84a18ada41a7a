package store_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

// life is one delivery to which anything may happen.
type life struct {
	*world
	rt       *rapid.T
	delivery millrace.ID
	facts    []millrace.Fact // all that were settled, to be repeated
}

func TestAnythingThatHappensFoldsToTheProjection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		l := &life{world: w, rt: rt}
		if rapid.Bool().Draw(rt, "held from the start") {
			l.delivery = w.heldDelivery(newID())
		} else {
			l.delivery = w.delivery().ID
		}
		rt.Repeat(map[string]func(*rapid.T){
			"attempt": l.attempt, "hold": l.hold, "repeat a fact": l.again, "hand back": l.back, "claim": l.claim,
			"resend": l.resend, "cancel": l.cancel, "dead letter": l.dead, "": l.check,
		})
	})
	report := must[store.Report](t)(w.Rebuild(t.Context(), true, nil))
	if report.Deliveries == 0 || len(report.Differences) > 0 {
		t.Errorf("of %d deliveries differ: %v", report.Deliveries, report.Differences)
	}
}

func (l *life) now() millrace.DeliveryRecord { return l.record(l.delivery) }

// turn is the current one, or one before it: nobody has seen one to come.
func (l *life) turn(rt *rapid.T) int {
	return max(l.now().Turn-rapid.IntRange(0, 2).Draw(rt, "turns ago"), 1)
}

func (l *life) settleOne(rt *rapid.T, f millrace.Fact) {
	before := l.now()
	counted := l.settle(f)
	current := before.Status == millrace.Queued && before.Turn == f.Turn
	if current && !counted {
		rt.Errorf("a fact of the current turn did not count: %+v", f)
	}
	if counted && !current && f.Decided != millrace.Delivered {
		rt.Errorf("a fact of turn %d counted in %s, turn %d", f.Turn, before.Status, before.Turn)
	}
	l.facts = append(l.facts, f)
}

func (l *life) attempt(rt *rapid.T) {
	decided := rapid.SampledFrom([]millrace.Status{millrace.Waiting, millrace.Waiting, millrace.Delivered, millrace.GivenUp, millrace.Held}).Draw(rt, "decided")
	f := attempted(l.delivery, l.turn(rt), decided)
	f.Attempt.StatusCode = rapid.SampledFrom([]int{0, 200, 503}).Draw(rt, "code")
	if decided == millrace.Held {
		f.Reason = string(millrace.HoldDisabled)
	}
	if decided == millrace.Waiting && rapid.Bool().Draw(rt, "at a time") {
		f.NextAttemptAt = time.Now().Add(time.Duration(rapid.IntRange(-10, 10).Draw(rt, "in")) * time.Minute)
	}
	l.settleOne(rt, f)
}

func (l *life) hold(rt *rapid.T) {
	l.settleOne(rt, millrace.Fact{
		ID: newID(), DeliveryID: l.delivery, Turn: l.turn(rt), Kind: millrace.FactHeld, Decided: millrace.Held, At: time.Now(), Reason: string(millrace.HoldBehind),
	})
}

func (l *life) again(rt *rapid.T) {
	if len(l.facts) == 0 {
		return
	}
	before := l.now()
	l.settle(rapid.SampledFrom(l.facts).Draw(rt, "fact"))
	if after := l.now(); after.State != before.State || after.Turn != before.Turn {
		rt.Errorf("a repeated fact changed %+v to %+v", before, after)
	}
}

func (l *life) back(rt *rapid.T) {
	why := rapid.SampledFrom([]millrace.DueReason{millrace.DueTime, millrace.DueLost, millrace.DueReleased}).Draw(rt, "why")
	turn := l.turn(rt)
	if d, ok := l.handBack(millrace.Due{DeliveryID: l.delivery, Turn: turn, Why: why}); ok && (d.Turn != turn+1 || l.now().Turn != turn+1) {
		rt.Errorf("handed back in turn %d from %d", d.Turn, turn)
	}
}

func (l *life) claim(rt *rapid.T) {
	entry := fmt.Sprint("entry ", rapid.IntRange(0, 1).Draw(rt, "entry"))
	if _, err := l.Claim(l.t.Context(), l.delivery, l.turn(rt), entry); err != nil {
		rt.Fatal(err)
	}
}

func (l *life) resend(rt *rapid.T) {
	before := l.now().Turn
	if after := must[millrace.DeliveryRecord](l.t)(l.Resend(l.t.Context(), l.project, l.delivery)); after.Turn != before+1 {
		rt.Errorf("resent, turn %d became %d", before, after.Turn)
	}
}

func (l *life) cancel(rt *rapid.T) {
	final := l.now().Status.Final()
	if _, err := l.Cancel(l.t.Context(), l.project, l.delivery, "enough"); (err != nil) != final {
		rt.Errorf("cancelled with %v", err)
	}
}

func (l *life) dead(*rapid.T) {
	noError(l.t, l.AddDeadLetter(l.t.Context(), millrace.DeadLetter{ID: newID(), ProjectID: l.project, DeliveryID: l.delivery, Stage: "deliver"}))
}

// check holds after each step.
func (l *life) check(rt *rapid.T) {
	facts := must[[]millrace.Fact](l.t)(l.Facts(l.t.Context(), l.project, l.delivery))
	state := l.now().State
	state.Status = state.Status.Folded()
	if folded := millrace.Fold(facts); folded != state {
		rt.Fatalf("the projection is\n%+v, and its facts fold to\n%+v", state, folded)
	}
	number := 0
	for _, f := range facts {
		if err := f.Validate(); err != nil {
			rt.Error(err)
		}
		if f.Counted {
			if number++; f.Number != number {
				rt.Errorf("the counted fact number %d says %d", number, f.Number)
			}
		}
	}
	if state.Status == millrace.Held {
		endpoint := l.now().EndpointID
		if n := l.count(`SELECT count(*) FROM held_endpoints WHERE endpoint_id = $1`, endpoint); n != 1 {
			rt.Errorf("it is held, and its endpoint is looked at by nobody")
		}
	}
}
