package streams

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/pipeline/streams/redistest"
)

// clusterShards is enough for every node of a cluster of three to have some.
const clusterShards = 8

func TestATopicIsSpreadOverTheNodesOfACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.NewCluster(t)
	f := newShardedFixture(t, cluster.Client, clusterShards)
	f.publish(Live, "dead-live", 100)
	f.publish(Bulk, "dead-bulk", 100)
	f.readAll("dead")
	f.publish(Live, "live", 100)
	f.publish(Bulk, "bulk", 100)
	for _, node := range cluster.Nodes {
		var n int64
		for _, key := range append(Keys(f.prefix, "topic", clusterShards, Live), Keys(f.prefix, "topic", clusterShards, Bulk)...) {
			if cluster.Owner(key) == node {
				n += node.Client.XLen(t.Context(), key).Val()
			}
		}
		if n < 40 {
			t.Errorf("the node at %s has %d of 400 messages", node.Addr(), n)
		}
	}
	backlog, err := Lag(t.Context(), f.client, f.prefix, "topic", "group")
	if want := (LaneBacklog{Pending: 100, Lag: 100}); err != nil || backlog.Live != want || backlog.Bulk != want {
		t.Errorf("the backlog is %+v, %v", backlog, err)
	}
	line, err := Position(t.Context(), f.client, f.prefix, "topic")
	must(t, err)
	messages := f.subscribe(f.subscriber(f.config()))
	held := f.next(messages)
	var rest []string
	for _, name := range []string{"dead-live", "dead-bulk", "live", "bulk"} {
		rest = append(rest, numbered(name, 100)...)
	}
	f.brings(messages, slices.DeleteFunc(rest, func(uuid string) bool { return uuid == held.UUID })...)
	if passed, err := Passed(t.Context(), f.client, "group", line); passed || err != nil {
		t.Errorf("passed with one pending: %v, %v", passed, err)
	}
	held.Ack()
	eventually(t, "the line is passed", func() bool {
		passed, err := Passed(t.Context(), f.client, "group", line)
		must(t, err)
		return passed
	})
	f.leavesNothing()
	eventually(t, "the dead consumer is deleted", func() bool { return !f.has("dead") })
}

func TestARestartWithAnotherNumberOfShardsOnAClusterLosesNothing(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, redistest.NewCluster(t).Client, 2)
	old.publish(Live, "pending", 40)
	old.readAll("dead")
	old.publish(Bulk, "unread", 40)
	now := old.sharded(clusterShards)
	now.publish(Live, "new", 40)
	first := now.reconfigured()
	now.brings(now.subscribe(first), slices.Concat(numbered("pending", 40), numbered("unread", 40), numbered("new", 40))...)
	now.leavesNothing()
	must(t, first.Close())
	less := now.sharded(3)
	now.publish(Live, "again", 40)
	less.brings(less.subscribe(less.reconfigured()), numbered("again", 40)...)
}

// TestANodeThatIsAwayHoldsNoOtherUp takes one node of three away, and wants what is on the others to go on, and what was on it once it is back.
func TestANodeThatIsAwayHoldsNoOtherUp(t *testing.T) {
	t.Run("killed", func(t *testing.T) { awayHoldsNoOtherUp(t, (*redistest.Server).Kill, (*redistest.Server).Start) })
	t.Run("silent", func(t *testing.T) { awayHoldsNoOtherUp(t, (*redistest.Server).Freeze, (*redistest.Server).Thaw) })
}

func awayHoldsNoOtherUp(t *testing.T, leave, comeBack func(*redistest.Server)) {
	t.Parallel()
	cluster := redistest.NewCluster(t)
	f := newShardedFixture(t, cluster.Client, clusterShards)
	cfg := f.config()
	cfg.Concurrency = 64
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "before", 40)
	var held []*message.Message
	for range 40 {
		held = append(held, f.next(messages))
	}
	away := cluster.Nodes[0]
	lost := func(uuid string) bool {
		return cluster.Owner(shardKey(f.prefix, "topic", shardOf(uuid, clusterShards), Live)) == away
	}
	var there, gone []string
	for _, uuid := range numbered("during", 80) {
		if lost(uuid) {
			gone = append(gone, uuid)
		} else {
			there = append(there, uuid)
		}
	}
	keys := map[string]bool{}
	for _, msg := range held {
		keys[msg.UUID] = lost(msg.UUID)
	}
	leave(away)
	for _, uuid := range there {
		eventually(t, "a message of another node is taken", func() bool { return f.publisher.Publish("topic", message.NewMessage(uuid, nil)) == nil })
	}
	f.brings(messages, there...)
	wait(t.Context(), 2*cfg.Lease)
	for _, msg := range held {
		if !keys[msg.UUID] && !Held(msg) {
			t.Errorf("the lease of %s was not renewed while another node was away", Entry(msg))
		}
		msg.Ack()
	}
	comeBack(away)
	for _, uuid := range gone {
		eventually(t, "a message of the node is taken", func() bool { return f.publisher.Publish("topic", message.NewMessage(uuid, nil)) == nil })
	}
	missing := map[string]bool{}
	for _, uuid := range gone {
		missing[uuid] = true
	}
	for len(missing) > 0 { // others of the node may come again: their acks and leases were lost
		msg := f.next(messages)
		delete(missing, msg.UUID)
		msg.Ack()
	}
}

