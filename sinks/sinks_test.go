package sinks

import (
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestEachEndpointIsSentToByWhatItIs(t *testing.T) {
	server, all := receiver(t, nil)
	s := allSinks(t, newProxy(t))
	for _, kind := range []millrace.SinkKind{"", millrace.SinkWebhook} {
		r := deliveryTo(server.URL)
		r.Endpoint.Kind = kind
		a, err := s.Send(t.Context(), r)
		if err != nil || a.Method != "POST" {
			t.Errorf("kind %q is sent by %s, %v", kind, a.Method, err)
		}
		want(t, a, millrace.OutcomeSuccess)
	}
	if n := len(all()); n != 2 {
		t.Errorf("the receiver got %d requests", n)
	}
	for _, kind := range append(millrace.SinkKinds[1:], "smtp") {
		r := deliveryTo("")
		r.Endpoint.Kind, r.Endpoint.Sink = kind, millrace.Sink{} // of a newer version, or half of one
		a, err := s.Send(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		want(t, a, millrace.OutcomeUnsendable)
	}
}

func TestWhatCannotBeSignedIsNotPublished(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		s := allSinks(t, newProxy(t))
		d := deliveryOn(r.endpoint())
		d.Endpoint.Secrets = nil
		want(t, sent(t, s, d), millrace.OutcomeUnsendable)
	})
}
