package streams

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Backlog is what a group has before it in each lane of a topic.
type Backlog struct {
	Live, Bulk LaneBacklog
}

// LaneBacklog is what a group has before it in one stream.
type LaneBacklog struct {
	// Pending is how many entries are delivered and not acked.
	Pending int64
	// Lag is how many entries are not delivered yet; an estimate where Redis does not know (7) or cannot say (before).
	Lag int64
}

// Lag returns what the group has before it. It is for people and gauges; what must be right uses Passed.
func Lag(ctx context.Context, client redis.UniversalClient, prefix, topic, group string) (Backlog, error) {
	var lanes [laneCount]LaneBacklog
	for lane := range Lane(laneCount) {
		one, err := LaneLag(ctx, client, Key(prefix, topic, lane), group)
		if err != nil {
			return Backlog{}, err
		}
		lanes[lane] = one
	}
	return Backlog{Live: lanes[Live], Bulk: lanes[Bulk]}, nil
}

// LaneLag returns what the group has before it in one lane, whose key Key makes.
func LaneLag(ctx context.Context, client redis.UniversalClient, key, group string) (LaneBacklog, error) {
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

// MemoryUsed returns how full Redis is, as a fraction of its maxmemory (0 if that is not limited). Where the server does not tell, known is false.
func MemoryUsed(ctx context.Context, client redis.UniversalClient) (fraction float64, known bool, err error) {
	info, known, err := memoryInfo(ctx, client)
	if err != nil || !known {
		return 0, false, err
	}
	used, err := strconv.ParseFloat(info["used_memory"], 64)
	if err != nil {
		return 0, false, nil
	}
	limit, err := strconv.ParseFloat(info["maxmemory"], 64)
	if err != nil {
		return 0, false, nil
	}
	if limit == 0 {
		return 0, true, nil
	}
	return used / limit, true, nil
}

// EvictionPolicy returns Redis' maxmemory-policy. Where the server does not tell, known is false.
func EvictionPolicy(ctx context.Context, client redis.UniversalClient) (policy string, known bool, err error) {
	info, known, err := memoryInfo(ctx, client)
	if err != nil || !known {
		return "", false, err
	}
	policy = info["maxmemory_policy"]
	return policy, policy != "", nil
}

// memoryInfo returns the fields of INFO memory. A server that refuses to answer, but does answer, is no error.
func memoryInfo(ctx context.Context, client redis.UniversalClient) (map[string]string, bool, error) {
	text, err := client.Info(ctx, "memory").Result()
	if err != nil {
		if strings.HasPrefix(err.Error(), "ERR") || strings.HasPrefix(err.Error(), "NOPERM") || strings.Contains(err.Error(), "not supported") {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("read Redis memory: %w", err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, true, nil
}
