package store

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// Snapshot reads everything of a project that the pipeline needs, as of one
// moment and so of one config version.
func (s *Store) Snapshot(ctx context.Context, id millrace.ID) (*millrace.Snapshot, error) {
	var snapshot millrace.Snapshot
	err := s.view(ctx, func(tx *sqlx.Tx) error {
		var err error
		if snapshot.Project, err = project(ctx, tx, id); err != nil {
			return err
		}
		endpoints, err := s.endpoints(ctx, tx, selectEndpoints+` AND project_id = $1`, id)
		if err != nil {
			return err
		}
		snapshot.Endpoints = make(map[millrace.ID]millrace.Endpoint, len(endpoints))
		for _, e := range endpoints {
			snapshot.Endpoints[e.ID] = e
		}
		snapshot.Subscriptions, err = subscriptions(ctx, tx, selectSubscriptions+` AND project_id = $1 ORDER BY id`, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &snapshot, nil
}
