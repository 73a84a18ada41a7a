package millracetest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace/pipeline/streams"
	"github.com/millrace-dev/millrace/pipeline/streams/redistest"
)

func TestAGatewayWorksOnOneNodeOfACluster(t *testing.T) {
	t.Parallel()
	gw := New(t, OnCluster(), Set("streams.prefix={millrace}:"))
	r := gw.Receiver(Replies(500, 200))
	ids := append(gw.Under(Load{Events: 50, Ack: "queued"}), gw.Under(Load{Events: 50, Ack: "persisted"})...)
	r.Want(Events(ids...), Attempts(101))
}

// spread is over enough streams for each of a cluster's masters to have some of
// every topic.
func spread() Setup {
	return Set("stages.persist.shards=6", "stages.fanout.shards=6", "stages.deliver.shards=6")
}

func TestAGatewaySpreadsItsTopicsOverAllMastersOfACluster(t *testing.T) {
	t.Parallel()
	gw := New(t, OnCluster(), spread())
	r := gw.Receiver(Replies(500, 200))
	ids := append(gw.Under(Load{Events: 200, Ack: "queued"}), gw.Under(Load{Events: 200, Ack: "persisted"})...)
	r.Want(Events(ids...), Attempts(401))
	for topic := range gw.Config.Stages.Shards() {
		added := map[*redistest.Server]int64{}
		for _, key := range gw.keys(topic, streams.Live) {
			owner := gw.Cluster.Owner(key)
			stream, err := owner.Client.XInfoStream(context.Background(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			added[owner] += stream.EntriesAdded
		}
		for i, node := range gw.Cluster.Nodes {
			if added[node] < 20 {
				t.Errorf("of %s, node %d was given %d entries", topic, i, added[node])
			}
		}
	}
	for i, node := range gw.Cluster.Nodes {
		refused, err := node.Client.Info(context.Background(), "errorstats").Result()
		if err != nil || strings.Contains(refused, "CROSSSLOT") || strings.Contains(refused, "MOVED") {
			t.Errorf("node %d was asked for what is not its own: %s, %v", i, refused, err)
		}
	}
}

func TestAMasterOfAClusterIsAwayAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule       string
		away, back func(*redistest.Server)
	}{
		{"when it is killed", (*redistest.Server).Kill, (*redistest.Server).Start},
		{"when it is silent", (*redistest.Server).Freeze, (*redistest.Server).Thaw},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			gw := New(t, OnCluster(), spread(), Set("stages.fanout.concurrency=16"))
			r := gw.Receiver()
			node := gw.Cluster.Nodes[1]
			ids := gw.Under(Load{Events: 500, Ack: "persisted", Meanwhile: []func(){func() { c.away(node) }}})
			// By now it is known which node is away, and nothing needs it.
			during := gw.Under(Load{Events: 200, Ack: "queued"})
			r.Want(Came(during...))
			c.back(node)
			after := gw.Under(Load{Events: 50, Ack: "queued"})
			r.Want(Events(slices.Concat(ids, during, after)...))
		})
	}
}
