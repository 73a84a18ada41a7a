package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

// planNode is a node of a plan as EXPLAIN tells it.
type planNode struct {
	Type      string     `json:"Node Type"`
	Table     string     `json:"Relation Name"`
	Index     string     `json:"Index Name"`
	Rows      float64    `json:"Actual Rows"`
	Removed   float64    `json:"Rows Removed by Filter"`
	Rechecked float64    `json:"Rows Removed by Index Recheck"`
	Loops     float64    `json:"Actual Loops"`
	Below     []planNode `json:"Plans"`
}

// looked is how many rows of tables and indexes the plan looked at, and the
// tables that it read from one end to the other.
func (n planNode) looked() (rows float64, scanned []string) {
	if n.Type == "Seq Scan" && n.Loops > 0 {
		scanned = append(scanned, n.Table)
	}
	if strings.HasSuffix(n.Type, "Scan") && n.Type != "Subquery Scan" && n.Type != "CTE Scan" {
		rows = (n.Rows + n.Removed + n.Rechecked) * n.Loops
	}
	for _, b := range n.Below {
		r, s := b.looked()
		rows, scanned = rows+r, append(scanned, s...)
	}
	return rows, scanned
}

// explain runs a statement on a connection of a pool, undoes it, and answers
// with its plan.
func (w *world) explain(on *sqlx.DB, statement string, args []any) (node planNode, text string) {
	w.t.Helper()
	tx, err := on.BeginTxx(w.t.Context(), nil)
	noError(w.t, err)
	defer func() { noError(w.t, tx.Rollback()) }()
	noError(w.t, tx.GetContext(w.t.Context(), &text, `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON) `+statement, args...))
	var plans []struct{ Plan planNode }
	noError(w.t, json.Unmarshal([]byte(text), &plans))
	return plans[0].Plan, text
}

// A gateway with much behind it and little to do: of 200,000 deliveries of
// three days, all but some hundreds are delivered.
const (
	behind = 200_000
	open   = 1200 // queued, waiting and held, a third each
	few    = 20   // of one endpoint
)

// fill writes the log of such a gateway, straight into its tables, as it is at
// a time: one event each second before it.
func (w *world) fill(busy millrace.ID, at time.Time) {
	w.t.Helper()
	w.exec(`CREATE FUNCTION id_of(at timestamptz, n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
		SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid $$`)
	w.exec(fmt.Sprintf(`CREATE TABLE made AS
		SELECT n, at, id_of(at, n) AS id, CASE WHEN n <= %[3]d THEN '%[4]s'::uuid ELSE id_of(at, n %% 1000) END AS endpoint,
			CASE WHEN n > %[2]d THEN 'delivered' WHEN n %% 3 = 0 THEN 'queued' WHEN n %% 3 = 1 THEN 'waiting' ELSE 'held' END AS status
		FROM (SELECT n, '%[5]s'::timestamptz - n * interval '1 second' AS at FROM generate_series(1, %[1]d) n) t`,
		behind, open, 3*few, busy, at.Format(time.RFC3339Nano)))
	project := w.project
	w.exec(`INSERT INTO events (id, project_id, type, payload, config_version, stored_at) SELECT id, $1, 'order.paid', '{}', 1, at FROM made`, project)
	w.exec(`INSERT INTO matches (event_id, replay_id, matched, config_version, stored_at) SELECT id, $1, 1, 1, at FROM made WHERE n % 10 <> 0 OR n > 100`, millrace.ID{})
	w.exec(`INSERT INTO deliveries (id, project_id, event_id, endpoint_id, replay_id, event_type, status, turn, queued_at, next_attempt_at, held_for)
		SELECT id, $1, id, endpoint, $2, 'order.paid', status, 1, CASE WHEN status = 'queued' THEN at END,
			CASE WHEN status = 'waiting' THEN now() + (n % 7 - 3) * interval '1 hour' END, CASE WHEN status = 'held' THEN 'paused' END FROM made`, project, millrace.ID{})
	w.exec(`INSERT INTO held_endpoints (endpoint_id, project_id, look_at) SELECT DISTINCT endpoint, $1::uuid, now() + interval '1 minute' FROM made WHERE status = 'held'`, project)
	w.exec(`DROP TABLE made`)
}

func TestPollsLookAtWhatTheyAnswerAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule  string
		steps []string // statements between which the polls run; empty: the log is filled
	}{
		{"on tables that were never analysed, empty and full, and analysed when full", []string{"SELECT 1", "", "ANALYZE"}},
		{"on tables that were analysed while they were empty", []string{"ANALYZE", ""}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for days := range 4 {
				w.partitionsOf(days)
			}
			w.statisticsStay()
			endpoint, since := newID(), time.Now()
			for _, step := range c.steps {
				if step == "" {
					now := time.Now()
					since = now.Add(-few * time.Second)
					w.fill(endpoint, now)
				} else {
					w.exec(step)
				}
				w.poll(fmt.Sprintf("after %q", step), w.Reading(), store.Polls(endpoint, since, open, few))
			}
		})
	}
}

// As many sources and keys as a busy gateway has, of which few are meant.
func TestSourcesAndKeysAreFoundByTheirIndexesAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule  string
		steps []string
	}{
		{"on tables that were never analysed, empty and full, and analysed when full", []string{"SELECT 1", "", "ANALYZE"}},
		{"on tables that were analysed while they were empty", []string{"ANALYZE", ""}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.statisticsStay()
			events := make([]millrace.Event, few)
			for n := range events {
				events[n] = w.event()
				events[n].IdempotencyKey, events[n].BrokerMessageID = fmt.Sprint("k", n), fmt.Sprint("m", n)
			}
			for _, step := range c.steps {
				if step == "" {
					w.fillSources()
					step = `INSERT INTO idempotency_keys (project_id, key, event_id, body_hash, expires_at)
						SELECT id, kind || n, gen_random_uuid(), sha256(''), now() + n * interval '1 s' FROM projects, generate_series(1, 50000) n, unnest('{client:k,broker:m}'::text[]) kind`
				}
				w.exec(step)
				w.poll(fmt.Sprintf("after %q", step), w.Reading(), store.SourcePolls("mask 7", few))
				w.poll(fmt.Sprintf("after %q", step), w.Appending(), w.KeyPlans(events))
			}
		})
	}
}

// fillSources writes 20,000 sources, most of which are of no interest to agents.
func (w *world) fillSources() {
	w.t.Helper()
	w.exec(fmt.Sprintf(`INSERT INTO sources (id, project_id, name, type, mask_id, settings, disabled, deleted_at)
		SELECT gen_random_uuid(), $1, 'n', CASE WHEN n %% 2 = 0 THEN 'http' ELSE 'pub_sub' END, 'mask ' || n, '{}',
			n > %[1]d AND n %% 4 = 1, CASE WHEN n > %[1]d AND n %% 4 = 3 THEN now() END FROM generate_series(1, 20000) n`, 2*few), w.project)
}

// poll runs what is run again and again and refuses plans that look further
// than they have to.
func (w *world) poll(when string, on *sqlx.DB, polls []store.Poll) {
	w.t.Helper()
	for _, p := range polls {
		plan, text := w.explain(on, p.SQL, p.Args)
		rows, scanned := plan.looked()
		if len(scanned) > 0 || rows > float64(p.Rows) {
			w.t.Errorf("%s, %s looks at %.0f rows, want %d at most, and reads all of %v:\n%s", when, p.Name, rows, p.Rows, scanned, text)
		}
	}
}

// statisticsStay keeps autovacuum from the tables.
func (w *world) statisticsStay() {
	w.t.Helper()
	w.exec(`DO $$ DECLARE name text; BEGIN
		FOR name IN SELECT oid::regclass::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' LOOP
			EXECUTE 'ALTER TABLE ' || name || ' SET (autovacuum_enabled = off)';
		END LOOP; END $$`)
}
