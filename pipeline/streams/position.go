package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrReset is returned by Passed for a mark above the end of its stream: Redis lost the stream since, and the wait must begin again with a new Position.
var ErrReset = errors.New("streams: the stream is not what it was")

// Mark is a place in each of a topic's streams.
type Mark struct {
	topic string
	ends  []streamEnd
}

// streamEnd is the last id of a stream.
type streamEnd struct {
	key  string
	last entryID
}

// String returns the mark's ids, with their streams.
func (m Mark) String() string {
	ends := make([]string, len(m.ends))
	for i, end := range m.ends {
		ends[i] = end.key + "/" + end.last.String()
	}
	return strings.Join(ends, ", ")
}

// Position returns the end of the topic's streams, whatever number of shards they are of: everything that was added is at or below it, what will be added above. A
// stream that does not exist ends at 0-0.
func Position(ctx context.Context, client redis.UniversalClient, prefix, topic string) (Mark, error) {
	mark := Mark{topic: topic}
	all, err := topicStreams(ctx, client, prefix, topic)
	if err != nil {
		return mark, fmt.Errorf("position of %s: %w", topic, err)
	}
	for _, k := range all {
		for _, key := range k {
			last, err := lastID(ctx, client, key)
			if err != nil {
				return Mark{}, fmt.Errorf("position of %s: %w", topic, err)
			}
			if last != (entryID{}) {
				mark.ends = append(mark.ends, streamEnd{key, last})
			}
		}
	}
	return mark, nil
}

// Passed reports whether the group has acked everything of the mark's topic up to it. ErrReset says that it is above the end of its stream.
func Passed(ctx context.Context, client redis.UniversalClient, group string, mark Mark) (bool, error) {
	passed := true
	for _, end := range mark.ends {
		ok, err := passedStream(ctx, client, group, end)
		if err != nil {
			return false, fmt.Errorf("has %s passed %s: %w", mark.topic, mark, err)
		}
		passed = passed && ok
	}
	return passed, nil
}

func passedStream(ctx context.Context, client redis.UniversalClient, group string, end streamEnd) (bool, error) {
	last, err := lastID(ctx, client, end.key)
	if err != nil {
		return false, err
	}
	if last.before(end.last) {
		return false, ErrReset
	}
	low, known, err := lowWater(ctx, client, end.key, group)
	if err != nil || !known {
		return false, err
	}
	if end.last.before(low) {
		return true, nil
	}
	// What is between may have been deleted; then no one will ever ack it.
	first, err := client.XRangeN(ctx, end.key, low.String(), end.last.String(), 1).Result()
	if err != nil {
		return false, err
	}
	return len(first) == 0, nil
}

// lastID returns the last id that the stream ever gave, 0-0 if there is no stream.
func lastID(ctx context.Context, client redis.UniversalClient, key string) (entryID, error) {
	info, err := client.XInfoStream(ctx, key).Result()
	if isNoKey(err) {
		return entryID{}, nil
	}
	if err != nil {
		return entryID{}, err
	}
	if info.LastGeneratedID == "" { // miniredis does not tell
		return lastEntry(ctx, client, key)
	}
	return parseID(info.LastGeneratedID)
}

// lastEntry returns the id of the last entry that is still there.
func lastEntry(ctx context.Context, client redis.UniversalClient, key string) (entryID, error) {
	entries, err := client.XRevRangeN(ctx, key, "+", "-", 1).Result()
	if err != nil || len(entries) == 0 {
		return entryID{}, err
	}
	return parseID(entries[0].ID)
}

// groupInfo returns nil if there is no such group or stream.
func groupInfo(ctx context.Context, client redis.UniversalClient, key, group string) (*redis.XInfoGroup, error) {
	groups, err := client.XInfoGroups(ctx, key).Result()
	if isNoKey(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range groups {
		if groups[i].Name == group {
			return &groups[i], nil
		}
	}
	return nil, nil
}

func isNoKey(err error) bool {
	return err != nil && strings.Contains(err.Error(), "no such key")
}
