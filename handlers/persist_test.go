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
			h := &Persist{Log: &c.log, InlineMax: 8}
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

func TestPersistPassesALargePayloadOnByReference(t *testing.T) {
	for name, c := range map[string]struct {
		size        int
		byReference bool
	}{"what is at the bound travels inside": {8, false}, "what is over it stays in the log": {9, true}} {
		t.Run(name, func(t *testing.T) {
			h := &Persist{Log: &eventLog{}, InlineMax: 8}
			out, err := h.Handle(t.Context(), millrace.Event{ID: id(), Type: "a", Payload: make([]byte, c.size)})
			must(t, err)
			if out[0].ByReference != c.byReference || (len(out[0].Payload) == 0) != c.byReference {
				t.Errorf("by reference: %v, with %d bytes", out[0].ByReference, len(out[0].Payload))
			}
		})
	}
}
