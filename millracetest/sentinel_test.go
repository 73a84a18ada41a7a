package millracetest

import (
	"fmt"
	"slices"
	"testing"
)

func TestAGatewayFindsItsRedisByTheSentinels(t *testing.T) {
	t.Parallel()
	gw := New(t, OnSentinels())
	r := gw.Receiver(Replies(500, 200))
	ids := gw.Under(Load{Events: 100, Ack: "queued"})
	r.Want(Events(ids...), Attempts(101))
}

func TestAFailoverLosesNothingThatWasPersisted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule      string
		end, back func(*Gateway)
	}{
		{
			"when the master is killed",
			func(g *Gateway) { g.Sentinels.First.Kill() }, func(g *Gateway) { g.Sentinels.First.Start() },
		},
		{
			"when the master is silent, and wakes as another one's replica",
			func(g *Gateway) { g.Sentinels.First.Freeze() }, func(g *Gateway) { g.Sentinels.First.Thaw() },
		},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			gw := New(t, OnSentinels())
			gw.Redis.forgot = true // what was queued, the replica may not have
			r := gw.Receiver()
			ids := gw.Under(Load{Events: 1000, Ack: "persisted", Meanwhile: []func(){
				func() { c.end(gw) },
				func() { gw.Sentinels.AwaitMaster(gw.Sentinels.Second) },
			}})
			ids = append(ids, gw.untilQueued()...)
			r.Want(Came(ids...))
			c.back(gw)
			gw.Sentinels.AwaitReplica(gw.Sentinels.First)
			r.Want(Events(slices.Concat(ids, gw.untilQueued())...))
		})
	}
}

// untilQueued hands events in until Redis takes one, and answers with the ids of
// all of them.
func (g *Gateway) untilQueued() []string {
	g.t.Helper()
	var ids []string
	eventually(g.t, "an event is left to the queue", func() error {
		sent, err := g.Try("/events", Event("order.paid"), "Prefer", "ack=queued")
		if err != nil {
			return err
		}
		ids = append(ids, sent.UID)
		if sent.Ack != "queued" {
			return fmt.Errorf("it is answered as %s", sent.Ack)
		}
		return nil
	})
	return ids
}
