package handlers

import (
	"context"
	"errors"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

func TestDeliverSettlesOnceMoreWhileTheStoreIsAwayAndDoesNotSendAgain(t *testing.T) {
	d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeGone)
	d.log.settle = []error{errAway, errAway}
	d.disable.errs = []error{errAway}
	must(t, d.handle(t.Context()))
	d.wantSent(t, 1)
	d.wantFact(t, millrace.FactAttempted, millrace.GivenUp, "")
	if d.log.tries != 3 || d.disable.disabled != 2 {
		t.Errorf("settled after %d tries and disabled after %d, want 3 and 2", d.log.tries, d.disable.disabled)
	}
}

func TestDeliverGivesUpSettling(t *testing.T) {
	t.Run("when the process must end", func(t *testing.T) {
		d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
		d.log.settle = []error{errAway, errAway, errAway}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.handle(ctx); !millrace.IsUnavailable(err) || d.log.tries != 1 {
			t.Errorf("error %v after %d tries", err, d.log.tries)
		}
	})
	t.Run("for good when the store refuses the fact, and does not send for it again", func(t *testing.T) {
		d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
		d.log.settle = []error{refused}
		if err := d.handle(t.Context()); !errors.Is(err, refused) || !millrace.IsPermanent(err) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("for now when the store fails otherwise", func(t *testing.T) {
		d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
		d.log.settle = []error{errOdd}
		if err := d.handle(t.Context()); !errors.Is(err, errOdd) || len(d.observed) != 0 {
			t.Errorf("error %v, observed %+v", err, d.observed)
		}
		d.wantSent(t, 1)
	})
}

func TestDeliverTakesAnEndpointDeletedMeanwhileForDisabled(t *testing.T) {
	d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeGone)
	d.disable.errs = []error{millrace.NotFound("endpoint")}
	must(t, d.handle(t.Context()))
	d.wantFact(t, millrace.FactAttempted, millrace.GivenUp, "")
}
