package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline"
	"github.com/millrace-dev/millrace/sinks"
	"github.com/millrace-dev/millrace/sources"
)

// agent is the role that works through the topics and keeps the log in order.
type agent struct {
	process *process
	sinks   *sinks.Sinks
	// dialer is how sources reach what tenants name.
	dialer *egress.Dialer
	leader *leader
	// stages is their tuning, as they run now.
	stages     pipeline.Config
	flow       *flow
	endSweep   func()
	endSources func() error
}

func startAgent(p *process) (*agent, error) {
	outlets, err := sinks.New(p.config.webhook(p.version))
	if err != nil {
		return nil, err
	}
	a := &agent{process: p, sinks: outlets, leader: newLeader(p.store.Lead, p.logger), stages: p.config.Stages}
	if a.dialer, err = egress.NewDialer(p.config.Egress.Config, p.logger); err == nil {
		err = a.start()
	}
	if err != nil {
		outlets.Close()
		return nil, err
	}
	p.loop(a.leader.run)
	p.metrics.leader.Store(a.leader)
	p.loop(func(ctx context.Context) { a.leader.while(ctx, time.Minute, a.keepHouse) })
	p.loop(func(ctx context.Context) { a.leader.while(ctx, countHeldEvery, a.countHeld) })
	return a, nil
}

// start runs the stages as configured now.
func (a *agent) start() error {
	p := a.process
	clock := pipeline.NewClock(pipeline.ClockConfig{
		Feeds: a.feeds(), Leading: a.leader.leading, Open: p.transport.Pressure.Open, Observe: p.metrics.lookedAt,
		Concurrency: a.stages.Retry.Concurrency, ShutdownTimeout: p.config.Streams.ShutdownTimeout, Logger: p.logger,
	})
	in := pipeline.Sources{Clock: pipeline.Source[millrace.Due]{Subscriber: clock, Decode: pipeline.DecodeJSON[millrace.Due]}}
	router, err := pipeline.NewRouter(pick(pipeline.Stages(in, a.handlers(), a.stages), "persist", "fanout", "deliver", "retry"), p.transport, p.around)
	if err != nil {
		return err
	}
	if a.flow, err = startFlow(router); err != nil {
		return err
	}
	p.metrics.agentRouter.Store(router)
	a.endSweep = a.sweep()
	a.endSources, err = a.readBrokers()
	return err
}

// readBrokers runs the sources that read brokers, until they are ended.
func (a *agent) readBrokers() (end func() error, err error) {
	p := a.process
	live, err := pipeline.NewLive(p.transport, p.around)
	if err != nil {
		return nil, err
	}
	in := &intakes{
		store: p.store, agent: p.transport.Consumer, logger: p.logger, running: map[millrace.ID]*intakeOf{},
		open: func(s millrace.Source) (sources.Broker, func(), error) { return a.openSource(live, s) },
	}
	p.metrics.intakes.Store(in)
	ctx, cancel := context.WithCancel(p.life)
	var watching sync.WaitGroup
	watching.Go(func() { in.watch(ctx) })
	return func() error {
		cancel()
		watching.Wait()
		in.end()
		return live.Close()
	}, nil
}

// openSource runs the ingest stage for one source.
func (a *agent) openSource(live *pipeline.Live, s millrace.Source) (sources.Broker, func(), error) {
	p := a.process
	broker, err := sources.NewBroker(sources.BrokerConfig{
		Source: s, MaxBytes: a.stages.Ingest.MaxBytes, ShutdownTimeout: p.config.Streams.ShutdownTimeout, Dial: a.dialer.DialContext, Logger: p.logger.With("source", s.ID),
	})
	if err != nil {
		return nil, nil, err
	}
	messages := sources.Messages{Source: s}
	from := pipeline.Source[millrace.Submission]{Subscriber: broker, Decode: messages.Submission, DeadLetter: messages.DeadLetter}
	stages := pipeline.Stages(pipeline.Sources{Submissions: from}, pipeline.Handlers{Ingest: p.ingest(a.stages.Ingest)}, a.stages)
	stop, err := live.Start(pick(stages, "ingest")[0])
	return broker, stop, err
}

func (a *agent) handlers() pipeline.Handlers {
	p := a.process
	return pipeline.Handlers{
		Persist: p.persist(),
		Fanout:  p.fanout(),
		Deliver: &handlers.Deliver{
			Log: p.store, Configs: p.configs, Holding: p.holding, Places: NewPlaces(a.stages.Deliver.MaxInFlightPerEndpoint, placePatience),
			Sink: a.sinks, Endpoints: p.store, Now: p.clock.Now, Observe: a.observe,
		},
		Retry: &handlers.Retry{Log: p.store},
	}
}

// feeds are the reasons why deliveries come back, each with its pace.
func (a *agent) feeds() []pipeline.Feed {
	p, c := a.process, a.stages
	release := &handlers.Release{
		Held: p.store, Queued: p.store, Configs: p.configs,
		Places: c.Deliver.MaxInFlightPerEndpoint, Again: releaseAgain, Idle: c.Retry.HeldInterval,
	}
	lost := &handlers.LostDeliveries{Log: p.store, Barrier: a.barrier(string(pipeline.Due), "deliver"), Grace: c.Retry.SweepGrace}
	return []pipeline.Feed{
		{Name: "due", Every: c.Retry.PollInterval, Next: p.store.DueDeliveries},
		{Name: "released", Every: releaseEvery, Next: p.holding.release(release.Next)},
		{Name: "lost", Every: c.Retry.SweepInterval, Next: lost.Next},
	}
}

