package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// PublisherConfig says how messages are added to the streams.
type PublisherConfig struct {
	// Prefix stands before the topic in every key.
	Prefix string
	// Shards is over how many streams a topic is spread: one, if it is not named.
	Shards map[string]int
	// Timeout bounds one Publish call. After it the outcome is unknown: the messages may have been added.
	Timeout time.Duration
	// MaxBatch is how many messages one pipeline carries at most.
	MaxBatch int
}

// DefaultPublisherConfig returns what a zero field stands for.
func DefaultPublisherConfig() PublisherConfig {
	return PublisherConfig{Timeout: 5 * time.Second, MaxBatch: 512}
}

// Validate returns every fault of the config.
func (c PublisherConfig) Validate() error {
	var faults []error
	if c.Timeout < 0 {
		faults = append(faults, fmt.Errorf("timeout %s: must not be negative", c.Timeout))
	}
	if c.MaxBatch < 0 {
		faults = append(faults, fmt.Errorf("max_batch %d: must not be negative", c.MaxBatch))
	}
	for topic, n := range c.Shards {
		if err := validShards(n); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", topic, err))
		}
	}
	return errors.Join(faults...)
}

// Publisher adds messages to streams. Calls that come while a pipeline is under way leave together in the next one; a call that finds none leaves at once.
type Publisher struct {
	cfg    PublisherConfig
	shards func(topic string) int
	client redis.UniversalClient
	queue  chan *addition
	stop   context.CancelFunc
	done   chan struct{}
	away   *detours

	mu     sync.RWMutex // held for reading while a call may enqueue
	closed bool
}

// NewPublisher returns a Publisher that adds to the Redis of client, over a connection of its own. The client must outlive it.
func NewPublisher(client redis.UniversalClient, cfg PublisherConfig) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("publisher config: %w", err)
	}
	for topic, n := range cfg.Shards {
		if err := readable(client, spread(cfg.Prefix, topic, n)[0]); err != nil {
			return nil, fmt.Errorf("publisher config: %s, shards %d, prefix %q: %w", topic, n, cfg.Prefix, err)
		}
	}
	def := DefaultPublisherConfig()
	cfg.Timeout = orDefault(cfg.Timeout, def.Timeout)
	cfg.MaxBatch = orDefault(cfg.MaxBatch, def.MaxBatch)
	derived, err := derive(client, own{pool: 2, timeout: cfg.Timeout})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Publisher{
		cfg: cfg, shards: func(topic string) int { return cfg.Shards[topic] }, client: derived,
		queue: make(chan *addition, 4*cfg.MaxBatch), stop: stop, done: make(chan struct{}), away: newDetours(ctx, derived),
	}
	go p.run(ctx)
	return p, nil
}

// Publish adds msgs to topic, each to its lane, in one pipeline, and returns when Redis has answered. It is bounded by the config's timeout and the context of the
// first message. An error of any message is the error of the call: a *PublishError, if it is known that others were added.
func (p *Publisher) Publish(topic string, msgs ...*message.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	a, err := p.prepare(topic, msgs)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	if err := p.add(msgs[0].Context(), a); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	return nil
}

func (p *Publisher) prepare(topic string, msgs []*message.Message) (*addition, error) {
	a := &addition{topic: topic, msgs: msgs, cmds: make([]redis.Cmder, len(msgs)), reply: make(chan error, 1)}
	for i, msg := range msgs {
		args, err := xadd(p.key(topic, msg.UUID, LaneOf(msg)), msg)
		if err != nil {
			return nil, fmt.Errorf("message %s: %w", msg.UUID, err)
		}
		a.cmds[i] = unrepeated{redis.NewStringCmd(context.Background(), args...)}
	}
	return a, nil
}

func (p *Publisher) key(topic, uuid string, lane Lane) string {
	n := p.shards(topic)
	if n <= 1 {
		return Key(p.cfg.Prefix, topic, lane)
	}
	shard := p.away.around(shardOf(uuid, n), n, func(shard int) string { return shardKey(p.cfg.Prefix, topic, shard, Live) })
	return shardKey(p.cfg.Prefix, topic, shard, lane)
}

func (p *Publisher) add(ctx context.Context, a *addition) error {
	timeout := time.NewTimer(p.cfg.Timeout)
	defer timeout.Stop()
	if err := p.enqueue(ctx, a, timeout); err != nil {
		return err
	}
	select {
	case err := <-a.reply:
		return err
	case <-ctx.Done():
		a.left.Store(true)
		return fmt.Errorf("outcome unknown: %w", ctx.Err())
	case <-timeout.C:
		a.left.Store(true)
		return fmt.Errorf("outcome unknown: no answer within %s", p.cfg.Timeout)
	}
}

func (p *Publisher) enqueue(ctx context.Context, a *addition, timeout *time.Timer) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	select {
	case p.queue <- a:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return fmt.Errorf("no room within %s", p.cfg.Timeout)
	}
}

// Close sends what is queued, waits for the answers, and refuses further calls. It does not close the client that was given.
func (p *Publisher) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.done
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.stop()
	<-p.done
	p.away.asking.Wait()
	if err := p.client.Close(); err != nil {
		return fmt.Errorf("close publisher: %w", err)
	}
	return nil
}

// run sends batches until it is stopped and nothing is queued.
func (p *Publisher) run(ctx context.Context) {
	defer close(p.done)
	for {
		select {
		case a := <-p.queue:
			p.flush(p.gather(a))
		case <-ctx.Done():
			select {
			case a := <-p.queue:
				p.flush(p.gather(a))
			default:
				return
			}
		}
	}
}

// gather takes what is queued behind first, up to a full batch. It never waits.
func (p *Publisher) gather(first *addition) []*addition {
	var batch []*addition
	for a, size := first, 0; ; {
		if !a.left.Load() {
			batch, size = append(batch, a), size+len(a.cmds)
		}
		if size >= p.cfg.MaxBatch {
			return batch
		}
		select {
		case a = <-p.queue:
		default:
			return batch
		}
	}
}

func (p *Publisher) flush(batch []*addition) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Timeout)
	defer cancel()
	for _, a := range batch {
		p.direct(a)
	}
	if len(batch) == 1 && len(batch[0].cmds) == 1 {
		_ = p.client.Process(ctx, batch[0].cmds[0])
	} else {
		pipe := p.client.Pipeline()
		for _, a := range batch {
			for _, cmd := range a.cmds {
				_ = pipe.Process(ctx, cmd) // only queues
			}
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
	for _, a := range batch {
		p.learn(a)
		a.reply <- a.outcome()
	}
}

// direct leads what is for a shard that cannot be reached, as is known by now, to another one.
func (p *Publisher) direct(a *addition) {
	if !p.away.any() || p.shards(a.topic) <= 1 {
		return
	}
	for i, msg := range a.msgs {
		lane := Live
		if strings.HasSuffix(streamOf(a.cmds[i]), bulkSuffix) {
			lane = Bulk
		}
		a.cmds[i].Args()[1] = p.key(a.topic, msg.UUID, lane)
	}
}

// learn notes which shards could not be reached.
func (p *Publisher) learn(a *addition) {
	if p.shards(a.topic) <= 1 {
		return
	}
	for _, cmd := range a.cmds {
		p.away.learn(streamOf(cmd), cmd.Err())
	}
}

// streamOf returns the key that an XADD is for.
func streamOf(xadd redis.Cmder) string {
	key, _ := xadd.Args()[1].(string)
	return key
}

func orDefault[T comparable](value, def T) T {
	var zero T
	if value == zero {
		return def
	}
	return value
}
