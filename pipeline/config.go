package pipeline

import (
	"errors"
	"fmt"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// Limits are what every stage has.
type Limits struct {
	// Concurrency is how many messages a stage works on at once, in each
	// process.
	Concurrency int `koanf:"concurrency"`
	// Timeout bounds one try at a message; 0: the stage bounds its own parts.
	Timeout time.Duration `koanf:"timeout"`
	// MaxRedeliveries is how often a message that fails is tried again before
	// it becomes a dead letter.
	MaxRedeliveries int `koanf:"max_redeliveries"`
	// MinBackoff and MaxBackoff bound the wait before a message is tried
	// again; it doubles with each.
	MinBackoff time.Duration `koanf:"min_backoff"`
	MaxBackoff time.Duration `koanf:"max_backoff"`
}

// Reading is what a stage has that reads a topic.
type Reading struct {
	// Shards is over how many streams the topic is spread, so that it has
	// several nodes of a Redis Cluster. All processes have the same number; a
	// new one needs a restart, and loses nothing.
	Shards int `koanf:"shards"`
}

// Config has one block per stage, in their order.
type Config struct {
	Ingest  IngestConfig  `koanf:"ingest"`
	Persist PersistConfig `koanf:"persist"`
	Fanout  FanoutConfig  `koanf:"fanout"`
	Deliver DeliverConfig `koanf:"deliver"`
	Retry   RetryConfig   `koanf:"retry"`
}

// IngestConfig tunes how events are taken in.
type IngestConfig struct {
	Limits `koanf:",squash"`
	// Ack is what a success means where neither request nor project says:
	// queued or persisted.
	Ack millrace.AckLevel `koanf:"ack"`
	// MaxBytes bounds an event's payload.
	MaxBytes int `koanf:"max_bytes"`
	// Patience is how long a client waits at most for its answer.
	Patience time.Duration `koanf:"patience"`
	// PersistAt is the share of Redis' maxmemory from which events are
	// persisted in line instead of being queued.
	PersistAt float64 `koanf:"persist_at"`
}

// PersistConfig tunes the append to the event log.
type PersistConfig struct {
	Limits  `koanf:",squash"`
	Reading `koanf:",squash"`
}

// FanoutConfig tunes the matching of events with subscriptions.
type FanoutConfig struct {
	Limits  `koanf:",squash"`
	Reading `koanf:",squash"`
}

// DeliverConfig tunes the sending.
type DeliverConfig struct {
	Limits  `koanf:",squash"`
	Reading `koanf:",squash"`
	// MaxInFlightPerEndpoint is how many deliveries to one endpoint an agent
	// has under way at once; those beyond it are held.
	MaxInFlightPerEndpoint int `koanf:"max_in_flight_per_endpoint"`
}

// RetryConfig tunes how deliveries come back.
type RetryConfig struct {
	Limits `koanf:",squash"`
	// PollInterval is how often the log is asked what is due.
	PollInterval time.Duration `koanf:"poll_interval"`
	// HeldInterval is how soon an endpoint that cannot receive is looked at
	// again; a change of its configuration makes that at once.
	HeldInterval time.Duration `koanf:"held_interval"`
	// SweepInterval is how often the barrier looks for what Redis lost.
	SweepInterval time.Duration `koanf:"sweep_interval"`
	// SweepGrace is how long after its stamp a row is taken for lost at the
	// earliest; it exceeds every timeout between stamp and XADD reply.
	SweepGrace time.Duration `koanf:"sweep_grace"`
}

// DefaultConfig is what a stage has that is not tuned.
func DefaultConfig() Config {
	limits := Limits{Concurrency: 256, Timeout: 30 * time.Second, MaxRedeliveries: 8, MinBackoff: 200 * time.Millisecond, MaxBackoff: 10 * time.Second}
	one := Reading{Shards: 1}
	c := Config{
		Ingest:  IngestConfig{Limits: limits, Ack: millrace.AckQueued, MaxBytes: 1 << 20, Patience: 15 * time.Second, PersistAt: 0.70},
		Persist: PersistConfig{Limits: limits, Reading: one},
		Fanout:  FanoutConfig{Limits: limits, Reading: one},
		Deliver: DeliverConfig{Limits: limits, Reading: one, MaxInFlightPerEndpoint: 128},
		Retry: RetryConfig{
			Limits: limits, PollInterval: 500 * time.Millisecond, HeldInterval: 5 * time.Minute,
			SweepInterval: 3 * time.Second, SweepGrace: 20 * time.Second,
		},
	}
	c.Ingest.Concurrency = 2048
	c.Deliver.Concurrency, c.Deliver.Timeout = 512, 0
	return c
}

// Shards are over how many streams each topic is spread: its reader's number.
func (c Config) Shards() map[string]int {
	return map[string]int{string(Ingested): c.Persist.Shards, string(Persisted): c.Fanout.Shards, string(Due): c.Deliver.Shards}
}

// Validate says in the operator's words what cannot work.
func (c Config) Validate() error {
	faults := errors.Join(
		c.Ingest.validate("ingest"), c.Persist.Limits.validate("persist"), c.Fanout.Limits.validate("fanout"),
		c.Deliver.Limits.validate("deliver"), c.Retry.validate("retry"),
		c.Persist.Reading.validate("persist"), c.Fanout.Reading.validate("fanout"), c.Deliver.Reading.validate("deliver"),
	)
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = errors.Join(faults, fmt.Errorf(format, args...))
		}
	}
	check(c.Ingest.Ack == millrace.AckQueued || c.Ingest.Ack == millrace.AckPersisted, "stages.ingest.ack must be queued or persisted, not %q", c.Ingest.Ack)
	check(c.Ingest.MaxBytes >= 1024 && c.Ingest.MaxBytes <= 64<<20, "stages.ingest.max_bytes must be between 1024 and 67108864, not %d", c.Ingest.MaxBytes)
	check(c.Ingest.Patience >= time.Second, "stages.ingest.patience must be at least 1s, not %s", c.Ingest.Patience)
	check(c.Ingest.PersistAt > 0 && c.Ingest.PersistAt < leaveAt, "stages.ingest.persist_at must be above 0 and below %.2f, where the other stages stop adding, not %.2f", leaveAt, c.Ingest.PersistAt)
	check(c.Deliver.MaxInFlightPerEndpoint >= 1, "stages.deliver.max_in_flight_per_endpoint must be at least 1, not %d", c.Deliver.MaxInFlightPerEndpoint)
	check(c.Retry.PollInterval >= 50*time.Millisecond, "stages.retry.poll_interval must be at least 50ms, not %s", c.Retry.PollInterval)
	check(c.Retry.HeldInterval >= time.Second, "stages.retry.held_interval must be at least 1s, not %s", c.Retry.HeldInterval)
	check(c.Retry.SweepInterval >= 100*time.Millisecond, "stages.retry.sweep_interval must be at least 100ms, not %s", c.Retry.SweepInterval)
	return faults
}

func (l Limits) validate(stage string) error {
	var faults error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = errors.Join(faults, fmt.Errorf("stages."+stage+"."+format, args...))
		}
	}
	check(l.Concurrency >= 1 && l.Concurrency <= 65536, "concurrency must be between 1 and 65536, not %d", l.Concurrency)
	check(l.Timeout >= 0, "timeout must not be negative")
	check(l.MaxRedeliveries >= 1, "max_redeliveries must be at least 1, not %d", l.MaxRedeliveries)
	check(l.MinBackoff > 0 && l.MinBackoff <= l.MaxBackoff, "min_backoff must be above 0 and at most max_backoff (%s), not %s", l.MaxBackoff, l.MinBackoff)
	return faults
}

func (r Reading) validate(stage string) error {
	if r.Shards < 1 || r.Shards > streams.MaxShards {
		return fmt.Errorf("stages.%s.shards must be between 1 and %d, not %d", stage, streams.MaxShards, r.Shards)
	}
	return nil
}