// barrier draws lines in a topic, for the stage that reads it.
func (a *agent) barrier(topic, stage string) handlers.Barrier {
	return pipeline.TopicBarrier{Transport: a.process.transport, Topic: topic, Stage: stage}
}

// sweep fans out, in line, what was lost behind `events.persisted`, until it
// is ended.
func (a *agent) sweep() (end func()) {
	p, c := a.process, a.stages.Retry
	lost := &handlers.LostEvents{
		Log: p.store, Checkpoints: p.store, Grace: c.SweepGrace,
		Barrier: a.barrier(string(pipeline.Persisted), "fanout"),
		FanOut:  a.fanOutLost,
	}
	ctx, cancel := context.WithCancel(p.life)
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		a.leader.while(ctx, c.SweepInterval, func(ctx context.Context) {
			n, err := lost.Sweep(ctx)
			if err != nil && ctx.Err() == nil {
				p.logger.Warn("the sweep of lost events stopped", "error", err)
			}
			if n > 0 {
				p.logger.Warn("events that Redis lost were fanned out", "events", n)
			}
		})
	})
	return func() {
		cancel()
		sweeping.Wait()
	}
}

// fanOutLost fans one lost event out; one that cannot be becomes a dead
// letter, so that the sweep goes on.
func (a *agent) fanOutLost(ctx context.Context, e millrace.StoredEvent) error {
	err := a.process.inline.FanOut(ctx, e)
	if err == nil || millrace.IsUnavailable(err) || ctx.Err() != nil {
		return err
	}
	return a.process.store.AddDeadLetter(ctx, pipeline.LostEvent(e, err))
}

// keepHouse is the janitor's round.
func (a *agent) keepHouse(ctx context.Context) {
	s := a.process.store
	gone, kept := s.Retain(ctx, a.process.clock.Now())
	if gone.Expired > 0 || len(gone.Dropped) > 0 || gone.Deleted > 0 {
		a.process.logger.Info("retention", "expired", gone.Expired, "dropped", gone.Dropped, "deleted", gone.Deleted)
	}
	err := errors.Join(kept, s.MakePartitions(ctx, a.process.clock.Now(), partitionsAhead), a.expireKeys(ctx))
	if err != nil && ctx.Err() == nil {
		a.process.logger.Warn("the janitor could not finish its round", "error", err)
	}
}

// countHeldEvery is how old the figure of held deliveries gets.
const countHeldEvery = 10 * time.Second

// countHeld counts what is held, and mends what leads to it.
func (a *agent) countHeld(ctx context.Context) {
	term, err := a.leader.leading(ctx)
	if err != nil {
		return
	}
	n, err := a.process.store.FindHeld(ctx)
	if err == nil {
		a.process.metrics.held.Store(&heldCount{term: term, deliveries: n})
	} else if ctx.Err() == nil {
		a.process.logger.Warn("the held deliveries could not be counted", "error", err)
	}
}

// expireKeys forgets the idempotency keys whose time is over, some at a time.
func (a *agent) expireKeys(ctx context.Context) error {
	const some = 10_000
	for {
		if n, err := a.process.store.ExpireKeys(ctx, some); err != nil || n < some {
			return err
		}
	}
}

// placePatience is how long a burst to one endpoint waits for a place before
// its deliveries are held; releaseEvery is how often the endpoints are looked
// for that may have held ones released, and releaseAgain how soon one that
// just had some may have more.
const (
	placePatience = 500 * time.Millisecond
	releaseEvery  = 200 * time.Millisecond
	releaseAgain  = 10 * time.Millisecond
)

// partitionsAhead is how many days have their partition before they come.
const partitionsAhead = 7

// observe says what became of a turn: one log line an attempt, which is of
// interest as a rule only where it failed.
func (a *agent) observe(d millrace.Delivery, f millrace.Fact) {
	p := a.process
	if f.Kind == millrace.FactHeld {
		p.holding.Add(d.EndpointID)
	}
	p.metrics.fact(d, f)
	if f.Attempt == nil {
		p.logger.Info("not attempted", "delivery", d.ID, "event", d.EventID, "endpoint", d.EndpointID, "decided", f.Decided, "reason", f.Reason)
		return
	}
	level := slog.LevelInfo
	if f.Decided == millrace.Delivered {
		level = slog.LevelDebug
	}
	p.logger.Log(context.Background(), level, "attempt", "delivery", d.ID, "event", d.EventID, "endpoint", d.EndpointID, "type", d.EventType, "turn", d.Turn,
		"outcome", f.Attempt.Outcome, "status", f.Attempt.StatusCode, "ms", f.Attempt.Latency.Milliseconds(), "decided", f.Decided, "error", f.Attempt.Error)
}

// reload drains the stages and runs them again as configured now.
func (a *agent) reload(c pipeline.Config) error {
	if err := a.drain(); err != nil {
		return err
	}
	a.stages = c
	return a.start()
}

func (a *agent) drain() error {
	a.endSweep()
	return errors.Join(a.endSources(), a.flow.drain())
}

// stop drains the stages.
func (a *agent) stop() error {
	err := a.drain()
	a.sinks.Close()
	if err != nil {
		return fmt.Errorf("drain the agent: %w", err)
	}
	return nil
}
