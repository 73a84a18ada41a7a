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

// Appending is the pool of the appends' connections.
func (s *Store) Appending() *sqlx.DB { return s.writes }

// ClaimPlan is the statement of a flush of two claims, with its arguments.
func (s *Store) ClaimPlan(a, b millrace.ID) (string, []any) {
	return claimTurns, []any{ids([]millrace.ID{a, b}), `{1,1}`, `{x,y}`, a, b}
}

// SettlePlan is the statement of a flush of two facts, with its arguments.
func (s *Store) SettlePlan(a, b millrace.ID) (string, []any) {
	args, err := factArguments([]millrace.Fact{{ID: a, DeliveryID: a, Decided: millrace.Held}, {ID: b, DeliveryID: b}})
	if err != nil {
		panic(err)
	}
	return settleTurnsHeld + ` SELECT delivery_id FROM counted`, append(args, a, b)
}

// BackPlan is the statement of a flush of two deliveries handed back, with its
// arguments.
func (s *Store) BackPlan(a, b millrace.ID) (string, []any) {
	return handBack, []any{ids([]millrace.ID{a, b}), `{1,1}`, `{held,waiting}`, ids([]millrace.ID{a, b}), a, b, 100}
}

// Session is the connection that has the lock.
func (l *Leadership) Session() *sqlx.Conn { return l.conn }
