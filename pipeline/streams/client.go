package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// own is how a derived client differs from the one that was given.
type own struct {
	pool    int
	timeout time.Duration
	// ids, if set, learns the CLIENT ID of every new connection, where the server has them.
	ids *clientIDs
}

// derive makes a client of our own for the same Redis: go-redis' retries off (an XADD whose reply was lost must not be repeated behind our back), deadlines
// of contexts honoured, and its connections ours to close. Dialer and TLS are the given client's, so Sentinel works as well.
func derive(client redis.UniversalClient, o own) (redis.UniversalClient, error) {
	switch c := client.(type) {
	case *redis.Client:
		return redis.NewClient(deriveSingle(*c.Options(), o)), nil
	case *redis.ClusterClient:
		return redis.NewClusterClient(deriveCluster(*c.Options(), o)), nil
	case nil:
		return nil, errors.New("streams: a Redis client is needed")
	default:
		return nil, fmt.Errorf("streams: a Redis client of type %T cannot be used: give a *redis.Client or *redis.ClusterClient", client)
	}
}

func deriveSingle(opt redis.Options, o own) *redis.Options {
	opt.MaxRetries = -1
	opt.DialerRetries = 1
	opt.ContextTimeoutEnabled = true
	opt.ReadTimeout, opt.WriteTimeout, opt.PoolTimeout = o.timeout, o.timeout, 0
	opt.DialTimeout = min(opt.DialTimeout, o.timeout)
	opt.PoolSize, opt.MinIdleConns, opt.MaxIdleConns, opt.MaxActiveConns, opt.PipelinePoolSize = o.pool, 0, 0, 0, -1
	opt.Protocol = 2
	opt.ClientSideCache, opt.ClientSideCacheConfig, opt.PushNotificationProcessor = nil, nil, nil
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opt.OnConnect = learnID(opt.OnConnect, opt.Addr, o.ids)
	return &opt
}

func deriveCluster(opt redis.ClusterOptions, o own) *redis.ClusterOptions {
	opt.MaxRetries = -1
	opt.DialerRetries = 1
	opt.ContextTimeoutEnabled = true
	opt.ReadTimeout, opt.WriteTimeout, opt.PoolTimeout = o.timeout, o.timeout, 0
	opt.DialTimeout = min(opt.DialTimeout, o.timeout)
	opt.PoolSize, opt.MinIdleConns, opt.MaxIdleConns, opt.PipelinePoolSize = o.pool, 0, 0, -1
	opt.Protocol = 2
	opt.PushNotificationProcessor = nil
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	newClient := opt.NewClient
	opt.NewClient = func(node *redis.Options) *redis.Client {
		node.OnConnect = learnID(node.OnConnect, node.Addr, o.ids)
		return newClient(node)
	}
	return &opt
}

// clientIDs are the CLIENT IDs of the latest connections, as many as can be open at once.
type clientIDs struct {
	mu  sync.Mutex
	all []clientID
}

type clientID struct {
	addr string // of the server, as the client has it
	id   int64
}

func (c *clientIDs) add(id clientID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) > MaxShards {
		c.all = c.all[1:]
	}
	c.all = append(c.all, id)
}

// unblock ends the reads that wait, on the server of the client or all nodes of its cluster.
func (c *clientIDs) unblock(ctx context.Context, client redis.UniversalClient) {
	c.mu.Lock()
	all := slices.Clone(c.all)
	c.mu.Unlock()
	on := func(ctx context.Context, one *redis.Client) error {
		pipe := one.Pipeline()
		for _, to := range all {
			if to.addr == one.Options().Addr {
				pipe.ClientUnblock(ctx, to.id)
			}
		}
		_, err := pipe.Exec(ctx)
		return err
	}
	switch client := client.(type) {
	case *redis.Client:
		_ = on(ctx, client) // whoever waits for the reads to end tries again
	case *redis.ClusterClient:
		_ = client.ForEachMaster(ctx, on)
	}
}

func learnID(next func(context.Context, *redis.Conn) error, addr string, ids *clientIDs) func(context.Context, *redis.Conn) error {
	if ids == nil {
		return next
	}
	return func(ctx context.Context, conn *redis.Conn) error {
		if id, err := conn.ClientID(ctx).Result(); err == nil {
			ids.add(clientID{addr, id})
		}
		if next == nil {
			return nil
		}
		return next(ctx, conn)
	}
}

// wait sleeps for d, and reports false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
