package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// MaxShards is over how many streams a lane may be spread.
const MaxShards = 64

// keys are the two streams of a shard. They lie in one slot of a Redis Cluster, so that one command may have both.
type keys [laneCount]string

// Key returns the Redis key of a topic's lane that is one stream.
func Key(prefix, topic string, lane Lane) string { return laneKeyOf(prefix+topic, lane) }

// shardKey returns the Redis key of a shard of a topic's lane. The tag holds the number, so that the shards are spread over the slots of a cluster, and not the lane.
// It does not hold how many shards there are: a shard that stays when their number changes is not moved.
func shardKey(prefix, topic string, shard int, lane Lane) string {
	return laneKeyOf(prefix+"{"+topic+"."+strconv.Itoa(shard)+"}", lane)
}

// bulkSuffix is what the key of a bulk lane has more than that of its live lane. No live lane of a shard ends with it.
const bulkSuffix = ".bulk"

func laneKeyOf(base string, lane Lane) string {
	if lane == Bulk {
		return base + bulkSuffix
	}
	return base
}

// Keys returns the Redis keys of a lane of a topic that is spread over so many streams.
func Keys(prefix, topic string, shards int, lane Lane) []string {
	var of []string
	for _, k := range spread(prefix, topic, shards) {
		of = append(of, k[lane])
	}
	return of
}

// spread returns the streams of a topic that is spread over so many.
func spread(prefix, topic string, shards int) []keys {
	if shards <= 1 {
		return []keys{{Key(prefix, topic, Live), Key(prefix, topic, Bulk)}}
	}
	all := make([]keys, shards)
	for i := range all {
		all[i] = keys{shardKey(prefix, topic, i, Live), shardKey(prefix, topic, i, Bulk)}
	}
	return all
}

// everyShard returns the streams that a topic has under any number of shards.
func everyShard(prefix, topic string) []keys {
	return append(spread(prefix, topic, 1), spread(prefix, topic, MaxShards)...)
}

// shardOf returns the shard of a message: FNV-1a, 32 bits (isthe.com/chongo/tech/comp/fnv), of its UUID.
func shardOf(uuid string, shards int) int {
	hash := uint32(2166136261)
	for i := range len(uuid) {
		hash = (hash ^ uint32(uuid[i])) * 16777619
	}
	return int(hash % uint32(shards))
}

func validShards(n int) error {
	if n < 1 || n > MaxShards {
		return fmt.Errorf("shards %d: must be between 1 and %d", n, MaxShards)
	}
	return nil
}

// errOneSlot is returned where both lanes would have to be read at once and do not lie together.
var errOneSlot = errors.New("a Redis Cluster needs topics of two shards or more, or a prefix with a hash tag such as {millrace}:, which keeps everything on one node")

// readable returns an error if client is of a cluster that cannot read the two streams of a shard in one command.
func readable(client redis.UniversalClient, k keys) error {
	if _, cluster := client.(*redis.ClusterClient); cluster && hashTag(k[Live]) != hashTag(k[Bulk]) {
		return errOneSlot
	}
	return nil
}

// hashTag returns the part of a key that decides about its slot (redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
func hashTag(key string) string {
	_, rest, found := strings.Cut(key, "{")
	if tag, _, closed := strings.Cut(rest, "}"); found && closed && tag != "" {
		return tag
	}
	return key
}

// existing returns those of the streams of which at least one is there.
func existing(ctx context.Context, client redis.UniversalClient, candidates []keys) ([]keys, error) {
	pipe := client.Pipeline()
	types := make([][laneCount]*redis.StatusCmd, len(candidates))
	for i, k := range candidates {
		for lane, key := range k {
			types[i][lane] = pipe.Type(ctx, key)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var found []keys
	for i, k := range candidates {
		if slices.ContainsFunc(types[i][:], func(c *redis.StatusCmd) bool { return c.Val() == "stream" }) {
			found = append(found, k)
		}
	}
	return found, nil
}

// topicStreams returns the streams of one lane of a topic that are there, whatever number of shards they are of.
func topicStreams(ctx context.Context, client redis.UniversalClient, prefix, topic string) ([]keys, error) {
	return existing(ctx, client, everyShard(prefix, topic))
}

// shard is the two streams of one shard being read: each has its own reader, keeper of leases, and sender of acks, so that a node of a cluster that is away does not
// hold the others up.
type shard struct {
	*subscription

	keys     keys
	leftover bool        // of another number of shards
	active   atomic.Bool // a leftover that is being read
	acks     chan *entry

	held      [laneCount]map[string]*entry // guarded by the window
	trimmable atomic.Bool                  // something was acked since the streams were trimmed
	claimFrom [laneCount]string            // where the keeper goes on to look for entries of dead consumers
	brought   atomic.Int64                 // when something was last read, as time since the subscription began
}

func newShard(s *subscription, keys keys) *shard {
	shard := &shard{subscription: s, keys: keys, acks: make(chan *entry, 2*s.cfg.Concurrency)}
	for lane := range Lane(laneCount) {
		shard.held[lane] = map[string]*entry{}
		shard.claimFrom[lane] = claimStart
	}
	return shard
}

// run reads the shard until the subscription ends, or until a leftover is gone.
func (s *shard) run() {
	if !s.connect() {
		return
	}
	keeping, stop := context.WithCancel(s.keeping)
	kept := make(chan struct{})
	s.keepers.Go(func() {
		defer close(kept)
		defer stop()
		s.keep(keeping)
	})
	s.read()
	if s.drainCtx.Err() == nil { // a leftover is gone; else what is in flight is still renewed
		stop()
		<-kept
	}
}

// connect makes the groups, for as long as it takes. It reports false if the subscription ended first.
func (s *shard) connect() bool {
	trouble := s.newTrouble("connect")
	for s.drainCtx.Err() == nil {
		err := createGroups(s.drainCtx, s.control, s.keys, s.cfg.Group)
		if err == nil {
			trouble.over()
			return true
		}
		trouble.wait(s.drainCtx, err)
	}
	return false
}
