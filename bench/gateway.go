package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	_ "github.com/lib/pq" // the driver that database/sql opens
	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/localstores"
)

// gateway is Millrace under load: server, agent and egress in this process,
// with a PostgreSQL and a Redis of its own.
type gateway struct {
	access   app.DevAccess
	postgres *sql.DB
	redis    *redis.Client
	stop     func() error
}

// startGateway prepares a data folder whose PostgreSQL counts statements, and
// runs the gateway on it.
func startGateway(ctx context.Context, data string, log io.Writer) (*gateway, error) {
	if err := countStatements(ctx, data); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ready, done := make(chan app.DevAccess, 1), make(chan error, 1)
	stores := make(chan *localstores.Stores, 1)
	config := app.DefaultConfig()
	go func() {
		done <- app.RunDev(ctx, config, app.Dev{
			Data: data, Listen: "127.0.0.1:0", Notes: func(string) {}, Stores: func(s *localstores.Stores) { stores <- s },
			Ready: func(a app.DevAccess) { ready <- a },
		}, app.Options{Version: "bench", Logger: app.NewLogger(app.LogConfig{Level: "info", Format: "json"}, log)})
	}()
	g := &gateway{stop: func() error { cancel(); return <-done }}
	select {
	case g.access = <-ready:
	case err := <-done:
		cancel()
		return nil, fmt.Errorf("start the gateway: %w", err)
	}
	if err := g.connect(<-stores); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

// countStatements switches pg_stat_statements on, which needs a restart.
func countStatements(ctx context.Context, data string) error {
	c := localstores.DefaultConfig()
	c.Data = data
	stores, err := localstores.Start(ctx, c)
	if err != nil {
		return err
	}
	db, err := sql.Open("postgres", stores.PostgresURL.Reveal())
	if err == nil {
		_, err = db.ExecContext(ctx, `ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`)
		err = errors.Join(err, db.Close())
	}
	stop, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return errors.Join(err, stores.Stop(stop))
}

func (g *gateway) connect(stores *localstores.Stores) error {
	var err error
	if g.postgres, err = sql.Open("postgres", stores.PostgresURL.Reveal()); err != nil {
		return err
	}
	if _, err = g.postgres.Exec(`CREATE EXTENSION IF NOT EXISTS pg_stat_statements`); err != nil {
		return fmt.Errorf("pg_stat_statements: %w", err)
	}
	options, err := redis.ParseURL(stores.RedisURL.Reveal())
	if err != nil {
		return err
	}
	g.redis = redis.NewClient(options)
	return nil
}

// cost is how much the stores have done.
type cost struct {
	statements, commands int64
}

// watched says which Redis commands are the benchmark's own.
func watched(name string) bool { return name != "info" && name != "config|resetstat" }

func (g *gateway) resetCost(ctx context.Context) error {
	_, err := g.postgres.ExecContext(ctx, `SELECT pg_stat_statements_reset()`)
	return errors.Join(err, g.redis.ConfigResetStat(ctx).Err())
}

func (g *gateway) cost(ctx context.Context) (cost, error) {
	var c cost
	err := g.postgres.QueryRowContext(ctx,
		`SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'`).Scan(&c.statements)
	if err != nil {
		return c, err
	}
	stats, err := g.redis.Info(ctx, "commandstats").Result()
	for line := range strings.Lines(stats) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		var calls int64
		if ok && watched(name) {
			_, _ = fmt.Sscanf(rest, "%d", &calls)
			c.commands += calls
		}
	}
	return c, err
}

func (g *gateway) close() error {
	return errors.Join(g.postgres.Close(), g.redis.Close(), g.stop())
}