// TestTheFullestMasterOfAClusterCounts has masters of different settings.
func TestTheFullestMasterOfAClusterCounts(t *testing.T) {
	t.Parallel()
	cluster := redistest.NewCluster(t)
	fullest := cluster.Nodes[1]
	for i, limit := range []string{"1gb", "40mb", "0"} {
		must(t, cluster.Nodes[i].Client.ConfigSet(t.Context(), "maxmemory", limit).Err())
	}
	want, known, err := MemoryUsed(t.Context(), fullest.Client)
	if err != nil || !known || want < 0.02 {
		t.Fatalf("its memory is used to %g, %v, %v", want, known, err)
	}
	got, known, err := MemoryUsed(t.Context(), cluster.Client)
	if err != nil || !known || got < want/2 || got > want*2 {
		t.Errorf("the cluster's memory is used to %g, %v, %v; want %g", got, known, err, want)
	}
	if policy, known, err := EvictionPolicy(t.Context(), cluster.Client); err != nil || !known || policy != keepsAll {
		t.Errorf("the policy is %q, %v, %v", policy, known, err)
	}
	must(t, cluster.Nodes[2].Client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	if policy, known, err := EvictionPolicy(t.Context(), cluster.Client); err != nil || !known || policy != "allkeys-lru" {
		t.Errorf("the policy is %q, %v, %v; want that of the one master that evicts", policy, known, err)
	}
	fullest.Kill()
	if left, known, err := MemoryUsed(t.Context(), cluster.Client); err != nil || !known || left >= want/2 {
		t.Errorf("without the fullest, which does not answer, memory is used to %g, %v, %v", left, known, err)
	}
}

// TestPublishToAClusterDoesNotRepeatAfterALostReply is what TestPublishLostReply is for one server: a cluster's client has retries of its own.
func TestPublishToAClusterDoesNotRepeatAfterALostReply(t *testing.T) {
	t.Parallel()
	proxy := dropReplies(t, shared.addr, "payload")
	client := redis.NewClusterClient(&redis.ClusterOptions{ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
		return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: proxy}}}}, nil
	}})
	defer client.Close()
	f := newShardedFixture(t, shared.client(t), clusterShards)
	publisher, err := NewPublisher(client, PublisherConfig{Prefix: f.prefix, Shards: map[string]int{"topic": clusterShards}})
	must(t, err)
	defer publisher.Close()
	sent := int64(0)
	for _, n := range []int{1, 3} {
		var batch []*message.Message
		for i := range n {
			batch = append(batch, message.NewMessage(strconv.Itoa(i), nil))
		}
		err := publisher.Publish("topic", batch...)
		if partial := (*PublishError)(nil); err == nil || errors.As(err, &partial) {
			t.Errorf("%d messages: %v although every reply was lost", n, err)
		}
		sent += int64(n)
		sum := func() (all int64) {
			for _, n := range f.lengths(Live) {
				all += n
			}
			return all
		}
		eventually(t, "the entries are there", func() bool { return sum() >= sent })
		if got := sum(); got != sent {
			t.Errorf("%d messages became %d entries", sent, got)
		}
	}
}

// TestASubscriptionOfAClusterEndsSoon has reads wait on all nodes.
func TestASubscriptionOfAClusterEndsSoon(t *testing.T) {
	t.Parallel()
	f := newShardedFixture(t, redistest.NewCluster(t).Client, clusterShards)
	cfg := f.config()
	cfg.Block = 2 * time.Second
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	f.publish(Live, "m", 10)
	f.brings(messages, numbered("m", 10)...)
	f.leavesNothing()
	began := time.Now()
	must(t, subscriber.Close())
	f.ended(messages)
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("it took %s: the reads were not unblocked", took)
	}
}
