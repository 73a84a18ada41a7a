package redistest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit),
		// go-redis looks for a lost server once a second, and notices only then that its pool was closed.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

func TestAServerKeepsWhatItHasWhenItIsKilled(t *testing.T) {
	t.Parallel()
	s := Start(t)
	ctx := context.Background()
	if err := s.Client.Set(ctx, "key", "kept", 0).Err(); err != nil {
		t.Fatal(err)
	}
	before := s.Addr()
	s.Kill()
	s.Start()
	if got, err := s.Client.Get(ctx, "key").Result(); got != "kept" || err != nil {
		t.Errorf("it has %q, %v", got, err)
	}
	if s.Addr() != before {
		t.Errorf("it was at %s and is at %s", before, s.Addr())
	}
}

func TestAClustersNodesHaveAThirdOfTheKeysEachAndComeBack(t *testing.T) {
	t.Parallel()
	c := NewCluster(t)
	ctx := context.Background()
	for i := range 300 {
		if err := c.Client.Set(ctx, fmt.Sprint(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range c.Nodes {
		if n, err := node.Client.DBSize(ctx).Result(); n < 50 || err != nil {
			t.Errorf("a node has %d of 300 keys, %v", n, err)
		}
	}
	if n, err := c.Owner("7").Client.Exists(ctx, "7").Result(); n != 1 || err != nil {
		t.Errorf("the owner of a key has it %d times, %v", n, err)
	}
	c.Nodes[1].Kill()
	c.Nodes[1].Start()
	c.AwaitOK()
	if got, err := c.Nodes[1].Client.DBSize(ctx).Result(); got < 50 || err != nil {
		t.Errorf("the node came back with %d keys, %v", got, err)
	}
}

func TestSentinelsPromoteTheReplicaAndTakeTheOldMasterBack(t *testing.T) {
	t.Parallel()
	s := NewSentinels(t)
	s.AwaitMaster(s.First)
	s.First.Kill()
	s.AwaitMaster(s.Second)
	s.First.Start()
	s.AwaitReplica(s.First)
	if err := s.First.Client.Set(context.Background(), "key", 1, 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "READONLY") {
		t.Errorf("the old master says %v to a write", err)
	}
}
