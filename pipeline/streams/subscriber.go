package streams

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// Subscriber reads topics as one consumer group. Every Subscribe is a subscription of its own. There are two connections for a shard of a topic at most: one that
// waits for entries, and one for everything else, which all topics share.
type Subscriber struct {
	cfg     SubscriberConfig
	client  redis.UniversalClient // the one that was given: only to derive from
	control redis.UniversalClient // acks, leases, trimming
	now     func() time.Time
	count   counters

	dropAfter time.Duration // see there

	mu     sync.Mutex
	closed bool
	subs   map[*subscription]struct{}
	all    sync.WaitGroup
}

// counters are the sums behind Stats.
type counters struct {
	reads, received, redeliveries, takeovers, acked, dead, lost atomic.Int64
}

// Stats is what a Subscriber has done since it was made, and holds now.
type Stats struct {
	// InFlight is how many messages are out.
	InFlight int
	// Waiting is how many nacked messages wait for their next try.
	Waiting int
	// Reads is how many reads brought something, and Received how many entries they brought.
	Reads, Received int64
	// Redeliveries is how many deliveries were nacked and will be repeated.
	Redeliveries int64
	// Takeovers is how many entries were taken over from other consumers.
	Takeovers int64
	// Acked is how many entries were acked in Redis, Dead how many of them as dead letters.
	Acked, Dead int64
	// Lost is how many entries were held beyond their lease, and left to others.
	Lost int64
}

// NewSubscriber returns a Subscriber on the Redis of client, over connections of its own. The client must outlive it.
func NewSubscriber(client redis.UniversalClient, cfg SubscriberConfig) (*Subscriber, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("subscriber config: %w", err)
	}
	cfg = cfg.withDefaults()
	if err := readable(client, spread(cfg.Prefix, "topic", cfg.Shards)[0]); err != nil {
		return nil, fmt.Errorf("shards %d, prefix %q: %w", cfg.Shards, cfg.Prefix, err)
	}
	control, err := derive(client, own{pool: cfg.Shards, timeout: max(cfg.Lease/3, time.Second)})
	if err != nil {
		return nil, err
	}
	return &Subscriber{cfg: cfg, client: client, control: control, now: time.Now, dropAfter: dropAfter, subs: map[*subscription]struct{}{}}, nil
}

// Subscribe returns the messages of topic. It returns at once and connects in the background, for as long as it takes. The channel is closed after ctx ended or the
// Subscriber was closed, and what was in flight is done or out of time. The context of a message carries the values of ctx, but not its end.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	sub, err := newSubscription(ctx, s, topic)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	s.subs[sub] = struct{}{}
	s.all.Go(func() {
		sub.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, sub)
	})
	return sub.out, nil
}

// SubscribeInitialize makes the topic's consumer group, which reads from the beginning, if there is none. Subscribe does so by itself, in the background.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Lease)
	defer cancel()
	for _, keys := range spread(s.cfg.Prefix, topic, s.cfg.Shards) {
		if err := createGroups(ctx, s.control, keys, s.cfg.Group); err != nil {
			return fmt.Errorf("initialize %s: %w", topic, err)
		}
	}
	return nil
}

// Close ends every subscription: nothing new is read, what is in flight may finish within the shutdown timeout, its acks are sent, the channels are closed.
// It does not close the client that was given.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	for sub := range s.subs {
		sub.end()
	}
	s.mu.Unlock()
	s.all.Wait()
	if !first {
		return nil
	}
	if err := s.control.Close(); err != nil {
		return fmt.Errorf("close subscriber: %w", err)
	}
	return nil
}

// Stats returns the counts of all subscriptions together.
func (s *Subscriber) Stats() Stats {
	c := &s.count
	stats := Stats{
		Reads: c.reads.Load(), Received: c.received.Load(), Redeliveries: c.redeliveries.Load(), Takeovers: c.takeovers.Load(),
		Acked: c.acked.Load(), Dead: c.dead.Load(), Lost: c.lost.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subs {
		stats.InFlight += sub.window.inFlight()
		stats.Waiting += sub.window.waitingCount()
	}
	return stats
}

// consumerName makes a name that no other subscription has.
func consumerName(base string) string { return base + "." + rand.Text()[:10] }
