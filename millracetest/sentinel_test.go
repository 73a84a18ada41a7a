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
			ids = append(ids, gw.untilAcked("queued")...)
			r.Want(Came(ids...))
			c.back(gw)
			gw.Sentinels.AwaitReplica(gw.Sentinels.First)
			r.Want(Events(slices.Concat(ids, gw.untilAcked("queued"))...))
		})
	}
}

func TestAMasterThatMustHaveItsReplicaIsDoneWithoutWhileItHasNone(t *testing.T) {
	t.Parallel()
	gw := New(t, OnSentinels())
	r := gw.Receiver()
	for name, value := range map[string]string{"min-replicas-to-write": "1", "min-replicas-max-lag": "1"} {
		if err := gw.Sentinels.First.Client.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	ids := gw.untilAcked("queued")
	gw.Sentinels.Second.Kill()
	ids = append(ids, gw.untilAcked("persisted")...)
	gw.Sentinels.Second.Start()
	r.Want(Events(append(ids, gw.untilAcked("queued")...)...))
}

// untilAcked hands events in, to be queued if possible, until one is answered
// as wanted.
func (g *Gateway) untilAcked(want string) []string {
	g.t.Helper()
	var ids []string
	eventually(g.t, "an event is "+want, func() error {
		sent, err := g.Try("/events", Event("order.paid"), "Prefer", "ack=queued")
		if err != nil {
			return err
		}
		ids = append(ids, sent.UID)
		if sent.Ack != want {
			return fmt.Errorf("it is answered as %s", sent.Ack)
		}
		return nil
	})
	return ids
}
