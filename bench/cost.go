package bench

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// reading is what a gateway has used until a moment; two of them are a cost.
type reading struct {
	statements, commands   float64
	tableBytes, redisBytes float64
	allocations            float64
	cpu                    map[string]time.Duration // by process
	flushes, rows          map[string]float64       // by kind of append
	peak                   map[string]int64         // bytes, by process; since the reading before
}

// Cost is what an event cost, as far as it could be told.
type Cost struct {
	SQL         float64            `json:"sql_per_event"`
	Redis       float64            `json:"redis_per_event"`
	Allocations float64            `json:"allocations_per_event"`
	TableBytes  float64            `json:"postgres_bytes_per_event"`
	RedisBytes  float64            `json:"redis_bytes_per_event"`
	CPU         map[string]float64 `json:"cpu_s_per_1000,omitempty"` // by process
	Batches     map[string]float64 `json:"rows_per_statement,omitempty"`
	PeakMB      map[string]float64 `json:"peak_mb,omitempty"`
}

// loadName is this process: generator and receiver.
const loadName = "load"

// since is the cost of so many events between two readings.
func (r reading) since(before reading, events int) Cost {
	n := max(float64(events), 1)
	c := Cost{
		SQL: (r.statements - before.statements) / n, Redis: (r.commands - before.commands) / n, Allocations: (r.allocations - before.allocations) / n,
		TableBytes: (r.tableBytes - before.tableBytes) / n, RedisBytes: max(r.redisBytes-before.redisBytes, 0) / n, // it may give back more than it took
		CPU: map[string]float64{}, Batches: map[string]float64{}, PeakMB: map[string]float64{},
	}
	for name, spent := range r.cpu {
		c.CPU[name] = (spent - before.cpu[name]).Seconds() * 1000 / n
	}
	for kind, rows := range r.rows {
		if flushes := r.flushes[kind] - before.flushes[kind]; flushes > 0 {
			c.Batches[kind] = (rows - before.rows[kind]) / flushes
		}
	}
	for name, bytes := range r.peak {
		c.PeakMB[name] = float64(bytes) / (1 << 20)
	}
	return c
}

// gatewayCPU is that of all but the load: the gateway's processes and stores.
func (c Cost) gatewayCPU() (all float64) {
	for name, s := range c.CPU {
		if name != loadName {
			all += s
		}
	}
	return all
}

// read reads what the processes, the stores and the metrics say.
func (g *gateway) read(ctx context.Context) (reading, error) {
	r := newReading()
	if err := g.readStores(ctx, &r); err != nil {
		return r, err
	}
	for role, url := range g.metrics {
		if g.role(role).os == nil {
			continue // it is stopped for a while
		}
		m, err := scrape(ctx, url)
		if err != nil {
			return r, err
		}
		r.allocations += m["go_memstats_mallocs_total"]
		m.byLabel("millrace_store_flushes_total", r.flushes)
		m.byLabel("millrace_store_rows_total", r.rows)
	}
	return r, g.readProcesses(&r)
}

func (g *gateway) readProcesses(r *reading) error {
	for _, p := range g.roles {
		if err := r.process(p); err != nil {
			return err
		}
	}
	for name, pid := range g.pids {
		if err := r.take(name, pid); err != nil {
			return err
		}
	}
	return nil
}

// readStores counts statements and commands but for the benchmark's own.
func (g *gateway) readStores(ctx context.Context, r *reading) error {
	err := g.postgres.QueryRowContext(ctx, `SELECT /* by the benchmark */
		(SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query NOT LIKE '%by the benchmark%'),
		(SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema'))`).Scan(&r.statements, &r.tableBytes)
	if err != nil {
		return fmt.Errorf("read what PostgreSQL did: %w", err)
	}
	info, err := g.redis.InfoMap(ctx, "commandstats", "memory").Result()
	if err != nil {
		return fmt.Errorf("read what Redis did: %w", err)
	}
	for name, value := range info["Commandstats"] {
		var calls float64
		if _, err := fmt.Sscanf(value, "calls=%g,", &calls); err == nil && name != "cmdstat_info" {
			r.commands += calls
		}
	}
	r.redisBytes, err = strconv.ParseFloat(info["Memory"]["used_memory"], 64)
	return err
}

func newReading() reading {
	r := reading{cpu: map[string]time.Duration{}, flushes: map[string]float64{}, rows: map[string]float64{}, peak: map[string]int64{}}
	if measured {
		r.cpu[loadName] = ownCPU()
	}
	return r
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// process adds a process that may have been started anew.
func (r *reading) process(p *process) error {
	r.cpu[p.name] = p.spent
	if p.os == nil {
		return nil
	}
	return r.take(p.name, p.os.Pid)
}

// take adds a process, and lets its peak begin anew.
func (r *reading) take(name string, pid int) error {
	if !measured {
		return nil
	}
	spent, err := cpu(pid)
	if err != nil {
		return fmt.Errorf("read the processor time of %s: %w", name, err)
	}
	r.cpu[name] += spent
	if r.peak[name], err = memory(pid); err != nil {
		return fmt.Errorf("read the memory of %s: %w", name, err)
	}
	if err := forgetPeak(pid); err != nil && !os.IsPermission(err) {
		return fmt.Errorf("reset the peak memory of %s: %w", name, err)
	}
	return nil
}

// series are a role's metrics, by name and labels as they are written.
type series map[string]float64

// scrape reads a role's metrics.
func scrape(ctx context.Context, url string) (series, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	all, lines := series{}, bufio.NewScanner(answer.Body)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			all[line[:at]] += v
		}
	}
	return all, lines.Err()
}

// sum adds up a metric over all its labels.
func (s series) sum(name string) (all float64) {
	for key, v := range s {
		if key == name || strings.HasPrefix(key, name+"{") {
			all += v
		}
	}
	return all
}

// byLabel adds a metric with one label to a table by that label's value.
func (s series) byLabel(name string, to map[string]float64) {
	for key := range maps.Keys(s) {
		if rest, ok := strings.CutPrefix(key, name+"{"); ok {
			_, value, _ := strings.Cut(rest, `="`)
			to[strings.TrimSuffix(value, `"}`)] += s[key]
		}
	}
}
