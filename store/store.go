// Package store keeps the event log, the deliveries with their facts, and
// the configuration in PostgreSQL. Appends on the hot path are group
// committed (see batcher); everything written can be written again.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// Config says how to reach PostgreSQL and how to write to it.
type Config struct {
	// URL is the database: a postgres:// URL or a key=value string. A
	// search_path in it picks the schema.
	URL millrace.Sensitive `koanf:"url"`
	// ReadReplicas are streaming replicas of that database, a URL each, for the
	// API's reads; without a search_path they have the primary's.
	ReadReplicas []millrace.Sensitive `koanf:"read_replicas"`
	// MaxReplicaLag is how long a replica may take to have what the primary
	// has; one that takes longer is not read from until it has caught up.
	MaxReplicaLag time.Duration `koanf:"max_replica_lag"`
	// Application names these connections in pg_stat_activity.
	Application string `koanf:"-"`
	// MaxReadConns bounds the pool of reads and transactions, and that of the
	// reads from each replica.
	MaxReadConns int `koanf:"max_read_conns"`
	// Writers is how many connections each kind of append has for itself.
	Writers int `koanf:"writers"`
	// FlushRows is the most rows that one statement appends.
	FlushRows int `koanf:"flush_rows"`
	// FlushInterval is how long, under load only, a flush waits after the
	// start of the one before, so that statements carry more rows.
	FlushInterval time.Duration `koanf:"flush_interval"`
	// StatementTimeout bounds each statement, by PostgreSQL itself.
	StatementTimeout time.Duration `koanf:"statement_timeout"`
	// ConnectTimeout bounds the making of a connection.
	ConnectTimeout time.Duration `koanf:"connect_timeout"`
	// IdempotencyWindow is how long an idempotency key is remembered.
	IdempotencyWindow time.Duration `koanf:"idempotency_window"`
	// Retention is how long events are kept with all that belongs to them;
	// 0: for ever.
	Retention time.Duration `koanf:"retention"`
	// InlinePayloadMax is the largest payload, in bytes, that waits in Redis;
	// larger ones are stored first and travel by reference.
	InlinePayloadMax int `koanf:"inline_payload_max"`
}

// DefaultConfig is what a store has that sets nothing but its URL.
func DefaultConfig() Config {
	return Config{
		MaxReplicaLag:     100 * time.Millisecond,
		Application:       "millrace",
		MaxReadConns:      16,
		Writers:           2,
		FlushRows:         512,
		FlushInterval:     30 * time.Millisecond,
		StatementTimeout:  10 * time.Second,
		ConnectTimeout:    5 * time.Second,
		IdempotencyWindow: 7 * 24 * time.Hour,
		Retention:         30 * 24 * time.Hour,
		InlinePayloadMax:  64 << 10,
	}
}

// Connections is the most connections that a store of this configuration
// opens to the primary, the leader's included.
func (c Config) Connections() int { return c.MaxReadConns + c.writers() + c.Writers + 1 }

// Validate says in the operator's words what is wrong with a configuration.
func (c Config) Validate() error {
	var faults []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	refuse(c.URL == "", "postgres.url is required")
	if _, err := c.replicas(); c.URL != "" && err != nil {
		faults = append(faults, err)
	}
	refuse(c.MaxReplicaLag < time.Millisecond || c.MaxReplicaLag > 10*time.Second, "postgres.max_replica_lag must be between 1ms and 10s, not %s", c.MaxReplicaLag)
	refuse(c.MaxReadConns < 2, "postgres.max_read_conns must be at least 2, not %d", c.MaxReadConns)
	refuse(c.Writers < 1 || c.Writers > 16, "postgres.writers must be between 1 and 16, not %d", c.Writers)
	refuse(c.FlushRows < 1 || c.FlushRows > 4096, "postgres.flush_rows must be between 1 and 4096, not %d", c.FlushRows)
	refuse(c.FlushInterval < 0 || c.FlushInterval > time.Second, "postgres.flush_interval must be between 0 and 1s, not %s", c.FlushInterval)
	refuse(c.StatementTimeout < time.Second || c.StatementTimeout > time.Minute, "postgres.statement_timeout must be between 1s and 1m, not %s", c.StatementTimeout)
	refuse(c.ConnectTimeout < time.Second || c.ConnectTimeout > time.Minute, "postgres.connect_timeout must be between 1s and 1m, not %s", c.ConnectTimeout)
	refuse(c.IdempotencyWindow < time.Minute, "postgres.idempotency_window must be at least 1m, not %s", c.IdempotencyWindow)
	refuse(c.Retention != 0 && c.Retention < 24*time.Hour, "postgres.retention must be at least 24h, or 0 to keep everything, not %s", c.Retention)
	refuse(c.InlinePayloadMax < 0 || c.InlinePayloadMax > 1<<20, "postgres.inline_payload_max must be between 0 and 1 MiB, not %d bytes", c.InlinePayloadMax)
	return errors.Join(faults...)
}

