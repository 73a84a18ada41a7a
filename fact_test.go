package millrace

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func attempted(decided Status, outcome Outcome, code int) Fact {
	return Fact{Kind: FactAttempted, Decided: decided, Counted: true, Attempt: &Attempt{Outcome: outcome, StatusCode: code, Latency: time.Second}}
}

func TestFold(t *testing.T) {
	again := attempted(Waiting, OutcomeServerError, 500)
	again.NextAttemptAt = noon
	success := attempted(Delivered, OutcomeSuccess, 200)
	held := Fact{Kind: FactHeld, Decided: Held, Reason: string(HoldPaused), Counted: true}
	released := Fact{Kind: FactReleased, Decided: Waiting, Counted: true}
	resent := Fact{Kind: FactResent, Decided: Waiting, Counted: true}
	uncounted := func(f Fact) Fact { f.Counted = false; return f }
	for _, c := range []struct {
		rule  string
		facts []Fact
		want  State
	}{
		{"a delivery without facts waits", nil, State{Status: Waiting}},
		{"a 2xx delivers", []Fact{success},
			State{Status: Delivered, Attempts: 1, LastOutcome: OutcomeSuccess, LastCode: 200, LastLatency: time.Second, Facts: 1}},
		{"a failure waits until its time", []Fact{again},
			State{Status: Waiting, Attempts: 1, NextAttemptAt: noon, LastOutcome: OutcomeServerError, LastCode: 500, LastLatency: time.Second, Facts: 1}},
		{"a success clears that time", []Fact{again, again, success},
			State{Status: Delivered, Attempts: 3, LastOutcome: OutcomeSuccess, LastCode: 200, LastLatency: time.Second, Facts: 3}},
		{"a policy that ended gives up", []Fact{again, attempted(GivenUp, OutcomeGone, 410)},
			State{Status: GivenUp, Attempts: 2, LastOutcome: OutcomeGone, LastCode: 410, LastLatency: time.Second, Facts: 2}},
		{"held says what for, and is no attempt", []Fact{held}, State{Status: Held, HeldFor: HoldPaused, Facts: 1}},
		{"released waits, for nothing", []Fact{held, released}, State{Status: Waiting, Facts: 2}},
		{"held keeps what was last heard", []Fact{again, held},
			State{Status: Held, HeldFor: HoldPaused, Attempts: 1, LastOutcome: OutcomeServerError, LastCode: 500, LastLatency: time.Second, Facts: 2}},
		{"resent begins to count anew", []Fact{again, attempted(GivenUp, OutcomeServerError, 500), resent},
			State{Status: Waiting, LastOutcome: OutcomeServerError, LastCode: 500, LastLatency: time.Second, Facts: 3}},
		{"what did not count changes nothing", []Fact{success, uncounted(again), uncounted(held)},
			State{Status: Delivered, Attempts: 1, LastOutcome: OutcomeSuccess, LastCode: 200, LastLatency: time.Second, Facts: 1}},
		{"a late 2xx delivers from any state", []Fact{{Kind: FactCancelled, Decided: Cancelled, Counted: true}, success},
			State{Status: Delivered, Attempts: 1, LastOutcome: OutcomeSuccess, LastCode: 200, LastLatency: time.Second, Facts: 2}},
		{"an expired delivery is expired", []Fact{held, {Kind: FactExpired, Decided: Expired, Counted: true}}, State{Status: Expired, Facts: 2}},
		{"a dead delivery is dead", []Fact{{Kind: FactDead, Decided: Dead, Counted: true}}, State{Status: Dead, Facts: 1}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := Fold(c.facts); got != c.want {
				t.Errorf("folded to %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestFoldKeepsItsPromises folds whatever could have happened.
func TestFoldKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		facts := rapid.SliceOf(rapid.Custom(drawFact)).Draw(t, "facts")
		for _, f := range facts {
			if err := f.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		all := Fold(facts)
		counted := slices.DeleteFunc(slices.Clone(facts), func(f Fact) bool { return !f.Counted })
		if got := Fold(counted); got != all || all.Facts != len(counted) {
			t.Fatalf("facts that do not count matter: %+v, and %+v without them", all, got)
		}
		cut := rapid.IntRange(0, len(counted)).Draw(t, "cut")
		step := Fold(counted[:cut])
		for _, f := range counted[cut:] {
			step = step.After(f)
		}
		if step != all {
			t.Fatalf("the projection kept step by step is %+v, the fold %+v", step, all)
		}
		checkState(t, all, counted)
	})
}

func checkState(t *rapid.T, s State, counted []Fact) {
	if (s.Status == Held) != (s.HeldFor != HoldNone) {
		t.Fatalf("%s for %q", s.Status, s.HeldFor)
	}
	if s.Status != Waiting && !s.NextAttemptAt.IsZero() {
		t.Fatalf("%s until %s", s.Status, s.NextAttemptAt)
	}
	tries := 0
	for _, f := range counted {
		switch f.Kind {
		case FactAttempted:
			tries++
		case FactResent:
			tries = 0
		}
	}
	if s.Attempts != tries {
		t.Fatalf("%d attempts, want those since the last resend: %d", s.Attempts, tries)
	}
	if n := len(counted); n > 0 && s.Status != counted[n-1].Decided {
		t.Fatalf("%s, and decided last was %s", s.Status, counted[n-1].Decided)
	}
}

func drawFact(t *rapid.T) Fact {
	f := Fact{
		Kind:    rapid.SampledFrom(FactKinds).Draw(t, "kind"),
		Counted: rapid.Bool().Draw(t, "counted"),
	}
	f.Decided = rapid.SampledFrom(decides[f.Kind]).Draw(t, "decided")
	switch f.Decided {
	case Held:
		f.Reason = string(rapid.SampledFrom([]HoldReason{HoldPaused, HoldDisabled, HoldInFlight, HoldBehind}).Draw(t, "reason"))
	case Waiting:
		f.NextAttemptAt = noon.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "seconds")) * time.Second)
	}
	if f.Kind == FactAttempted {
		f.Attempt = &Attempt{Outcome: rapid.SampledFrom(Outcomes).Draw(t, "outcome")}
	}
	return f
}

