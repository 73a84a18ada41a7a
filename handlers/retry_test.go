package handlers

import (
	"context"
	"errors"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

type door struct {
	mine bool
	err  error
}

func (d door) HandBack(_ context.Context, due millrace.Due) (millrace.Delivery, bool, error) {
	return millrace.Delivery{ID: due.DeliveryID, Turn: due.Turn + 1}, d.mine, d.err
}

func TestRetry(t *testing.T) {
	for name, c := range map[string]struct {
		door   door
		passes bool
	}{
		"hands back what is its own":         {door{mine: true}, true},
		"leaves what somebody handed back":   {door{}, false},
		"hands back nothing where it failed": {door{mine: true, err: errAway}, false},
	} {
		t.Run(name, func(t *testing.T) {
			due := millrace.Due{DeliveryID: id(), Turn: 4}
			out, err := (&Retry{Log: c.door}).Handle(t.Context(), due)
			if !errors.Is(err, c.door.err) || (len(out) == 1) != c.passes {
				t.Fatalf("passed on %+v, %v", out, err)
			}
			if c.passes && (out[0].ID != due.DeliveryID || out[0].Turn != 5) {
				t.Errorf("passed on %+v", out[0])
			}
		})
	}
}
