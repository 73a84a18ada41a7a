package millrace

import (
	"fmt"
	"time"
)

// Fact is one line of the append-only log: what happened to a delivery, and
// what was decided about it. Decisions stand in the fact, jitter included, so
// that folding needs no policy and no clock.
type Fact struct {
	// ID is minted once, before the first write: a fact written twice is one.
	ID         ID
	DeliveryID ID
	Turn       int
	Kind       FactKind
	At         time.Time
	// Decided is the state that follows.
	Decided Status
	// NextAttemptAt is when, where Decided is Waiting; zero: at once.
	NextAttemptAt time.Time
	// Reason is why it is held, in the words of HoldReason; for other kinds a
	// sentence for people.
	Reason string
	// Attempt is set on attempted facts alone.
	Attempt *Attempt
	// Counted: the fact's turn was the current one when it was written, or it
	// is a 2xx no older than the last resend.
	Counted bool
	// Number is the fact's place among the counted ones of its delivery, from
	// 1; zero where it did not count.
	Number int
}

// FactKind says what happened, from a closed list.
type FactKind string

// The closed list of facts.
const (
	FactAttempted FactKind = "attempted"
	FactHeld      FactKind = "held"
	FactReleased  FactKind = "released"
	FactResent    FactKind = "resent"
	FactCancelled FactKind = "cancelled"
	FactGivenUp   FactKind = "given_up" // without an attempt: nothing is left to try it on
	FactExpired   FactKind = "expired"
	FactDead      FactKind = "dead"
)

// FactKinds lists every kind once.
var FactKinds = []FactKind{FactAttempted, FactHeld, FactReleased, FactResent, FactCancelled, FactGivenUp, FactExpired, FactDead}

// State is what the facts of a delivery amount to.
type State struct {
	Status        Status
	Attempts      int
	NextAttemptAt time.Time
	HeldFor       HoldReason
	LastOutcome   Outcome
	LastCode      int
	LastLatency   time.Duration
	// Facts is how many counted.
	Facts int
}

// Fold computes the state of a delivery from its facts, in their order. Those
// that did not count change nothing. It is the one definition of what a
// delivery's state is; the columns of `deliveries` cache it.
//
//	                 attempted: again at T
//	                ┌────────────────┐
//	                ▼                │
//	fan-out ──▶ waiting ─────────────┴─▶ delivered   attempted, a 2xx
//	             │  ▲ ╲                  (a late 2xx lands here from any state)
//	        held │  │  ╲────────────────▶ given_up    policy ended
//	             ▼  │ released
//	            held                      cancelled · expired · dead
//	                                      (from waiting and held)
//	any state ──resent──▶ waiting
//
// In the projection, a waiting delivery that the transport has in its hands
// reads `queued`; see Status.Folded.
func Fold(facts []Fact) State {
	s := State{Status: Waiting}
	for _, f := range facts {
		if f.Counted {
			s = s.After(f)
		}
	}
	return s
}

// After is one step of Fold: the state that a counted fact leads to.
func (s State) After(f Fact) State {
	s.Facts++
	s.Status = f.Decided
	s.NextAttemptAt = time.Time{}
	s.HeldFor = HoldNone
	switch f.Kind {
	case FactAttempted:
		s.Attempts++
		s.LastOutcome = f.Attempt.Outcome
		s.LastCode = f.Attempt.StatusCode
		s.LastLatency = f.Attempt.Latency
	case FactResent:
		s.Attempts = 0
	}
	switch f.Decided {
	case Waiting:
		s.NextAttemptAt = f.NextAttemptAt
	case Held:
		s.HeldFor = HoldReason(f.Reason)
	}
	return s
}

// decides lists the states that each kind of fact may lead to.
var decides = map[FactKind][]Status{
	FactAttempted: {Delivered, Waiting, Held, GivenUp},
	FactHeld:      {Held},
	FactReleased:  {Waiting},
	FactResent:    {Waiting},
	FactCancelled: {Cancelled},
	FactGivenUp:   {GivenUp},
	FactExpired:   {Expired},
	FactDead:      {Dead},
}

// Validate refuses a fact that could not have happened.
func (f Fact) Validate() error {
	allowed, known := decides[f.Kind]
	if !known {
		return fmt.Errorf("fact %s: %q is no kind of fact", f.ID, f.Kind)
	}
	if (f.Kind == FactAttempted) != (f.Attempt != nil) {
		return fmt.Errorf("fact %s: %s and its attempt do not agree", f.ID, f.Kind)
	}
	for _, s := range allowed {
		if s == f.Decided {
			return nil
		}
	}
	return fmt.Errorf("fact %s: %s cannot decide %q", f.ID, f.Kind, f.Decided)
}

// Late tells whether a fact of an older turn still counts: the receiver's yes
// is true whenever it arrives, unless the delivery was resent since.
func (f Fact) Late(resentTurn int) bool {
	return f.Kind == FactAttempted && f.Decided == Delivered && f.Turn >= resentTurn
}
