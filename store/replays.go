package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// ReplayEvent begins a replay of one event: it answers with the event under a
// new replay id, and at the project's config version of now. The caller fans
// it out.
func (s *Store) ReplayEvent(ctx context.Context, project, event millrace.ID) (millrace.StoredEvent, error) {
	var stored millrace.StoredEvent
	replay := millrace.NewID(time.Now())
	err := s.tx(ctx, func(tx *sqlx.Tx) error {
		var err error
		if stored, err = readEvent(ctx, tx, project, event); err != nil {
			return err
		}
		stored.ReplayID = replay
		err = tx.GetContext(ctx, &stored.ConfigVersion, `SELECT config_version FROM projects WHERE id = $1 AND deleted_at IS NULL`, project)
		if err != nil {
			return orMissing(err, errNoProject(), "read the project's config version")
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO replays (id, project_id, event_id) VALUES ($1, $2, $3)`, replay, project, event)
		return mapError(err, "begin a replay of event "+event.String())
	})
	return stored, err
}