// Store is PostgreSQL as Millrace uses it.
type Store struct {
	config Config
	// reads serves reads and transactions. Its connections send parameters in
	// binary (one round trip each): a []byte argument must be a bytea, so JSON
	// is passed as a string.
	reads *sqlx.DB
	// writes are the appenders' connections, theirs alone, but for the claims,
	// which have their own.
	writes *prepared
	claims *prepared
	// replicas serve the API's reads instead of reads, where there are some.
	replicas *replicas
	appends  appends
	ring     *Keyring
	keys     *keyCache
	masks    *answerCache[string, millrace.Source]

	// OnChange is told of each project whose configuration was changed, after
	// the commit; set before the store is used, and quick. May be nil.
	OnChange func(project millrace.ID)
	// OnReuse is told of each event whose broker's coordinates stood for
	// another message before, that of the event first: a topic was recreated.
	// Set before the store is used, and quick. May be nil.
	OnReuse func(e millrace.Event, first millrace.ID)
}

// Open connects to PostgreSQL and refuses one that is too old, and a schema
// that this program does not know (ErrSchema). The ring opens what is
// encrypted at rest.
func Open(ctx context.Context, c Config, ring *Keyring) (*Store, error) {
	s, err := OpenUnchecked(c, ring)
	if err != nil {
		return nil, err
	}
	err = checkServer(ctx, s.reads)
	if err == nil {
		err = checkSchema(ctx, s.reads)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenUnchecked makes a store without looking at the database: connections
// are made when they are needed.
func OpenUnchecked(c Config, ring *Keyring) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	reads, err := c.pool(c.MaxReadConns, readParameters())
	if err != nil {
		return nil, err
	}
	writes, err := c.pool(c.writers(), appendParameters())
	if err != nil {
		return nil, errors.Join(err, reads.Close())
	}
	claims, err := c.pool(c.Writers, claimParameters())
	if err != nil {
		return nil, errors.Join(err, reads.Close(), writes.Close())
	}
	copies, err := openReplicas(c, reads)
	if err != nil {
		return nil, errors.Join(err, reads.Close(), writes.Close(), claims.Close())
	}
	s := &Store{config: c, reads: reads, writes: newPrepared(writes), claims: newPrepared(claims), replicas: copies, ring: ring, keys: newKeyCache(), masks: newAnswerCache[string, millrace.Source](maskTTL, cachedMasks)}
	s.appends = s.newAppends()
	return s, nil
}

// Close lets the appends under way finish and closes all connections.
func (s *Store) Close() error {
	s.keys.close()
	s.appends.close()
	s.writes.close()
	s.claims.close()
	return errors.Join(s.replicas.close(), s.reads.Close())
}

// Ping tells whether PostgreSQL answers.
func (s *Store) Ping(ctx context.Context) error {
	return mapError(s.reads.PingContext(ctx), "ping PostgreSQL")
}

// Now is PostgreSQL's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := s.reads.GetContext(ctx, &now, `SELECT clock_timestamp()`)
	return now.UTC(), mapError(err, "read PostgreSQL's clock")
}

// GrantedConnections is how many connections PostgreSQL grants in all to
// programs that are no superusers.
func (s *Store) GrantedConnections(ctx context.Context) (int, error) {
	var n int
	err := s.reads.GetContext(ctx, &n,
		`SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int`)
	return n, mapError(err, "read PostgreSQL's max_connections")
}

// tx runs a function in one transaction. A deadlock or a serialization
// failure is tried again, so the function may run more than once.
func (s *Store) tx(ctx context.Context, run func(tx *sqlx.Tx) error) error {
	const tries = 3
	var err error
	for range tries {
		if err = tryTx(ctx, s.reads, nil, run); !isRollback(err) {
			return err
		}
	}
	return err
}

// tryTx runs a function in one transaction, once; nil options: an ordinary one.
func tryTx(ctx context.Context, on reader, options *sql.TxOptions, run func(tx *sqlx.Tx) error) error {
	tx, err := on.BeginTxx(ctx, options)
	if err != nil {
		return mapError(err, "begin")
	}
	if err := run(tx); err != nil {
		// What the rollback says adds nothing: the connection is gone or the
		// transaction is.
		_ = tx.Rollback()
		return err
	}
	return mapError(tx.Commit(), "commit")
}
