package millracetest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAnEndpointThatTakesNothingHoldsAndThenGetsEverything(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shut, open func(gw *Gateway, r *Receiver)
		reason     string
	}{
		"paused": {toggle, toggle, "paused"},
		"disabled": {func(gw *Gateway, r *Receiver) {
			gw.Must(http.MethodPut, "/endpoints/"+r.EndpointID, map[string]any{"is_disabled": true}, nil)
		}, activate, "disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			gw := New(t)
			r, other := gw.Receiver(), gw.Receiver()
			c.shut(gw, r)
			var ids []string
			for range 30 {
				ids = append(ids, gw.Send(Event("order.paid")).UID)
			}
			for _, d := range gw.deliveries("held", 30) {
				if d.HeldFor != c.reason && d.HeldFor != "behind" {
					t.Errorf("a delivery is held for %q", d.HeldFor)
				}
			}
			if got := r.Got(); len(got) != 0 {
				t.Errorf("%d came to an endpoint that is %s", len(got), name)
			}
			other.Want(Events(ids...), Once())
			c.open(gw, r)
			r.Want(Events(ids...), Once())
		})
	}
}

func TestWhatWaitsForItsRetryIsHeldWhenItsTimeComesAndItsEndpointIsPaused(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Replies(500, 200), Endpoint("strategy", map[string]any{"type": "list", "schedule": []int{0, 10}}))
	sent := gw.Send(Event("order.paid")).UID
	gw.deliveries("waiting", 1)
	toggle(gw, r)
	if held := gw.deliveries("held", 1)[0]; held.HeldFor != "paused" || held.Metadata.NumTrials != 1 {
		t.Errorf("it is held for %q after %d tries", held.HeldFor, held.Metadata.NumTrials)
	}
	if came := r.Got(); len(came) != 1 {
		t.Errorf("%d requests came to an endpoint that was paused after the first", len(came))
	}
	activate(gw, r)
	r.Want(Events(sent), Attempts(2), SameID())
	if d := gw.deliveries("delivered", 1)[0]; d.Metadata.NumTrials != 2 {
		t.Errorf("delivered, %d tries were charged", d.Metadata.NumTrials)
	}
}

func TestTheLeaderAloneSaysHowManyDeliveriesAreHeld(t *testing.T) {
	t.Parallel()
	gw := New(t, Apart())
	says := func(want string) {
		t.Helper()
		eventually(t, "the leader says that so many are held: "+want, func() error {
			var said []string
			for _, role := range gw.roles {
				if n, found := role.metric("millrace_held_deliveries"); found {
					said = append(said, fmt.Sprint(n))
				}
			}
			if got := strings.Join(said, " and "); got != want {
				return fmt.Errorf("said is %q", got)
			}
			return nil
		})
	}
	says("0")
	other := gw.AnotherAgent()
	r := gw.Receiver()
	toggle(gw, r)
	for range 7 {
		gw.Send(Event("order.paid"))
	}
	gw.deliveries("held", 7)
	says("7")
	if _, found := other.metric("millrace_past_due{feed=\"due\"}"); found {
		t.Error("an agent that does not lead says what is past due")
	}
	toggle(gw, r)
	r.Want(Attempts(7), Once())
	says("0")
}

func TestAnEndpointThatIsPausedAgainAndAgainGetsEverything(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	var flaps []func()
	for range 40 {
		flaps = append(flaps, func() { toggle(gw, r) })
	}
	ids := gw.Under(Load{Events: 400, Ack: "queued", Meanwhile: flaps})
	r.Want(Events(ids...), Once())
}

func toggle(gw *Gateway, r *Receiver) {
	gw.Must(http.MethodPut, "/endpoints/"+r.EndpointID+"/pause", nil, nil)
}

func activate(gw *Gateway, r *Receiver) {
	gw.Must(http.MethodPost, "/endpoints/"+r.EndpointID+"/activate", nil, nil)
}

