package streams

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// trimAll removes from the streams what every group has acked. It does nothing if nothing was acked since.
func (s *subscription) trimAll(ctx context.Context) error {
	if !s.trimmable.Swap(false) {
		return nil
	}
	var failed error
	for _, key := range s.keys {
		failed = errors.Join(failed, trim(ctx, s.control, key))
	}
	if failed != nil {
		s.trimmable.Store(true)
	}
	return failed
}

// trim removes the entries below the low-water mark of the stream's groups. A stream without a group keeps everything: no one has read it.
func trim(ctx context.Context, client redis.UniversalClient, key string) error {
	groups, err := client.XInfoGroups(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("trim %s: %w", key, err)
	}
	var mark entryID
	for i, group := range groups {
		low, err := lowWater(ctx, client, key, group)
		if err != nil {
			return fmt.Errorf("trim %s: %w", key, err)
		}
		if i == 0 || low.before(mark) {
			mark = low
		}
	}
	if mark == (entryID{}) {
		return nil
	}
	if err := client.XTrimMinID(ctx, key, mark.String()).Err(); err != nil {
		return fmt.Errorf("trim %s: %w", key, err)
	}
	return nil
}

// lowWater returns the first id that the group still needs: its oldest pending one, or what follows the last delivered. The info must have been read before: an
// entry that is delivered in between lies above it, while the other way round it would be neither pending yet nor undelivered any more.
func lowWater(ctx context.Context, client redis.UniversalClient, key string, info redis.XInfoGroup) (entryID, error) {
	delivered, err := parseID(info.LastDeliveredID)
	if err != nil {
		return entryID{}, err
	}
	low := delivered.next()
	pending, err := client.XPending(ctx, key, info.Name).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return entryID{}, err
	}
	if pending == nil || pending.Count == 0 {
		return low, nil
	}
	oldest, err := parseID(pending.Lower)
	if err != nil {
		return entryID{}, err
	}
	if oldest.before(low) {
		low = oldest
	}
	return low, nil
}

// entryID is a stream entry id: milliseconds, and a sequence within them.
type entryID struct{ ms, seq uint64 }

func parseID(s string) (entryID, error) {
	left, right, _ := strings.Cut(s, "-")
	ms, err := strconv.ParseUint(left, 10, 64)
	if err != nil {
		return entryID{}, fmt.Errorf("parse entry id %q: %w", s, err)
	}
	if right == "" {
		return entryID{ms: ms}, nil
	}
	seq, err := strconv.ParseUint(right, 10, 64)
	if err != nil {
		return entryID{}, fmt.Errorf("parse entry id %q: %w", s, err)
	}
	return entryID{ms, seq}, nil
}

// String returns the id as Redis writes it.
func (id entryID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.seq, 10)
}

func (id entryID) before(other entryID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.seq < other.seq
}

// next returns the least id above this one.
func (id entryID) next() entryID {
	if id.seq == math.MaxUint64 {
		return entryID{ms: id.ms + 1}
	}
	return entryID{id.ms, id.seq + 1}
}