func TestFactValidate(t *testing.T) {
	for _, c := range []struct {
		rule  string
		fact  Fact
		valid bool
	}{
		{"an attempt that delivers", attempted(Delivered, OutcomeSuccess, 200), true},
		{"an attempt that cannot cancel", attempted(Cancelled, OutcomeSuccess, 200), false},
		{"attempted without an attempt", Fact{Kind: FactAttempted, Decided: Delivered}, false},
		{"held with an attempt", Fact{Kind: FactHeld, Decided: Held, Attempt: &Attempt{}}, false},
		{"released to deliver", Fact{Kind: FactReleased, Decided: Delivered}, false},
		{"resent waits", Fact{Kind: FactResent, Decided: Waiting}, true},
		{"queued is the transport's word, not a fact's", Fact{Kind: FactReleased, Decided: Queued}, false},
		{"no kind of fact", Fact{Kind: "forgotten", Decided: Waiting}, false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if err := c.fact.Validate(); (err == nil) != c.valid {
				t.Errorf("%+v: %v", c.fact, err)
			}
		})
	}
	t.Run("every kind may decide something", func(t *testing.T) {
		for _, k := range FactKinds {
			if len(decides[k]) == 0 {
				t.Errorf("%s decides nothing", k)
			}
		}
		if len(decides) != len(FactKinds) {
			t.Errorf("%d kinds decide, %d are listed", len(decides), len(FactKinds))
		}
	})
}

func TestFactLate(t *testing.T) {
	for _, c := range []struct {
		rule string
		fact Fact
		turn int
		want bool
	}{
		{"a 2xx of the turn of the last resend", attempted(Delivered, OutcomeSuccess, 200), 3, true},
		{"a 2xx after the last resend", attempted(Delivered, OutcomeSuccess, 200), 2, true},
		{"a 2xx from before the last resend", attempted(Delivered, OutcomeSuccess, 200), 4, false},
		{"a failure", attempted(Waiting, OutcomeServerError, 500), 3, false},
		{"what is no attempt", Fact{Kind: FactCancelled, Decided: Cancelled}, 3, false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			c.fact.Turn = 3
			if got := c.fact.Late(c.turn); got != c.want {
				t.Errorf("turn 3, resent in %d: %v, want %v", c.turn, got, c.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	for _, s := range Statuses {
		open := s == Queued || s == Waiting || s == Held
		if s.Final() == open {
			t.Errorf("%s is final: %v", s, s.Final())
		}
		if want := s; s == Queued && s.Folded() != Waiting || s != Queued && s.Folded() != want {
			t.Errorf("%s folds to %s", s, s.Folded())
		}
	}
}

func TestConvoyStatus(t *testing.T) {
	for _, c := range []struct {
		rule string
		d    DeliveryRecord
		want string
	}{
		{"queued is scheduled", DeliveryRecord{State: State{Status: Queued}}, "Scheduled"},
		{"claimed is processing", DeliveryRecord{State: State{Status: Queued}, ClaimedBy: "agent"}, "Processing"},
		{"waiting for the first try is scheduled", DeliveryRecord{State: State{Status: Waiting}}, "Scheduled"},
		{"waiting after a failure is retry", DeliveryRecord{State: State{Status: Waiting, Attempts: 1}}, "Retry"},
		{"held is scheduled", DeliveryRecord{State: State{Status: Held, Attempts: 2}}, "Scheduled"},
		{"delivered is success", DeliveryRecord{State: State{Status: Delivered}}, "Success"},
		{"given up is failure", DeliveryRecord{State: State{Status: GivenUp}}, "Failure"},
		{"dead is failure", DeliveryRecord{State: State{Status: Dead}}, "Failure"},
		{"cancelled is discarded", DeliveryRecord{State: State{Status: Cancelled}}, "Discarded"},
		{"expired is discarded", DeliveryRecord{State: State{Status: Expired}}, "Discarded"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := c.d.ConvoyStatus(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func BenchmarkFold(b *testing.B) {
	facts := slices.Repeat([]Fact{attempted(Waiting, OutcomeServerError, 500)}, 10)
	b.ReportAllocs()
	for b.Loop() {
		if s := Fold(facts); s.Attempts != 10 {
			b.Fatal(s)
		}
	}
}
