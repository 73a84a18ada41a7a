package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/pipeline/streams"
)

// StreamsConfig is how all stages use Redis Streams.
type StreamsConfig struct {
	// Prefix stands before each topic in its Redis key.
	Prefix string `koanf:"prefix"`
	// Lease is how long an entry may go without a sign of life of its
	// consumer before another takes it over.
	Lease time.Duration `koanf:"lease"`
	// RenewInterval is how often that sign is given: at most a third of the
	// lease.
	RenewInterval time.Duration `koanf:"renew_interval"`
	// ClaimInterval is how often entries of dead consumers are looked for;
	// with the lease at most 15s.
	ClaimInterval time.Duration `koanf:"claim_interval"`
	// MaxTakeovers is how many processes may die with an entry before it is
	// a dead letter.
	MaxTakeovers int `koanf:"max_takeovers"`
	// ShutdownTimeout is how long what is in flight may take to finish.
	ShutdownTimeout time.Duration `koanf:"shutdown_timeout"`
	// PublishTimeout bounds one addition to a stream.
	PublishTimeout time.Duration `koanf:"publish_timeout"`
	// LaneBacklog is how many messages of a topic's live lane may be unread
	// before what exceeds a project's share goes by bulk.
	LaneBacklog int `koanf:"lane_backlog"`
}

// DefaultStreamsConfig takes over a dead process's work within 12 s.
func DefaultStreamsConfig() StreamsConfig {
	return StreamsConfig{
		Prefix: "millrace:", Lease: 9 * time.Second, RenewInterval: 3 * time.Second, ClaimInterval: 3 * time.Second,
		MaxTakeovers: 5, ShutdownTimeout: 20 * time.Second, PublishTimeout: 5 * time.Second, LaneBacklog: 1000,
	}
}

// Validate says in the operator's words what cannot work.
func (c StreamsConfig) Validate() error {
	var faults error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = errors.Join(faults, fmt.Errorf("streams."+format, args...))
		}
	}
	check(c.Prefix != "", "prefix must not be empty")
	check(c.Lease >= time.Second, "lease must be at least 1s, not %s", c.Lease)
	check(c.RenewInterval > 0 && c.RenewInterval <= c.Lease/3, "renew_interval must be at most a third of the lease (%s), not %s", c.Lease/3, c.RenewInterval)
	check(c.ClaimInterval > 0 && c.Lease+c.ClaimInterval <= 15*time.Second, "lease and claim_interval together must be at most 15s, not %s", c.Lease+c.ClaimInterval)
	check(c.MaxTakeovers >= 1, "max_takeovers must be at least 1, not %d", c.MaxTakeovers)
	check(c.ShutdownTimeout >= time.Second, "shutdown_timeout must be at least 1s, not %s", c.ShutdownTimeout)
	check(c.PublishTimeout >= 100*time.Millisecond, "publish_timeout must be at least 100ms, not %s", c.PublishTimeout)
	check(c.LaneBacklog >= 1, "lane_backlog must be at least 1, not %d", c.LaneBacklog)
	return faults
}

// Transport is what the stages of one process share to pass messages on.
type Transport struct {
	Client    redis.UniversalClient
	Publisher message.Publisher
	Pressure  *Pressure
	Shares    *Shares
	// Shards are over how many streams each topic is spread.
	Shards map[string]int
	// Consumer names this process.
	Consumer string
	Config   StreamsConfig
}

// Watch keeps up with how full Redis is and what waits in it, until ctx ends.
func (t Transport) Watch(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { t.Pressure.Watch(ctx) })
	all.Go(func() { t.Shares.Watch(ctx) })
	all.Wait()
}

// Group is the consumer group that reads a topic for a stage.
func Group(stage string) string { return "millrace-" + stage }

// Router runs stages: each is one handler of one Watermill router.
type Router struct {
	router      *message.Router
	ending      context.Context // ended by closing
	closing     context.CancelFunc
	subscribers map[string]*streams.Subscriber
}

