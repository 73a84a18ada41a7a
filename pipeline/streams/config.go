package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// SubscriberConfig says how a consumer group reads. A zero field means its default, but for Group, which is required, and Dead.
type SubscriberConfig struct {
	// Prefix stands before the topic in every key.
	Prefix string
	// Shards is over how many streams the topic is spread; its publishers have the same number. What still waits in the streams of another number is read too.
	Shards int
	// Group is the consumer group.
	Group string
	// Consumer names this process in the group. Each Subscribe adds a random part, so that a restarted process never mistakes its predecessor's entries for its own.
	Consumer string
	// Concurrency is how many messages of a topic are out at once.
	Concurrency int
	// MaxWaiting is how many nacked messages of a topic may wait for their next try before reading stops.
	MaxWaiting int

	// Lease is how long an entry may go without renewal before another consumer takes it over.
	Lease time.Duration
	// RenewInterval is how often the entries that are held are renewed: at most a third of the lease.
	RenewInterval time.Duration
	// ClaimInterval is how often entries of dead consumers are looked for.
	ClaimInterval time.Duration
	// TrimInterval is how often acked entries are removed from the streams.
	TrimInterval time.Duration
	// Block is how long one read waits in Redis for something to come.
	Block time.Duration
	// ShutdownTimeout is how long messages in flight may take to finish when the subscription ends.
	ShutdownTimeout time.Duration

	// MaxRedeliveries is how often a message may be delivered again after a nack before it is dead.
	MaxRedeliveries int
	// MaxTakeovers is how often an entry may be taken over from a consumer that died with it before it is dead.
	MaxTakeovers int
	// MinBackoff and MaxBackoff bound the wait before a redelivery; it doubles with each.
	MinBackoff, MaxBackoff time.Duration
	// BulkWeight is how many live messages go before one of bulk when both wait.
	BulkWeight int

	// Dead takes what no handler will take. Only after it returned nil is the entry acked; an error means again, with backoff. Without it nothing is ever dead:
	// what fails is tried for ever.
	Dead func(ctx context.Context, dead Dead) error
	// Logger takes what an operator should see. Default: slog.Default().
	Logger *slog.Logger
}

// DefaultSubscriberConfig returns what a zero field stands for.
func DefaultSubscriberConfig() SubscriberConfig {
	return SubscriberConfig{
		Shards: 1, Consumer: "consumer", Concurrency: 64, MaxWaiting: 512,
		Lease: 9 * time.Second, RenewInterval: 3 * time.Second, ClaimInterval: 3 * time.Second, TrimInterval: 2 * time.Second,
		Block: 800 * time.Millisecond, ShutdownTimeout: 20 * time.Second,
		MaxRedeliveries: 10, MaxTakeovers: 5, MinBackoff: 500 * time.Millisecond, MaxBackoff: 30 * time.Second,
		BulkWeight: 8,
	}
}

// maxTakeover is the time within which what a dead process held must be with another.
const maxTakeover = 15 * time.Second

// Validate returns every fault of the config, once its zero fields are filled in.
func (c SubscriberConfig) Validate() error {
	c = c.withDefaults()
	var faults []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	faults = append(faults, validShards(c.Shards))
	refuse(c.Group == "", "group: must not be empty")
	refuse(c.Concurrency < 0, "concurrency %d: must not be negative", c.Concurrency)
	refuse(c.MaxWaiting < 0, "max_waiting %d: must not be negative", c.MaxWaiting)
	refuse(c.Lease < 0, "lease %s: must not be negative", c.Lease)
	refuse(c.RenewInterval < 0 || c.RenewInterval > c.Lease/3, "renew_interval %s: must be at most a third of the lease (%s)", c.RenewInterval, c.Lease)
	refuse(c.ClaimInterval < 0 || c.Lease+c.ClaimInterval > maxTakeover, "lease %s and claim_interval %s: together at most %s", c.Lease, c.ClaimInterval, maxTakeover)
	refuse(c.TrimInterval < 0, "trim_interval %s: must not be negative", c.TrimInterval)
	refuse(c.Block < time.Millisecond || c.Block > 2*time.Second, "block %s: must be between 1ms and 2s", c.Block)
	refuse(c.ShutdownTimeout < 0, "shutdown_timeout %s: must not be negative", c.ShutdownTimeout)
	refuse(c.MaxRedeliveries < 0, "max_redeliveries %d: must not be negative", c.MaxRedeliveries)
	refuse(c.MaxTakeovers < 0, "max_takeovers %d: must not be negative", c.MaxTakeovers)
	refuse(c.MinBackoff < 0 || c.MaxBackoff < c.MinBackoff, "backoff %s to %s: must not be negative, and not end before it begins", c.MinBackoff, c.MaxBackoff)
	refuse(c.BulkWeight < 0, "bulk_weight %d: must not be negative", c.BulkWeight)
	return errors.Join(faults...)
}

func (c SubscriberConfig) withDefaults() SubscriberConfig {
	def := DefaultSubscriberConfig()
	c.Shards = orDefault(c.Shards, def.Shards)
	c.Consumer = orDefault(c.Consumer, def.Consumer)
	c.Concurrency = orDefault(c.Concurrency, def.Concurrency)
	c.MaxWaiting = orDefault(c.MaxWaiting, max(0, 8*c.Concurrency))
	c.Lease = orDefault(c.Lease, def.Lease)
	c.RenewInterval = orDefault(c.RenewInterval, c.Lease/3)
	c.ClaimInterval = orDefault(c.ClaimInterval, def.ClaimInterval)
	c.TrimInterval = orDefault(c.TrimInterval, def.TrimInterval)
	c.Block = orDefault(c.Block, def.Block)
	c.ShutdownTimeout = orDefault(c.ShutdownTimeout, def.ShutdownTimeout)
	c.MaxRedeliveries = orDefault(c.MaxRedeliveries, def.MaxRedeliveries)
	c.MaxTakeovers = orDefault(c.MaxTakeovers, def.MaxTakeovers)
	c.MinBackoff = orDefault(c.MinBackoff, def.MinBackoff)
	c.MaxBackoff = orDefault(c.MaxBackoff, max(def.MaxBackoff, c.MinBackoff))
	c.BulkWeight = orDefault(c.BulkWeight, def.BulkWeight)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// backoff returns how long to wait before try n+1, n from 1.
func (c SubscriberConfig) backoff(n int) time.Duration {
	d := c.MinBackoff
	for i := 1; i < n && d < c.MaxBackoff; i++ {
		d *= 2
	}
	return min(d, c.MaxBackoff)
}
