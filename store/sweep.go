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

// sweepPage is how much of the log one statement looks through: a sweep may
// have hours of it to catch up with, and a statement has seconds.
const sweepPage = 20_000

// UnmatchedEvents lists events that were stored in [since, until) and never
// fanned out, in the log's order: no duplicates, and none that is an open dead
// letter.
func (s *Store) UnmatchedEvents(ctx context.Context, since, until time.Time, limit int) ([]millrace.StoredEvent, error) {
	var events []millrace.StoredEvent
	for since.Before(until) && len(events) < limit {
		end, err := s.endOfPage(ctx, since, until)
		if err != nil {
			return nil, err
		}
		page, err := s.unmatched(ctx, since, end, limit-len(events))
		if err != nil {
			return nil, err
		}
		events, since = append(events, page...), end
	}
	return events, nil
}

const pageEnd = `
	SELECT stored_at FROM events WHERE stored_at >= $1 AND stored_at < $2 AND id < $3
	ORDER BY stored_at, id OFFSET $4 LIMIT 1`

// endOfPage is where a page of the log that begins at since ends, exclusive.
// Events of one moment are in one page.
func (s *Store) endOfPage(ctx context.Context, since, until time.Time) (time.Time, error) {
	var end time.Time
	err := s.reads.GetContext(ctx, &end, pageEnd, since, until, millrace.FloorID(until.Add(tooEarly)), sweepPage)
	if errors.Is(err, sql.ErrNoRows) {
		return until, nil
	}
	return end.Add(time.Microsecond), mapError(err, "look how much of the log there is")
}

// The subqueries are scalar so that each event is looked up by its key: as a
// join, the planner might read all matches that there are.
const listUnmatched = `
	SELECT ` + eventColumns + ` FROM events e
	WHERE e.stored_at >= $1 AND e.stored_at < $2 AND e.id < $3 AND e.duplicate_of IS NULL
		AND (SELECT true FROM matches m WHERE m.event_id = e.id AND m.replay_id = $4) IS NULL
		AND (SELECT true FROM dead_letters l WHERE l.event_id = e.id AND l.settled_at IS NULL LIMIT 1) IS NULL
	ORDER BY e.stored_at, e.id LIMIT $5`

// unmatched reads what of a page was never fanned out.
func (s *Store) unmatched(ctx context.Context, since, until time.Time, limit int) ([]millrace.StoredEvent, error) {
	var rows []eventRecordRow
	err := s.reads.SelectContext(ctx, &rows, listUnmatched,
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
