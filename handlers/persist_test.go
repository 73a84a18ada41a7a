package handlers

import (
	"errors"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

func TestPersist(t *testing.T) {
	for name, c := range map[string]struct {
		log       eventLog
		passes    int
		err       error
		permanent bool
	}{
		"an event is appended and goes on":                {passes: 1},
		"a duplicate is kept and does not go on":          {log: eventLog{first: id()}},
		"what the store refuses is not tried again":       {log: eventLog{err: refused}, err: refused, permanent: true},
		"an error is tried again":                         {log: eventLog{err: errOdd}, err: errOdd},
		"a store that is away is waited for, not counted": {log: eventLog{err: errAway}, err: errAway},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Persist{Log: &c.log}
			out, err := h.Handle(t.Context(), millrace.Event{ID: id(), Type: "a"})
			if !errors.Is(err, c.err) || millrace.IsPermanent(err) != c.permanent || len(out) != c.passes {
				t.Fatalf("passed on %d, %v", len(out), err)
			}
			if millrace.IsUnavailable(err) != millrace.IsUnavailable(c.err) {
				t.Errorf("unavailable: %v", millrace.IsUnavailable(err))
			}
			if c.err == nil && !c.log.kept[0] {
				t.Error("nobody waits for the answer, and yet a duplicate would not be kept")
			}
		})
	}
}
