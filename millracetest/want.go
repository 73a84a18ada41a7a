package millracetest

import "fmt"

// Expectation judges what a receiver got; nil: it holds.
type Expectation func([]Request) error

// Want waits until everything expected holds, and answers what came. What a
// receiver is last expected to get must hold to the end, when the gateway is
// at rest.
func (r *Receiver) Want(all ...Expectation) []Request {
	r.t.Helper()
	r.wanted = all
	var got []Request
	eventually(r.t, "the receiver got what was expected", func() error {
		got = r.Got()
		return r.holds(got)
	})
	return got
}

func (r *Receiver) holds(got []Request) error {
	for _, e := range r.wanted {
		if err := e(got); err != nil {
			return err
		}
	}
	return nil
}

// Attempts wants exactly so many requests.
func Attempts(n int) Expectation {
	return func(got []Request) error {
		if len(got) != n {
			return fmt.Errorf("%d requests came, want %d", len(got), n)
		}
		return nil
	}
}

// SameID wants all requests to be of one event.
func SameID() Expectation {
	return func(got []Request) error {
		for _, q := range got {
			if q.EventID != got[0].EventID || q.EventID == "" {
				return fmt.Errorf("webhook-id %q and %q came", got[0].EventID, q.EventID)
			}
		}
		return nil
	}
}

// Came wants each of these events; others may have come, too.
func Came(ids ...string) Expectation {
	return func(got []Request) error {
		came, missing := times(got), 0
		for _, id := range ids {
			if came[id] == 0 {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d events did not come", missing, len(ids))
		}
		return nil
	}
}

// Events wants each of these events, and no other; repeats are fine.
func Events(ids ...string) Expectation {
	return func(got []Request) error {
		if err := Came(ids...)(got); err != nil {
			return err
		}
		if came := times(got); len(came) != len(ids) {
			return fmt.Errorf("%d different events came, want %d", len(came), len(ids))
		}
		return nil
	}
}

// Once wants no event twice.
func Once() Expectation { return Repeats(0) }

// Repeats wants at most so many requests beyond the first of each event, and
// those with the same bytes.
func Repeats(most int) Expectation {
	return func(got []Request) error {
		bodies, repeats := map[string]string{}, 0
		for _, q := range got {
			before, again := bodies[q.EventID]
			if again {
				repeats++
			}
			if again && before != q.Body {
				return fmt.Errorf("event %s came again with other bytes: %q, and then %q", q.EventID, before, q.Body)
			}
			bodies[q.EventID] = q.Body
		}
		if repeats > most {
			return fmt.Errorf("%d requests repeat an event that had come, at most %d may", repeats, most)
		}
		return nil
	}
}

func times(got []Request) map[string]int {
	came := map[string]int{}
	for _, q := range got {
		came[q.EventID]++
	}
	return came
}