func TestGoneDisablesTheEndpointAndActivatingItSendsWhatWasHeld(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Replies(http.StatusGone))
	first := gw.Send(Event("order.paid")).UID
	r.Want(Attempts(1))
	eventually(t, "the endpoint is inactive", func() error {
		var e struct{ Status string }
		if err := gw.Call(http.MethodGet, "/endpoints/"+r.EndpointID, nil, &e); err != nil || e.Status != "inactive" {
			return fmt.Errorf("it is %q, %w", e.Status, err)
		}
		return nil
	})
	second := gw.Send(Event("order.paid")).UID
	gw.deliveries("held", 1)
	r.Answer(http.StatusOK)
	activate(gw, r)
	r.Want(Events(first, second), Attempts(2))
	gw.deliveries("given_up", 1)
}

func TestDeletingAnEndpointCancelsWhatIsOpen(t *testing.T) {
	t.Parallel()
	gw := New(t)
	held := gw.Receiver()
	waiting := gw.Receiver(Replies(500), Endpoint("strategy", map[string]any{"type": "list", "schedule": []int{0, 3600}}))
	toggle(gw, held)
	for range 5 {
		gw.Send(Event("order.paid"))
	}
	gw.deliveries("held", 5)
	gw.deliveries("waiting", 5)
	gw.Must(http.MethodDelete, "/endpoints/"+held.EndpointID, nil, nil)
	gw.deliveries("cancelled", 5)
	gw.Must(http.MethodDelete, "/endpoints/"+waiting.EndpointID, nil, nil)
	gw.deliveries("cancelled", 10)
	after := gw.Send(Event("order.paid")).UID
	gw.unmatched(after)
	waiting.Want(Attempts(5))
}

// unmatched waits until an event shows that nobody wants it.
func (g *Gateway) unmatched(event string) {
	g.t.Helper()
	eventually(g.t, "it shows that nothing matched", func() error {
		var e struct{ Matched *int }
		if err := g.Call(http.MethodGet, "/events/"+event, nil, &e); err != nil {
			return err
		}
		if e.Matched == nil || *e.Matched != 0 {
			return fmt.Errorf("matched is %v", e.Matched)
		}
		return nil
	})
}

func TestASlowEndpointHoldsItsOwnAndOthersDoNotFeelIt(t *testing.T) {
	t.Parallel()
	gw := New(t, Set("stages.deliver.max_in_flight_per_endpoint=2"))
	slow := gw.Receiver(Slow(2*time.Second), Types("slow"))
	quick := gw.Receiver(Types("quick"))
	var slows, quicks []string
	for range 12 {
		slows = append(slows, gw.Send(Event("slow")).UID)
		quicks = append(quicks, gw.Send(Event("quick")).UID)
	}
	quick.Want(Events(quicks...), Once())
	if came := len(slow.Got()); came == len(slows) {
		t.Error("all deliveries of the slow endpoint were done before those of the quick one")
	}
	eventually(t, "some of the slow endpoint's are held", func() error {
		held, err := gw.list(`SELECT delivery_id FROM facts WHERE kind = 'held' AND reason IN ('in_flight', 'behind')`)
		if err == nil && len(held) == 0 {
			err = errNotYet
		}
		return err
	})
	slow.Want(Events(slows...), Once())
}

func TestWithoutEgressNoAttemptIsChargedAndDeliveriesGoOutWhenItIsBack(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	gw.Egress.Stop()
	var ids []string
	for range 20 {
		ids = append(ids, gw.Send(Event("order.paid")).UID)
	}
	gw.claimed(len(ids))
	for _, d := range gw.deliveries("queued", len(ids)) {
		if d.Metadata.NumTrials != 0 {
			t.Errorf("%d tries were charged without an egress", d.Metadata.NumTrials)
		}
	}
	gw.Egress.Start()
	r.Want(Events(ids...), Once())
	for _, d := range gw.deliveries("delivered", len(ids)) {
		if d.Metadata.NumTrials != 1 {
			t.Errorf("%d tries were charged", d.Metadata.NumTrials)
		}
	}
}

// claimed waits until the turns of so many deliveries have begun.
func (g *Gateway) claimed(want int) {
	g.t.Helper()
	eventually(g.t, "the turns are claimed", func() error {
		claimed, err := g.list(`SELECT id FROM deliveries WHERE claimed_by IS NOT NULL`)
		if err == nil && len(claimed) < want {
			err = errNotYet
		}
		return err
	})
}
