package streams

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Backlog is what a group has before it in each lane of a topic.
type Backlog struct {
	Live, Bulk LaneBacklog
}

// LaneBacklog is what a group has before it in one lane.
type LaneBacklog struct {
	// Pending is how many entries are delivered and not acked.
	Pending int64
	// Lag is how many entries are not delivered yet; an estimate where Redis does not know (7) or cannot say (before).
	Lag int64
}

// Lag returns what the group has before it in all of the topic's streams. It is for people and gauges; what must be right uses Passed.
func Lag(ctx context.Context, client redis.UniversalClient, prefix, topic, group string) (Backlog, error) {
	all, err := topicStreams(ctx, client, prefix, topic)
	if err != nil {
		return Backlog{}, fmt.Errorf("lag of %s: %w", topic, err)
	}
	var lanes [laneCount]LaneBacklog
	for lane := range lanes {
		var streams []string
		for _, k := range all {
			streams = append(streams, k[lane])
		}
		if lanes[lane], err = LaneLag(ctx, client, streams, group); err != nil {
			return Backlog{}, err
		}
	}
	return Backlog{Live: lanes[Live], Bulk: lanes[Bulk]}, nil
}

// LaneLag returns what the group has before it in one lane, whose keys Keys makes.
func LaneLag(ctx context.Context, client redis.UniversalClient, keys []string, group string) (LaneBacklog, error) {
	var sum LaneBacklog
	for _, key := range keys {
		one, err := streamLag(ctx, client, key, group)
		if err != nil {
			return LaneBacklog{}, err
		}
		sum.Pending += one.Pending
		sum.Lag += one.Lag
	}
	return sum, nil
}

func streamLag(ctx context.Context, client redis.UniversalClient, key, group string) (LaneBacklog, error) {
	length, err := client.XLen(ctx, key).Result()
	if err != nil {
		return LaneBacklog{}, fmt.Errorf("length of %s: %w", key, err)
	}
	info, err := groupInfo(ctx, client, key, group)
	if err != nil {
		return LaneBacklog{}, fmt.Errorf("lag of %s: %w", key, err)
	}
	if info == nil {
		return LaneBacklog{Lag: length}, nil
	}
	// Beyond what is in the stream and not pending nothing can be undelivered. It is also the estimate: acked entries are trimmed soon.
	bound := max(0, length-info.Pending)
	if info.Lag > 0 || info.Lag == 0 && info.EntriesRead > 0 {
		bound = min(bound, info.Lag)
	}
	return LaneBacklog{Pending: info.Pending, Lag: bound}, nil
}

// MemoryUsed returns how full Redis is, as a fraction of its maxmemory (0 if that is not limited); of a cluster, of its fullest master that answers. Where the
// server does not tell, known is false.
func MemoryUsed(ctx context.Context, client redis.UniversalClient) (fraction float64, known bool, err error) {
	masters, err := memoryInfo(ctx, client)
	for _, info := range masters {
		used, err := strconv.ParseFloat(info["used_memory"], 64)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseFloat(info["maxmemory"], 64)
		if err != nil {
			continue
		}
		known = true
		if limit > 0 {
			fraction = max(fraction, used/limit)
		}
	}
	return fraction, known, err
}

// keepsAll is the maxmemory-policy that evicts nothing.
const keepsAll = "noeviction"

// EvictionPolicy returns Redis' maxmemory-policy; of a cluster, one that evicts if any master that answers has one. Where the server does not tell, known is false.
func EvictionPolicy(ctx context.Context, client redis.UniversalClient) (policy string, known bool, err error) {
	masters, err := memoryInfo(ctx, client)
	for _, info := range masters {
		if policy == "" || policy == keepsAll {
			policy = cmp.Or(info["maxmemory_policy"], policy)
		}
	}
	return policy, policy != "", err
}

// memoryInfo returns the fields of INFO memory, of each master that answers. A server that refuses to answer, but does answer, is no error.
func memoryInfo(ctx context.Context, client redis.UniversalClient) ([]map[string]string, error) {
	var mu sync.Mutex
	var masters []map[string]string
	err := EachMaster(ctx, client, func(ctx context.Context, one redis.Cmdable) error {
		fields, err := memoryFields(ctx, one)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, fields)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read Redis memory: %w", err)
	}
	return masters, nil
}

func memoryFields(ctx context.Context, client redis.Cmdable) (map[string]string, error) {
	text, err := client.Info(ctx, "memory").Result()
	if err != nil {
		if strings.HasPrefix(err.Error(), "ERR") || strings.HasPrefix(err.Error(), "NOPERM") || strings.Contains(err.Error(), "not supported") {
			return nil, nil
		}
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}
