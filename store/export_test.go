package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// Tx runs a function in one transaction.
func (s *Store) Tx(ctx context.Context, run func(tx *sqlx.Tx) error) error { return s.tx(ctx, run) }

// CancelEndpointIn cancels an endpoint's open deliveries in a transaction.
func (s *Store) CancelEndpointIn(ctx context.Context, tx *sqlx.Tx, endpoint millrace.ID, why string) (int, error) {
	return cancelOpen(ctx, tx, openOf{EndpointID: endpoint}, why)
}

// CancelBatch is how many deliveries one statement ends.
const CancelBatch = cancelBatch

// DropUnder drops a table's partition of a day that had nothing open at the
// moment it was looked at.
func (s *Store) DropUnder(ctx context.Context, table string, day, looked time.Time) (bool, error) {
	for _, t := range partitionedTables() {
		if t.table == table {
			_, dropped, err := s.erase(ctx, partition{t, day.UTC().Truncate(24 * time.Hour)}.drop(looked))
			return dropped, err
		}
	}
	return false, fmt.Errorf("no table %s", table)
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
