// Package localstores runs the PostgreSQL and the Redis of `millrace dev`, so
// that nobody has to install or configure either to try Millrace.
//
//	<data>/lock            held (flock) by the process that uses the folder
//	<data>/postgres/       home of PostgreSQL: cluster/ (its data), password, postgres.log, bin/<version>/ where it was fetched
//	<data>/postgres.path   where that home is instead, when millrace runs as root (see account)
//	<data>/redis/          append-only file, redis.conf (made anew at each start), redis.log
//
// Both listen on a free port of the loopback address only, each behind a
// random password. Both end with this process, however it ends; one that
// outlived it all the same is stopped by the next start. They keep what they
// acknowledge: PostgreSQL runs with fsync on, Redis with its append-only file
// synced every second.
package localstores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// Config says where the stores live and how long they may take.
type Config struct {
	// Data is the data folder; it is made where it is missing.
	Data string
	// StateDir is the folder under which PostgreSQL's files are kept when
	// millrace runs as root, because another user must reach them then.
	StateDir string
	// Repository is the Maven repository that PostgreSQL is fetched from,
	// where it is not installed; empty: embedded-postgres' own.
	Repository string
	// FetchTimeout is how long that fetch may take.
	FetchTimeout time.Duration
	// StartTimeout is how long each server may take until it answers, crash
	// recovery included.
	StartTimeout time.Duration
	// Logger hears what is found and started; nil for silence.
	Logger *slog.Logger

	// packaged are the folders, as patterns, where packages put PostgreSQL.
	packaged []string
}

// DefaultConfig is what `millrace dev` runs with.
func DefaultConfig() Config {
	return Config{
		Data:         ".millrace",
		StateDir:     "/var/lib/millrace",
		FetchTimeout: 10 * time.Minute,
		StartTimeout: time.Minute,
		packaged: []string{
			"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", // Debian, Red Hat
			"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
		},
	}
}

// Validate reports all faults at once, in the operator's words.
func (c Config) Validate() error {
	var faults []error
	if c.Data == "" {
		faults = append(faults, errors.New("data: name a folder"))
	}
	if !filepath.IsAbs(c.StateDir) {
		faults = append(faults, fmt.Errorf("state_dir: %q is not an absolute path", c.StateDir))
	}
	if u, err := url.Parse(c.Repository); c.Repository != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
		faults = append(faults, fmt.Errorf("repository: %q is not an http or https URL", c.Repository))
	}
	if c.FetchTimeout <= 0 || c.StartTimeout <= 0 {
		faults = append(faults, errors.New("fetch_timeout, start_timeout: must be longer than 0"))
	}
	return errors.Join(faults...)
}

// Stores are a running PostgreSQL and a running Redis. Stop them.
type Stores struct {
	// PostgresURL is a postgres:// URL for lib/pq, password included.
	PostgresURL millrace.Sensitive
	// RedisURL is a redis:// URL for go-redis, password included.
	RedisURL millrace.Sensitive
	// RedisInMemory says that Redis lives in this process and forgets with
	// it: nothing may be acknowledged before PostgreSQL has it.
	RedisInMemory bool
	// Notes tell a person what was found and where things are, a sentence
	// each.
	Notes []string

	locks    []*lock
	postgres *process
	redis    *process
	memory   *memory
	died     chan error
	watchers sync.WaitGroup
	stopping chan struct{}
	stop     sync.Once
	stopErr  error
}

// Start brings both stores up, side by side, and returns when they answer.
// Its errors are one sentence for the person who started `millrace dev`.
func Start(ctx context.Context, cfg Config) (*Stores, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Stores{died: make(chan error, 2), stopping: make(chan struct{})}
	if err := s.start(ctx, cfg); err != nil {
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		_ = s.Stop(leave) // the first error is the one to tell
		return nil, err
	}
	s.watch(s.postgres)
	s.watch(s.redis)
	return s, nil
}

func (s *Stores) start(ctx context.Context, cfg Config) error {
	data, err := openFolder(cfg.Data)
	if err != nil {
		return err
	}
	s.locks = append(s.locks, data.lock)
	db, err := placePostgres(data, cfg)
	if err != nil {
		return err
	}
	s.locks = append(s.locks, db.lock)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var dbNote, redisNote string
	ended := make(chan error, 2)
	go func() {
		var err error
		s.postgres, s.PostgresURL, dbNote, err = db.start(ctx, cfg)
		ended <- err
	}()
	go func() {
		var err error
		redisNote, err = s.startRedis(ctx, data, cfg)
		ended <- err
	}()
	for range 2 {
		if e := <-ended; e != nil && err == nil {
			err = e
			cancel() // the other need not come up any more
		}
	}
	s.Notes = []string{dbNote, redisNote}
	return err
}

// Died delivers an error when a store ends without having been stopped.
func (s *Stores) Died() <-chan error { return s.died }

func (s *Stores) watch(p *process) {
	if p == nil {
		return
	}
	s.watchers.Go(func() {
		select {
		case <-s.stopping:
		case <-p.done:
			s.died <- fmt.Errorf("%s ended by itself: %s", p.name, p.complaint())
		}
	})
}

// Stop ends both stores, side by side and cleanly. When ctx ends first they
// are ended the hard way, which loses nothing that was committed. Stopping
// twice is stopping once.
func (s *Stores) Stop(ctx context.Context) error {
	s.stop.Do(func() { s.stopErr = s.stopAll(ctx) })
	return s.stopErr
}

func (s *Stores) stopAll(ctx context.Context) error {
	close(s.stopping)
	s.watchers.Wait()
	ended := make(chan error, 2)
	for _, p := range []*process{s.postgres, s.redis} {
		go func() {
			if p == nil {
				ended <- nil
				return
			}
			ended <- p.stop(ctx)
		}()
	}
	err := errors.Join(<-ended, <-ended)
	if s.memory != nil {
		s.memory.close()
	}
	for _, l := range s.locks {
		err = errors.Join(err, l.release())
	}
	return err
}