// NewRouter wires the stages of one role.
func NewRouter(stages []Stage, t Transport, a Around) (*Router, error) {
	r, err := emptyRouter(t, a)
	if err != nil {
		return nil, err
	}
	if err := r.wire(stages, t, a); err != nil {
		return nil, err
	}
	return r, nil
}

func emptyRouter(t Transport, a Around) (*Router, error) {
	router, err := watermillRouter(t, a)
	if err != nil {
		return nil, err
	}
	ending, closing := context.WithCancel(context.Background())
	return &Router{router: router, ending: ending, closing: closing, subscribers: map[string]*streams.Subscriber{}}, nil
}

// watermillRouter makes the router that stages are handlers of.
func watermillRouter(t Transport, a Around) (*message.Router, error) {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: t.Config.ShutdownTimeout + 5*time.Second}, demoted{a.Logger})
	if err != nil {
		return nil, fmt.Errorf("make the router: %w", err)
	}
	return router, nil
}

// wire adds the stages. If one cannot be, those before it are closed: nobody
// will run them.
func (r *Router) wire(stages []Stage, t Transport, a Around) error {
	for _, s := range stages {
		if err := r.add(s, t, a); err != nil {
			err = fmt.Errorf("stage %s: %w", s.Name, err)
			for _, earlier := range r.subscribers {
				err = errors.Join(err, earlier.Close())
			}
			r.closing()
			return err
		}
	}
	return nil
}

func (r *Router) add(s Stage, t Transport, a Around) error {
	subscriber, err := r.subscriber(s, t, a)
	if err != nil {
		return err
	}
	if s.Writes == "" {
		handle := a.wrap(s)
		r.router.AddConsumerHandler(s.Name, s.Reads, subscriber, func(msg *message.Message) error {
			_, err := handle(msg)
			return err
		})
		return nil
	}
	r.router.AddHandler(s.Name, s.Reads, subscriber, s.Writes, newOutlet(r.ending, s, t, a), a.wrap(s))
	return nil
}

func (r *Router) subscriber(s Stage, t Transport, a Around) (message.Subscriber, error) {
	if s.Source != nil {
		return s.Source, nil
	}
	sub, err := streams.NewSubscriber(t.Client, streams.SubscriberConfig{
		Prefix: t.Config.Prefix, Shards: t.Shards[s.Reads], Group: Group(s.Name), Consumer: t.Consumer, Concurrency: s.Limits.Concurrency,
		Lease: t.Config.Lease, RenewInterval: t.Config.RenewInterval, ClaimInterval: t.Config.ClaimInterval,
		ShutdownTimeout: t.Config.ShutdownTimeout, MaxRedeliveries: s.Limits.MaxRedeliveries, MaxTakeovers: t.Config.MaxTakeovers,
		MinBackoff: s.Limits.MinBackoff, MaxBackoff: s.Limits.MaxBackoff, Logger: a.Logger,
		Dead: func(ctx context.Context, d streams.Dead) error { return a.keep(ctx, a.deadEntry(s, d)) },
	})
	if err != nil {
		return nil, err
	}
	r.subscribers[s.Name] = sub
	return sub, nil
}

// Run runs the stages until ctx ends, then drains them.
func (r *Router) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, r.closing)
	defer stop()
	return r.router.Run(ctx)
}

// Running is closed when every stage has subscribed.
func (r *Router) Running() chan struct{} { return r.router.Running() }

// Close drains the stages: reading stops, what is in flight finishes, acks
// are flushed.
func (r *Router) Close() error {
	r.closing()
	return r.router.Close()
}

// Stats are the transport's counters, by stage.
func (r *Router) Stats() map[string]streams.Stats {
	stats := make(map[string]streams.Stats, len(r.subscribers))
	for name, s := range r.subscribers {
		stats[name] = s.Stats()
	}
	return stats
}
