package millracetest

import (
	"fmt"
	"testing"
)

// pair is two of each role, which share one PostgreSQL and one Redis.
type pair struct {
	*Gateway
	servers, agents, egresses []*Role
}

func newPair(t *testing.T, setups ...Setup) pair {
	t.Helper()
	gw := New(t, append(setups, Apart(), TwoEgresses())...)
	return pair{gw, []*Role{gw.Server, gw.AnotherServer()}, []*Role{gw.Agent, gw.AnotherAgent()}, []*Role{gw.Egress, gw.Spare}}
}

func TestTwoOfEachShareTheWorkAndEachEventIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	const events = 1000
	p := newPair(t)
	r := p.Receiver()
	ids := p.Under(Load{Events: events, Ack: "queued", Servers: p.servers})
	r.Want(Events(ids...), Once(), bodies(events))
	p.deliveries("delivered", events)
	const accepted = `millrace_http_request_seconds_count{route="/api/v1/projects/{projectID}/events",status="201"}`
	for i, server := range p.servers {
		if n, _ := server.metric(accepted); n < events/4 {
			t.Errorf("server %d accepted %d events: it shares nothing", i, n)
		}
	}
	for i, agent := range p.agents {
		for _, stage := range []string{"persist", "fanout", "deliver"} {
			if n := agent.handled(stage); n < events/20 {
				t.Errorf("agent %d handled %d messages of %s: it shares nothing", i, n, stage)
			}
		}
	}
	tunnels := make([]int, len(p.egresses))
	for i, egress := range p.egresses {
		tunnels[i], _ = egress.metric(`millrace_egress_connects_total{reason="allowed"}`)
	}
	if tunnels[0] == 0 || tunnels[1] == 0 {
		t.Errorf("the egresses carried %v tunnels: they share nothing", tunnels)
	}
}

func TestOneOfTwoOfEachIsStoppedInTheMiddleAndNothingIsLostOrRepeated(t *testing.T) {
	t.Parallel()
	const events = 2000
	p := newPair(t)
	r := p.Receiver()
	ids := p.Under(Load{Events: events, Ack: "queued", Servers: p.servers, Meanwhile: []func(){
		p.agents[0].Stop, p.servers[1].Stop, p.egresses[0].Stop,
	}})
	r.Want(Events(ids...), Once(), bodies(events))
}

func TestOneOfTwoOfEachIsKilledInTheMiddleAndNothingIsLost(t *testing.T) {
	t.Parallel()
	const inFlight = 64
	p := newPair(t, quickTakeover(), Set(fmt.Sprintf("stages.deliver.concurrency=%d", inFlight)))
	r := p.Receiver(Tries(20))
	ids := p.Under(Load{Events: 2000, Ack: "queued", Servers: p.servers, Meanwhile: []func(){
		p.agents[0].Kill, p.servers[1].Kill, p.egresses[0].Kill,
	}})
	// What the killed agent had sent and not noted, and what the killed egress
	// carried, comes again.
	r.Want(Came(ids...), Repeats(2*inFlight))
}
