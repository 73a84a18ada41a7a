// Package app wires the roles together: it is the only package that knows
// everybody.
//
//	          clients                                   endpoints
//	             │                                          ▲
//	server: httpapi ─▶ sources.HTTP ─▶ ingest               │
//	             │            │           │              egress
//	             │            │      Redis Streams          ▲
//	             ▼            ▼           │                 │
//	         PostgreSQL ◀── store ◀── persist·fanout·deliver·retry ─▶ sinks
//	                                           agent
package app

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
	"github.com/millrace-dev/millrace/pipeline"
	"github.com/millrace-dev/millrace/sinks"
	"github.com/millrace-dev/millrace/store"
)

// Config is the whole configuration; config.example.yml is its reference.
type Config struct {
	Postgres store.Config           `koanf:"postgres"`
	Redis    RedisConfig            `koanf:"redis"`
	Secrets  SecretsConfig          `koanf:"secrets"`
	Server   ServerConfig           `koanf:"server"`
	Stages   pipeline.Config        `koanf:"stages"`
	Streams  pipeline.StreamsConfig `koanf:"streams"`
	Webhook  sinks.Config           `koanf:"webhook"`
	Egress   EgressConfig           `koanf:"egress"`
	Metrics  MetricsConfig          `koanf:"metrics"`
	Log      LogConfig              `koanf:"log"`
	Tracing  TracingConfig          `koanf:"tracing"`
}

// RedisConfig says how Redis is reached: one address, several of a cluster,
// or Sentinels and the name of their master.
type RedisConfig struct {
	// URL is redis://[user:password@]host:port/db, or rediss:// for TLS.
	// Several hosts separated by commas are a cluster, or, with
	// sentinel_master, the Sentinels.
	URL            millrace.Sensitive `koanf:"url"`
	SentinelMaster string             `koanf:"sentinel_master"`
	// SentinelPassword is the Sentinels' own; that of the URL is the master's.
	SentinelPassword millrace.Sensitive `koanf:"sentinel_password"`
	// CAFile has the authorities that rediss:// trusts, in PEM; empty: the
	// system's.
	CAFile string `koanf:"ca_file"`
	// Pool bounds the connections of one process but for the blocking reads.
	Pool int `koanf:"pool"`
}

// SecretsConfig is the key ring that seals secrets at rest and keys the
// hashes of API keys.
type SecretsConfig struct {
	// Keys are "id:base64 of 32 bytes"; the first seals, all open.
	Keys []millrace.Sensitive `koanf:"keys"`
}

// ServerConfig is the HTTP server of the API.
type ServerConfig struct {
	Listen  string `koanf:"listen"`
	TLSCert string `koanf:"tls_cert"`
	TLSKey  string `koanf:"tls_key"`
	// ReadHeaderTimeout, ReadTimeout, WriteTimeout and IdleTimeout bound a
	// client's connection.
	ReadHeaderTimeout time.Duration `koanf:"read_header_timeout"`
	ReadTimeout       time.Duration `koanf:"read_timeout"`
	WriteTimeout      time.Duration `koanf:"write_timeout"`
	IdleTimeout       time.Duration `koanf:"idle_timeout"`
	// MaxHeaderBytes bounds a request's header.
	MaxHeaderBytes int `koanf:"max_header_bytes"`
	// ShutdownTimeout is how long requests under way may take to finish.
	ShutdownTimeout time.Duration `koanf:"shutdown_timeout"`
}

// EgressConfig is the proxy's own configuration, and which proxies the agent
// uses.
type EgressConfig struct {
	egress.Config `koanf:",squash"`
	// Proxies are the CONNECT proxies that deliveries leave through, such as
	// http://egress:4750.
	Proxies []string `koanf:"proxies"`
}

// MetricsConfig is where the metrics and health of a role are served.
type MetricsConfig struct {
	// Listen is an address of their own, without authentication; empty: only
	// the server serves them, to instance keys.
	Listen string `koanf:"listen"`
}

// LogConfig is how the roles log.
type LogConfig struct {
	// Level is debug, info, warn or error.
	Level string `koanf:"level"`
	// Format is text or json.
	Format string `koanf:"format"`
}

// TracingConfig sends OpenTelemetry traces.
type TracingConfig struct {
	// Endpoint is an OTLP/HTTP collector, such as http://collector:4318;
	// empty: no traces.
	Endpoint string `koanf:"endpoint"`
	// Sample is the share of new traces that are kept, 0 to 1.
	Sample float64 `koanf:"sample"`
}

// DefaultConfig is a gateway on one machine.
func DefaultConfig() Config {
	c := Config{
		Postgres: store.DefaultConfig(),
		Redis:    RedisConfig{URL: "redis://127.0.0.1:6379/0", Pool: 16},
		Server: ServerConfig{
			Listen: "127.0.0.1:5005", ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second,
			IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ShutdownTimeout: 20 * time.Second,
		},
		Stages:  pipeline.DefaultConfig(),
		Streams: pipeline.DefaultStreamsConfig(),
		Webhook: sinks.DefaultConfig(),
		Egress:  EgressConfig{Config: egress.DefaultConfig(), Proxies: []string{"http://127.0.0.1:4750"}},
		Log:     LogConfig{Level: "info", Format: "text"},
		Tracing: TracingConfig{Sample: 1},
	}
	c.Postgres.URL = "postgres://millrace@127.0.0.1:5432/millrace?sslmode=disable"
	return c
}

