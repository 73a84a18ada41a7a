package store

import (
	"context"

	"github.com/millrace-dev/millrace"
)

// tailBehind is how far behind PostgreSQL's clock the log is followed, so that
// what commits late is not passed over.
const tailBehind = "1 second"

// tailRow is a fact with what it is about.
type tailRow struct {
	factRecordRow
	EventID    millrace.ID `db:"event_id"`
	EndpointID millrace.ID `db:"endpoint_id"`
	EventType  string      `db:"event_type"`
}

// FactsSince lists a project's facts after a position, in the order of the
// log, a second behind PostgreSQL's clock.
func (s *Store) FactsSince(ctx context.Context, project millrace.ID, after millrace.LogPosition, limit int) ([]millrace.LogEntry, error) {
	var rows []tailRow
	err := s.reads.SelectContext(ctx, &rows, `
		SELECT `+factRecordColumns+`, d.event_id, d.endpoint_id, d.event_type
		FROM facts f JOIN deliveries d ON d.id = f.delivery_id
		WHERE f.stored_at >= $1 AND (f.stored_at, f.id) > ($1, $2) AND f.stored_at < now() - $3::interval AND d.project_id = $4
		ORDER BY f.stored_at, f.id LIMIT $5`, after.At, after.ID, tailBehind, project, limit)
	if err != nil {
		return nil, mapError(err, "follow the log")
	}
	lines := make([]millrace.LogEntry, len(rows))
	for i, r := range rows {
		f, err := r.fact()
		if err != nil {
			return nil, err
		}
		lines[i] = millrace.LogEntry{
			Fact: f, Position: millrace.LogPosition{At: r.StoredAt.UTC(), ID: r.ID},
			EventID: r.EventID, EndpointID: r.EndpointID, EventType: r.EventType,
		}
	}
	return lines, nil
}
