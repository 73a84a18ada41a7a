package bench

import (
	"context"
	"fmt"
)

// growth measures a closed loop in a log with few events, and again in one that
// has a hundred times as many, all of today: the indexes of one partition are
// as deep as they get.
func (b *bench) growth(ctx context.Context) ([]Result, error) {
	l, err := b.lineTo(ctx, 1)
	if err != nil {
		return nil, err
	}
	var all []Result
	for _, stored := range []int{b.options.Stored / 100, b.options.Stored} {
		if err := b.fill(ctx, stored); err != nil {
			return nil, err
		}
		var rounds []Result
		for range b.options.Rounds {
			r, err := b.measure(ctx, run{
				name: fmt.Sprintf("growth-%d", stored), site: b.site, line: l.number, plan: b.plan(b.site, l, "queued", payload), pace: b.closed(b.options.Events, 1),
			})
			if err != nil {
				return nil, err
			}
			rounds = append(rounds, r)
		}
		all = append(all, median(rounds))
	}
	few, many := all[0], &all[1]
	many.Note = fmt.Sprintf("CPU %.2f, PostgreSQL's %.2f, bytes %.2f times what they were", ratio(many.Cost.gatewayCPU(), few.Cost.gatewayCPU()),
		ratio(many.Cost.CPU[postgresName], few.Cost.CPU[postgresName]), ratio(many.Cost.TableBytes, few.Cost.TableBytes))
	return all, nil
}

// filled is how many events one statement loads.
const filled = 50_000

// Events with small payloads that were delivered, evenly over the day until a
// minute ago. Their ids are UUIDv7 of their time. $1 is how many there are
// beside them, $2 of how many in all.
const fillLog = `
	WITH day AS (
		SELECT extract(epoch FROM date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') AS start,
			extract(epoch FROM now() - date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') - 60 AS length
	), line AS (
		SELECT s.project_id, s.endpoint_id, s.id AS subscription_id FROM subscriptions s WHERE s.deleted_at IS NULL LIMIT 1
	), x AS MATERIALIZED (
		SELECT lpad(to_hex((1000 * at)::bigint), 12, '0') AS time, to_timestamp(at) AS stored, md5(random()::text) AS a, md5(random()::text) AS b, md5(random()::text) AS c
		FROM (SELECT start + length * ($1::bigint + n) / $2::bigint AS at FROM day, generate_series(1, $3::int) AS n) AS spread
	), ids AS MATERIALIZED (
		SELECT stored, (time || '7' || left(a, 3) || '8' || right(a, 15))::uuid AS event, (time || '7' || left(b, 3) || '8' || right(b, 15))::uuid AS delivery,
			(time || '7' || left(c, 3) || '8' || right(c, 15))::uuid AS fact FROM x
	), e AS (
		INSERT INTO events (id, project_id, type, endpoint_id, payload, stored_at, config_version)
		SELECT event, project_id, 'bench.stored', endpoint_id, '{"n":1}', stored, 1 FROM ids, line
	), m AS (
		INSERT INTO matches (event_id, replay_id, matched, config_version, stored_at)
		SELECT event, '00000000-0000-0000-0000-000000000000', 1, 1, stored FROM ids
	), d AS (
		INSERT INTO deliveries (id, project_id, event_id, endpoint_id, subscription_id, replay_id, event_type, status, attempts, facts, last_outcome, last_code, last_latency,
			turn, queued_at, created_at, updated_at)
		SELECT delivery, project_id, event, endpoint_id, subscription_id, '00000000-0000-0000-0000-000000000000', 'bench.stored', 'delivered', 1, 1, 'success', 200, 1000000,
			1, stored, stored, stored FROM ids, line
	)
	INSERT INTO facts (delivery_id, id, turn, kind, at, decided, counted, number, outcome, status_code, url, method, started_at, latency, stored_at)
	SELECT delivery, fact, 1, 'attempted', stored, 'delivered', true, 1, 'success', 200, 'http://127.0.0.1/', 'POST', stored, 1000000, stored FROM ids`

// fill loads the log until it holds so many events, and leaves it as vacuuming
// does.
func (b *bench) fill(ctx context.Context, want int) error {
	db := b.gateway.postgres
	var have int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM events /* by the benchmark */`).Scan(&have); err != nil {
		return err
	}
	b.options.Told(fmt.Sprintf("growth: Loading the log from %d to %d events.", have, want))
	for first := have; have < want; have += filled {
		if _, err := db.ExecContext(ctx, fillLog, have-first, want-first, min(filled, want-have)); err != nil {
			return fmt.Errorf("load the log: %w", err)
		}
	}
	for _, table := range []string{"events", "matches", "deliveries", "facts"} {
		if _, err := db.ExecContext(ctx, "VACUUM (ANALYZE) "+table); err != nil {
			return fmt.Errorf("vacuum %s: %w", table, err)
		}
	}
	return nil
}