// Validate says all that cannot work, in the operator's words. What only the
// stores can tell is checked when they are reached.
func (c Config) Validate() error {
	return errors.Join(
		c.Postgres.Validate(), c.Redis.validate(), c.Secrets.validate(), c.Server.validate(), c.Stages.Validate(), c.Streams.Validate(),
		c.Webhook.Validate(), c.Egress.validate(), c.Log.validate(), c.Tracing.validate(), c.pairs(),
	)
}

// pairs refuses values that are fine alone and unsafe together.
func (c Config) pairs() error {
	var faults error
	span := millrace.DefaultStrategy().Span()
	if c.Postgres.IdempotencyWindow < span {
		faults = errors.Join(faults, fmt.Errorf(
			"postgres.idempotency_window (%s) must not be shorter than the default retry policy's span (%s): a key would be forgotten while its event is still being tried", c.Postgres.IdempotencyWindow, span))
	}
	if kept := c.Postgres.Retention; kept != 0 && kept < c.Postgres.IdempotencyWindow {
		faults = errors.Join(faults, fmt.Errorf(
			"postgres.retention (%s) must not be shorter than postgres.idempotency_window (%s): a key would name an event that is gone", kept, c.Postgres.IdempotencyWindow))
	}
	if kept := c.Postgres.Retention; kept != 0 && kept < span {
		faults = errors.Join(faults, fmt.Errorf(
			"postgres.retention (%s) must not be shorter than the default retry policy's span (%s): an event would be given up while it is still being tried", kept, span))
	}
	if longest := c.Postgres.StatementTimeout + c.Streams.PublishTimeout; c.Stages.Retry.SweepGrace <= longest {
		faults = errors.Join(faults, fmt.Errorf(
			"stages.retry.sweep_grace (%s) must exceed postgres.statement_timeout and streams.publish_timeout together (%s): what is on its way would be taken for lost", c.Stages.Retry.SweepGrace, longest))
	}
	return faults
}

func (c RedisConfig) validate() error {
	var faults error
	u, err := url.Parse(c.URL.Reveal())
	if err != nil || (u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix") {
		faults = errors.Join(faults, errors.New("redis.url must be a URL such as redis://127.0.0.1:6379/0"))
	} else if _, err := c.options(); err != nil {
		faults = errors.Join(faults, err)
	}
	if c.Pool < 2 {
		faults = errors.Join(faults, fmt.Errorf("redis.pool must be at least 2, not %d", c.Pool))
	}
	return faults
}

func (c SecretsConfig) validate() error {
	if len(c.Keys) == 0 {
		return errors.New("secrets.keys needs at least one key, such as \"k1:\" and the base64 of 32 random bytes (millrace key-ring new makes one)")
	}
	if _, err := c.ring(); err != nil {
		return fmt.Errorf("secrets.keys: %w", err)
	}
	return nil
}

func (c ServerConfig) validate() error {
	var faults error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		faults = errors.Join(faults, fmt.Errorf("server.listen: %q is not an address such as 127.0.0.1:5005", c.Listen))
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		faults = errors.Join(faults, errors.New("server.tls_cert, server.tls_key: set both, or neither"))
	}
	for name, d := range map[string]time.Duration{
		"read_header_timeout": c.ReadHeaderTimeout, "read_timeout": c.ReadTimeout, "write_timeout": c.WriteTimeout,
		"idle_timeout": c.IdleTimeout, "shutdown_timeout": c.ShutdownTimeout,
	} {
		if d <= 0 {
			faults = errors.Join(faults, fmt.Errorf("server.%s must be above 0, not %s", name, d))
		}
	}
	if c.MaxHeaderBytes < 4096 {
		faults = errors.Join(faults, fmt.Errorf("server.max_header_bytes must be at least 4096, not %d", c.MaxHeaderBytes))
	}
	return faults
}

func (c EgressConfig) validate() error {
	faults := c.Config.Validate()
	if len(c.Proxies) == 0 {
		faults = errors.Join(faults, errors.New("egress.proxies needs at least one proxy, such as http://127.0.0.1:4750: all deliveries leave through it"))
	}
	for _, p := range c.Proxies {
		if u, err := url.Parse(p); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			faults = errors.Join(faults, fmt.Errorf("egress.proxies: %q is not a URL such as http://127.0.0.1:4750", p))
		}
	}
	return faults
}

func (c LogConfig) validate() error {
	var faults error
	if _, ok := levels[c.Level]; !ok {
		faults = errors.Join(faults, fmt.Errorf("log.level must be debug, info, warn or error, not %q", c.Level))
	}
	if c.Format != "text" && c.Format != "json" {
		faults = errors.Join(faults, fmt.Errorf("log.format must be text or json, not %q", c.Format))
	}
	return faults
}

func (c TracingConfig) validate() error {
	var faults error
	if c.Sample < 0 || c.Sample > 1 {
		faults = errors.Join(faults, fmt.Errorf("tracing.sample must be between 0 and 1, not %g", c.Sample))
	}
	if u, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || u.Host == "") {
		faults = errors.Join(faults, fmt.Errorf("tracing.endpoint: %q is not a URL such as http://collector:4318", c.Endpoint))
	}
	return faults
}

// ring makes the key ring.
func (c SecretsConfig) ring() (*store.Keyring, error) {
	keys := make([]string, len(c.Keys))
	for i, k := range c.Keys {
		keys[i] = k.Reveal()
	}
	return store.NewKeyring(keys)
}
