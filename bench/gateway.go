package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/lib/pq" // the driver that database/sql opens
	"github.com/redis/go-redis/v9"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/localstores"
)

// gateway is a Millrace of the benchmark's own: server, agent and egress, a
// process each, with a PostgreSQL and a Redis of their own, on free ports, in
// a folder that goes with it.
type gateway struct {
	access   app.DevAccess // by an instance key
	folder   string
	stores   *localstores.Stores
	postgres *sql.DB
	redis    *redis.Client
	pids     map[string]int // of the stores
	roles    []*process     // in the order of their start
	metrics  map[string]string
}

// setup says which program runs and with what.
type setup struct {
	binary string
	args   []string // of each role, such as --set stages.deliver.concurrency=1024
}

const (
	serverRole, agentRole, egressRole = "server", "agent", "egress"
	postgresName, redisName           = "postgres", "redis"
)

// newGateway starts all of it.
func newGateway(ctx context.Context, s setup) (*gateway, error) {
	folder, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return nil, err
	}
	g := &gateway{folder: folder, pids: map[string]int{}, metrics: map[string]string{}}
	if err := g.start(ctx, s); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *gateway) start(ctx context.Context, s setup) error {
	if err := g.startStores(ctx); err != nil {
		return err
	}
	c := app.DefaultConfig()
	c.Postgres.URL, c.Redis.URL = g.stores.PostgresURL, g.stores.RedisURL
	c.Secrets.Keys = []millrace.Sensitive{millrace.Sensitive(app.NewRingKey())}
	if _, err := app.Migrate(ctx, c, app.Up); err != nil {
		return err
	}
	key, err := app.CreateInstanceKey(ctx, c, app.NewKey{Name: "bench"})
	if err != nil {
		return err
	}
	project, err := app.CreateProject(ctx, c, "bench")
	if err != nil {
		return err
	}
	g.access = app.DevAccess{ProjectID: project.ProjectID, APIKey: key.APIKey}
	return g.startRoles(ctx, s, c)
}

// startStores starts PostgreSQL, with what counts its statements, and Redis.
func (g *gateway) startStores(ctx context.Context) error {
	c := localstores.DefaultConfig()
	c.Data, c.StateDir = filepath.Join(g.folder, "data"), filepath.Join(g.folder, "state")
	// As root, PostgreSQL runs as another user, who must get to its files.
	if err := os.Chmod(g.folder, 0o711); err != nil {
		return err
	}
	if err := countStatements(ctx, c); err != nil {
		return err
	}
	var err error
	if g.stores, err = localstores.Start(ctx, c); err != nil {
		return err
	}
	if g.stores.RedisInMemory {
		return errors.New("the benchmark needs redis-server 6.2 or newer on PATH")
	}
	if g.postgres, err = sql.Open("postgres", g.stores.PostgresURL.Reveal()); err != nil {
		return err
	}
	g.postgres.SetMaxOpenConns(1)
	options, err := redis.ParseURL(g.stores.RedisURL.Reveal())
	if err != nil {
		return err
	}
	g.redis = redis.NewClient(options)
	return g.findStores(ctx)
}

// countStatements switches pg_stat_statements on, which needs a restart.
func countStatements(ctx context.Context, c localstores.Config) error {
	stores, err := localstores.Start(ctx, c)
	if err != nil {
		return err
	}
	db, err := sql.Open("postgres", stores.PostgresURL.Reveal())
	if err == nil {
		_, err = db.ExecContext(ctx, `ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`)
		err = errors.Join(err, db.Close())
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	return errors.Join(err, stores.Stop(stop))
}

// findStores finds the processes of the stores by asking them.
func (g *gateway) findStores(ctx context.Context) error {
	if _, err := g.postgres.ExecContext(ctx, `CREATE EXTENSION IF NOT EXISTS pg_stat_statements`); err != nil {
		return fmt.Errorf("pg_stat_statements: %w", err)
	}
	var backend int
	if err := g.postgres.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
		return err
	}
	var err error
	if g.pids[postgresName], err = parent(backend); err != nil {
		return err
	}
	info, err := g.redis.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(info, "process_id:")
	g.pids[redisName], err = strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
	return err
}

// startRoles runs the egress, the agent and the server.
func (g *gateway) startRoles(ctx context.Context, s setup, c app.Config) error {
	free, err := freeAddresses(5)
	if err != nil {
		return err
	}
	g.access.URL = "http://" + free[0]
	env := []string{
		"MILLRACE_CONFIG=", "MILLRACE_POSTGRES_URL=" + c.Postgres.URL.Reveal(), "MILLRACE_REDIS_URL=" + c.Redis.URL.Reveal(),
		"MILLRACE_SECRETS_KEYS=" + c.Secrets.Keys[0].Reveal(), "MILLRACE_SERVER_LISTEN=" + free[0],
		"MILLRACE_EGRESS_LISTEN=" + free[1], "MILLRACE_EGRESS_PROXIES=http://" + free[1], "MILLRACE_EGRESS_ALLOW_LOOPBACK=true",
		"MILLRACE_EGRESS_TOKEN=" + app.NewRingKey(),
	}
	for i, role := range []string{egressRole, agentRole, serverRole} {
		at := free[2+i]
		g.metrics[role] = "http://" + at + "/metrics"
		p := &process{
			name: role, binary: s.binary, args: append([]string{role}, s.args...), log: logFile(g.folder, role),
			env: append(env[:len(env):len(env)], "MILLRACE_METRICS_LISTEN="+at), answers: "http://" + at + "/readyz",
		}
		if err := p.start(ctx); err != nil {
			return err
		}
		g.roles = append(g.roles, p)
	}
	return nil
}

func (g *gateway) role(name string) *process {
	for _, p := range g.roles {
		if p.name == name {
			return p
		}
	}
	return nil
}

// close stops all of it, the server first, and removes the folder.
func (g *gateway) close() error {
	var err error
	for i := len(g.roles) - 1; i >= 0; i-- {
		err = errors.Join(err, g.roles[i].stop())
	}
	if g.postgres != nil {
		err = errors.Join(err, g.postgres.Close())
	}
	if g.redis != nil {
		err = errors.Join(err, g.redis.Close())
	}
	if g.stores != nil {
		stop, cancel := context.WithTimeout(context.Background(), stopPatience)
		defer cancel()
		err = errors.Join(err, g.stores.Stop(stop))
	}
	return errors.Join(err, os.RemoveAll(g.folder))
}

// settle waits until nothing is on its way between the stages.
func (g *gateway) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		m, err := scrape(ctx, g.metrics[agentRole])
		if err != nil {
			return err
		}
		if m.sum("millrace_topic_lag")+m.sum("millrace_topic_pending") == 0 {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("messages stay on their way: %w", context.Cause(ctx))
		}
	}
}
