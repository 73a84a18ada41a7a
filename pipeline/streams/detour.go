package streams

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// askAgain is how often a shard that could not be reached is asked whether it is there, and askTime how long it may take to answer.
const (
	askAgain = 250 * time.Millisecond
	askTime  = time.Second
)

// detours are the shards that could not be reached. What is for one of them goes to the next that can, so that nothing waits for a node of a cluster that is away:
// any shard will do, as all of them are read.
type detours struct {
	client redis.UniversalClient
	life   context.Context // of those who ask
	asking sync.WaitGroup
	count  atomic.Int32

	mu   sync.Mutex
	away map[string]bool // by the key of the live lane
}

func newDetours(life context.Context, client redis.UniversalClient) *detours {
	return &detours{client: client, life: life, away: map[string]bool{}}
}

// any reports whether there are detours to be made.
func (d *detours) any() bool { return d.count.Load() > 0 }

// around returns the shard itself, of n, or if it cannot be reached the next that can.
func (d *detours) around(shard, n int, key func(shard int) string) int {
	if !d.any() {
		return shard
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range n {
		if next := (shard + i) % n; !d.away[key(next)] {
			return next
		}
	}
	return shard
}

// learn takes the outcome of what was to be added to a shard's stream.
func (d *detours) learn(key string, err error) {
	if !unreachable(err) {
		return
	}
	key = strings.TrimSuffix(key, bulkSuffix)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away[key] {
		return
	}
	d.away[key] = true
	d.count.Add(1)
	d.asking.Go(func() { d.ask(key) })
}

// ask waits until the shard can be reached.
func (d *detours) ask(key string) {
	for wait(d.life, askAgain) && !d.there(key) {
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.away, key)
	d.count.Add(-1)
}

func (d *detours) there(key string) bool {
	ctx, cancel := context.WithTimeout(d.life, askTime)
	defer cancel()
	return !unreachable(d.client.Exists(ctx, key).Err())
}

// unreachable tells the error of a server that is away, or has not found its place yet, from the refusal of one that works.
func unreachable(err error) bool {
	var answer redis.Error
	return err != nil && (!errors.As(err, &answer) || redis.IsClusterDownError(err) || redis.IsLoadingError(err) || redis.IsReadOnlyError(err))
}
