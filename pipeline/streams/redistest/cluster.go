package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// masters is how many nodes a cluster has: fewer cannot outvote one that is
// away.
const masters = 3

// slots is how many hash slots every cluster has.
const slots = 16384

// Cluster is a Redis Cluster of three masters without replicas. One that is
// away takes its third of the keys with it, and no more.
type Cluster struct {
	Nodes []*Server
	// Client is for the test's own use.
	Client *redis.ClusterClient

	t testing.TB
}

// NewCluster starts a cluster, each node with these further arguments, and
// waits until all nodes serve.
func NewCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for range masters {
		bus := freePort(t)
		c.Nodes = append(c.Nodes, Start(t, append([]string{
			"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000",
			"--cluster-require-full-coverage", "no",
		}, args...)...))
	}
	if err := c.form(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.AwaitOK()
	c.Client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.addrs()})
	t.Cleanup(func() { _ = c.Client.Close() })
	return c
}

// form shares the slots out and has the nodes meet.
func (c *Cluster) form(ctx context.Context) error {
	for i, node := range c.Nodes {
		if err := node.Client.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return fmt.Errorf("number a node: %w", err)
		}
		if err := node.Client.ClusterAddSlotsRange(ctx, i*slots/masters, (i+1)*slots/masters-1).Err(); err != nil {
			return fmt.Errorf("give a node its slots: %w", err)
		}
	}
	for _, node := range c.Nodes[1:] {
		bus, err := node.Client.ConfigGet(ctx, "cluster-port").Result()
		if err != nil {
			return fmt.Errorf("find the bus: %w", err)
		}
		if err := c.Nodes[0].Client.Do(ctx, "cluster", "meet", "127.0.0.1", node.port, bus["cluster-port"]).Err(); err != nil {
			return fmt.Errorf("have the nodes meet: %w", err)
		}
	}
	return nil
}

// AwaitOK waits until every node knows all of them and serves.
func (c *Cluster) AwaitOK() {
	c.t.Helper()
	err := until(func() error {
		for _, node := range c.Nodes {
			err := tells(node.Client.ClusterInfo(context.Background()),
				"cluster_state:ok", fmt.Sprintf("cluster_slots_ok:%d\r", slots), fmt.Sprintf("cluster_known_nodes:%d\r", masters))
			if err != nil {
				return fmt.Errorf("the node at %s: %w", node.Addr(), err)
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// URL is what a gateway is told to find the cluster by.
func (c *Cluster) URL() string { return "redis://" + strings.Join(c.addrs(), ",") }

func (c *Cluster) addrs() []string {
	var addrs []string
	for _, node := range c.Nodes {
		addrs = append(addrs, node.Addr())
	}
	return addrs
}

// Owner is the node that has a key.
func (c *Cluster) Owner(key string) *Server {
	c.t.Helper()
	slot, err := c.Client.ClusterKeySlot(context.Background(), key).Result()
	if err != nil {
		c.t.Fatal(err)
	}
	for i, node := range c.Nodes {
		if int(slot) < (i+1)*slots/masters {
			return node
		}
	}
	c.t.Fatalf("key %q has slot %d", key, slot)
	return nil
}
