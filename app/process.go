package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline"
	"github.com/millrace-dev/millrace/pipeline/streams"
	"github.com/millrace-dev/millrace/store"
)

// process is what the roles of one process share.
type process struct {
	config    Config
	version   string
	logger    *slog.Logger
	registry  *prometheus.Registry
	store     *store.Store
	redis     redis.UniversalClient
	clock     *Clock
	configs   *Configs
	holding   *Holding
	changes   *changes
	publisher *streams.Publisher
	transport pipeline.Transport
	around    pipeline.Around
	inline    pipeline.Inline
	metrics   *metrics

	// loops are this process's own; they end with quit.
	loops sync.WaitGroup
	life  context.Context
	quit  context.CancelFunc
	ends  []func() // what close does, last first
	fail  chan error
	// startup opens the stores; the zero one tries each once.
	startup startup
}

// newProcess reaches the stores and refuses what cannot work with them.
func newProcess(ctx context.Context, c Config, o Options) (*process, error) {
	p := &process{config: c, version: o.Version, logger: o.Logger, registry: prometheus.NewRegistry(), fail: make(chan error, 8)}
	p.life, p.quit = context.WithCancel(context.Background())
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if !o.Server && !o.Agent {
		return p, nil
	}
	p.startup = startup{until: time.Now().Add(startPatience), again: startAgain, warn: p.logger.Warn}
	if err := errors.Join(p.openStore(ctx), p.openRedis(ctx)); err != nil {
		p.close()
		return nil, err
	}
	if err := p.wire(ctx, o); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *process) openStore(ctx context.Context) error {
	ring, err := p.config.Secrets.ring()
	if err != nil {
		return err
	}
	err = p.startup.open(ctx, "PostgreSQL", func(ctx context.Context) (err error) {
		p.store, err = store.Open(ctx, p.config.Postgres, ring)
		return unanswered(err)
	})
	if err != nil {
		return err
	}
	p.ends = append(p.ends, func() { _ = p.store.Close() })
	if err := errors.Join(p.store.CheckKeys(ctx), p.store.CheckReplicas(ctx)); err != nil {
		return err
	}
	granted, err := p.store.GrantedConnections(ctx)
	if err != nil {
		return err
	}
	if need := p.config.Postgres.Connections(); need > granted {
		return fmt.Errorf("postgres: this process may open %d connections (max_read_conns, and writers for each kind of append), PostgreSQL grants %d in all; lower them or raise its max_connections", need, granted)
	}
	p.clock, err = NewClock(ctx, p.store.Now)
	return err
}

func (p *process) openRedis(ctx context.Context) error {
	err := p.startup.open(ctx, "Redis", func(ctx context.Context) (err error) {
		p.redis, err = openRedis(ctx, p.config.Redis)
		return err
	})
	if err != nil {
		return err
	}
	p.ends = append(p.ends, func() { _ = p.redis.Close() })
	return nil
}

func (p *process) wire(ctx context.Context, o Options) error {
	var err error
	if p.changes, err = newChanges(p.config.Redis, p.config.Streams.Prefix); err != nil {
		return err
	}
	shards := p.config.Stages.Shards()
	p.publisher, err = streams.NewPublisher(p.redis, streams.PublisherConfig{Prefix: p.config.Streams.Prefix, Shards: shards, Timeout: p.config.Streams.PublishTimeout})
	if err != nil {
		return err
	}
	p.ends = append(p.ends, func() { _ = p.publisher.Close() })
	tracer, endTraces, err := newTracer(ctx, p.config.Tracing, p.version)
	if err != nil {
		return err
	}
	p.ends = append(p.ends, func() { _ = endTraces(context.Background()) })
	p.configs = NewConfigs(p.store, p.logger)
	p.holding = NewHolding(p.store, p.logger)
	p.metrics = newMetrics(p.registry, p)
	p.transport = pipeline.Transport{
		Client: p.redis, Publisher: p.publisher, Pressure: pipeline.NewPressure(p.redis, p.config.Stages.Ingest.PersistAt),
		Shares: pipeline.NewShares(p.redis, p.config.Streams, shards), Shards: shards, Consumer: consumer(), Config: p.config.Streams,
	}
	p.around = pipeline.Around{Metrics: p.metrics.pipeline, Tracer: tracer, Dead: p.store, Logger: p.logger, Now: p.clock.Now}
	p.inline = pipeline.Inline{
		Persist: p.persist(), Fanout: p.fanout(), Publisher: p.publisher, Pressure: p.transport.Pressure,
		Left: p.metrics.pipeline.LeftToSweep("inline"),
	}
	p.watch()
	return nil
}

func (p *process) persist() *handlers.Persist {
	return &handlers.Persist{Log: p.store, InlineMax: p.config.Postgres.InlinePayloadMax}
}

func (p *process) fanout() *handlers.Fanout {
	return &handlers.Fanout{Log: p.store, Configs: p.configs, Holding: p.holding, InlineMax: p.config.Postgres.InlinePayloadMax}
}

// ingest is the ingest stage's handler.
func (p *process) ingest(c pipeline.IngestConfig) *handlers.Ingest {
	return &handlers.Ingest{
		Log: p.store, Configs: p.configs, Queue: p.transport.Pressure, MaxBytes: c.MaxBytes, Ack: c.Ack, Now: p.clock.Now, Trace: traceOf,
		InlineMax: p.config.Postgres.InlinePayloadMax,
	}
}

// watch starts the loops that every process with stores has.
func (p *process) watch() {
	heard := make(chan millrace.ID, 64)
	p.store.OnChange = func(project millrace.ID) {
		select {
		case heard <- project:
		default: // the look once a second finds it
		}
		p.changes.tell(project)
	}
	p.store.OnReuse = func(e millrace.Event, first millrace.ID) {
		p.metrics.reused.Inc()
		p.logger.Warn("a broker's coordinates came again with another message: was its topic or queue made anew?",
			"source", e.SourceID, "message", e.BrokerMessageID, "event", e.ID, "before", first)
	}
	p.loop(func(ctx context.Context) { p.configs.Watch(ctx, heard) })
	p.loop(p.changes.broadcast)
	p.loop(func(ctx context.Context) {
		for ctx.Err() == nil {
			if err := p.changes.hear(ctx, heard); err != nil {
				p.logger.Debug("changes are not heard of", "error", err)
			}
			wait(ctx, time.Second)
		}
	})
	p.loop(p.holding.Watch)
	p.loop(p.transport.Watch)
	p.loop(func(ctx context.Context) { p.clock.Watch(ctx, p.logger) })
}

// loop runs work that ends with the process.
func (p *process) loop(work func(ctx context.Context)) {
	p.loops.Go(func() { work(p.life) })
}

// ready tells whether the stores answer.
func (p *process) ready(ctx context.Context) error {
	if p.store == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := p.store.Ping(ctx)
	if e := pingRedis(ctx, p.redis); e != nil {
		err = errors.Join(err, fmt.Errorf("ping Redis: %w", e))
	}
	return err
}

// close ends the loops and closes the stores, in the reverse order of their
// opening.
func (p *process) close() {
	p.quit()
	if p.changes != nil {
		p.changes.close()
	}
	p.loops.Wait()
	for i := len(p.ends) - 1; i >= 0; i-- {
		p.ends[i]()
	}
}

// consumer names this process among the consumers of a group.
func consumer() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}
