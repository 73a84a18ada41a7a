package store

import (
	"context"

	"github.com/millrace-dev/millrace"
)

// claim is one stream entry's wish to work on one turn.
type claim struct {
	delivery millrace.ID
	turn     int
	by       string
}

func (c claim) id() millrace.ID { return c.delivery }

// Claim takes a delivery's turn for a stream entry. False: the turn is over,
// or another entry has it, so nothing may be sent. The entry that has it may
// claim it again: it was taken over from a worker that died.
func (s *Store) Claim(ctx context.Context, delivery millrace.ID, turn int, by string) (bool, error) {
	return s.appends.claims.do(ctx, claim{delivery: delivery, turn: turn, by: by})
}

func (s *Store) claimAppends() appendKind[millrace.ID, claim, bool] {
	return appendKind[millrace.ID, claim, bool]{
		name:    "claim turns",
		key:     claim.id,
		compare: func(a, b claim) int { return compareIDs(a.delivery, b.delivery) },
		weight:  one[claim],
		write:   s.writeClaims,
	}
}

// The bounds let the planner look at the partitions of these days alone.
// "status || ”" keeps it from reading all that is queued (there is an index
// of that) to find a few rows by their key, which it would while the
// statistics say that the table is empty.
const claimTurns = `
	UPDATE deliveries d SET claimed_by = x.by, updated_at = now()
	FROM unnest($1::uuid[], $2::int[], $3::text[]) AS x(id, turn, by)
	WHERE d.id = x.id AND d.id BETWEEN $4 AND $5
		AND d.turn = x.turn AND d.status || '' = 'queued' AND (d.claimed_by IS NULL OR d.claimed_by = x.by)
	RETURNING d.id`

func (s *Store) writeClaims(ctx context.Context, calls []*call[claim, bool]) error {
	rows := rowsOf(calls)
	claimed, err := s.claims.query(ctx, claimTurns,
		column(rows, oidUUID, func(b []byte, c claim) []byte { return putID(b, c.delivery) }),
		column(rows, oidInt4, func(b []byte, c claim) []byte { return putInt4(b, c.turn) }),
		column(rows, oidText, func(b []byte, c claim) []byte { return putText(b, c.by) }),
		rows[0].delivery, rows[len(rows)-1].delivery)
	if err != nil {
		return err
	}
	defer func() { _ = claimed.Close() }() // Err says what there is to say
	for _, c := range calls {
		c.result = false
	}
	for claimed.Next() {
		var id millrace.ID
		if err := claimed.Scan(&id); err != nil {
			return err
		}
		search(calls, id, claim.id).result = true
	}
	return claimed.Err()
}
