package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// heldRow is a row of held_endpoints.
type heldRow struct {
	EndpointID millrace.ID `db:"endpoint_id"`
	ProjectID  millrace.ID `db:"project_id"`
	LookAt     time.Time   `db:"look_at"`
}

func (s *Store) held(ctx context.Context, query string, args ...any) ([]millrace.HeldEndpoint, error) {
	var rows []heldRow
	if err := s.reads.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, mapError(err, "list endpoints that hold deliveries")
	}
	all := make([]millrace.HeldEndpoint, len(rows))
	for i, r := range rows {
		all[i] = millrace.HeldEndpoint(r)
	}
	return all, nil
}

// HeldEndpoints lists all endpoints that hold deliveries.
func (s *Store) HeldEndpoints(ctx context.Context) ([]millrace.HeldEndpoint, error) {
	return s.held(ctx, `SELECT endpoint_id, project_id, look_at FROM held_endpoints ORDER BY endpoint_id`)
}

const listToLookAt = `SELECT endpoint_id, project_id, look_at FROM held_endpoints WHERE look_at <= now() ORDER BY look_at, endpoint_id LIMIT $1`

// HeldToLookAt lists endpoints that hold deliveries and whose time to be
// looked at has come, the longest due first.
func (s *Store) HeldToLookAt(ctx context.Context, limit int) ([]millrace.HeldEndpoint, error) {
	return s.held(ctx, listToLookAt, limit)
}

const countQueued = `
	SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE endpoint_id = $1 AND status = 'queued' LIMIT $2) AS queued`

// QueuedCount counts an endpoint's deliveries that the transport has, up to
// most.
func (s *Store) QueuedCount(ctx context.Context, endpoint millrace.ID, most int) (int, error) {
	var n int
	err := s.reads.GetContext(ctx, &n, countQueued, endpoint, most)
	return n, mapError(err, "count the queued deliveries of endpoint "+endpoint.String())
}

const endpointHolds = `SELECT EXISTS (SELECT FROM deliveries WHERE endpoint_id = $1 AND status = 'held')`

// LookAgain puts off the next look at an endpoint, or forgets it when it holds
// nothing. What is held meanwhile is never missed: whoever holds a delivery
// writes the endpoint's row in the same statement, so it waits for this one to
// be done, or is seen by it. Nor is a change of the endpoint: one that was made
// due again since it was read stays so.
func (s *Store) LookAgain(ctx context.Context, seen millrace.HeldEndpoint, in time.Duration) error {
	endpoint := seen.EndpointID
	return s.tx(ctx, func(tx *sqlx.Tx) error {
		// The lock first; what is held is then read by a later snapshot.
		if _, err := tx.ExecContext(ctx, `SELECT FROM held_endpoints WHERE endpoint_id = $1 FOR UPDATE`, endpoint); err != nil {
			return mapError(err, "lock held endpoint "+endpoint.String())
		}
		var holds bool
		err := tx.GetContext(ctx, &holds, endpointHolds, endpoint)
		if err != nil {
			return mapError(err, "look at what endpoint "+endpoint.String()+" holds")
		}
		if !holds {
			_, err = tx.ExecContext(ctx, `DELETE FROM held_endpoints WHERE endpoint_id = $1`, endpoint)
			return mapError(err, "forget held endpoint "+endpoint.String())
		}
		_, err = tx.ExecContext(ctx, `UPDATE held_endpoints SET look_at = now() + $2::bigint * interval '1 microsecond' WHERE endpoint_id = $1 AND look_at = $3`,
			endpoint, in.Microseconds(), seen.LookAt)
		return mapError(err, "put off held endpoint "+endpoint.String())
	})
}

// lookNow makes an endpoint that holds deliveries due to be looked at.
func lookNow(ctx context.Context, in sqlx.ExecerContext, endpoint millrace.ID) error {
	_, err := in.ExecContext(ctx, `UPDATE held_endpoints SET look_at = now() WHERE endpoint_id = $1`, endpoint)
	return mapError(err, "look at held endpoint "+endpoint.String())
}

const findHeld = `
	WITH held AS (
		SELECT endpoint_id, project_id, count(*) AS deliveries FROM deliveries WHERE status = 'held' GROUP BY endpoint_id, project_id
	), mended AS (
		INSERT INTO held_endpoints (endpoint_id, project_id, look_at)
		SELECT endpoint_id, project_id, now() FROM held ORDER BY endpoint_id
		ON CONFLICT (endpoint_id) DO NOTHING
	)
	SELECT coalesce(sum(deliveries), 0)::bigint FROM held`

// FindHeld counts the deliveries that are held. It goes through all of them,
// and through nothing else (100,000 take 50 ms), and gives a row to each
// endpoint that holds some and has none: nothing needs that, it mends what
// should not have happened.
func (s *Store) FindHeld(ctx context.Context) (int, error) {
	var n int
	err := s.reads.GetContext(ctx, &n, findHeld)
	return n, mapError(err, "count what is held")
}
