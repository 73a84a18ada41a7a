package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/millrace-dev/millrace"
)

// tooEarly is how far an id's time may be ahead of PostgreSQL's clock: ingest
// refuses ids that are further off.
const tooEarly = 25 * time.Hour

// UnmatchedEvents lists events that were stored in [since, until) and never
// fanned out, in the log's order: no duplicates, and none that is an open dead
// letter.
func (s *Store) UnmatchedEvents(ctx context.Context, since, until time.Time, limit int) ([]millrace.StoredEvent, error) {
	var rows []eventRecordRow
	err := s.reads.SelectContext(ctx, &rows, `
		SELECT `+eventColumns+` FROM events e
		WHERE e.stored_at >= $1 AND e.stored_at < $2 AND e.id < $3 AND e.duplicate_of IS NULL
			AND NOT EXISTS (SELECT FROM matches m WHERE m.event_id = e.id AND m.replay_id = $4)
			AND NOT EXISTS (SELECT FROM dead_letters l WHERE l.event_id = e.id AND l.settled_at IS NULL)
		ORDER BY e.stored_at, e.id LIMIT $5`,
		since, until, millrace.FloorID(until.Add(tooEarly)), millrace.ID{}, limit)
	if err != nil {
		return nil, mapError(err, "list events that were not fanned out")
	}
	events := make([]millrace.StoredEvent, len(rows))
	for i, r := range rows {
		if events[i], err = r.event(); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// Checkpoint reads how far a sweep has come; the zero time: nowhere yet.
func (s *Store) Checkpoint(ctx context.Context, name string) (time.Time, error) {
	var at time.Time
	err := s.reads.GetContext(ctx, &at, `SELECT at FROM checkpoints WHERE name = $1`, name)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return at.UTC(), mapError(err, "read checkpoint "+name)
}

// SaveCheckpoint notes how far a sweep has come. It never goes back.
func (s *Store) SaveCheckpoint(ctx context.Context, name string, at time.Time) error {
	_, err := s.reads.ExecContext(ctx, `
		INSERT INTO checkpoints AS c (name, at) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET at = greatest(c.at, excluded.at)`, name, at)
	return mapError(err, "save checkpoint "+name)
}
