package store

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// Tx runs a function in one transaction.
func (s *Store) Tx(ctx context.Context, run func(tx *sqlx.Tx) error) error { return s.tx(ctx, run) }

// CancelEndpointIn cancels an endpoint's open deliveries in a transaction.
func (s *Store) CancelEndpointIn(ctx context.Context, tx *sqlx.Tx, endpoint millrace.ID, why string) (int, error) {
	return cancelOpen(ctx, tx, openOf{EndpointID: endpoint}, why)
}
