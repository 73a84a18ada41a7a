package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// eraseBatch is how many rows one statement of retention deletes.
const eraseBatch = 5000

// erasure takes a day's rows out of one table.
type erasure struct {
	partition
	lock, statement string
	since           time.Time // when nothing of the day was open
}

// drop is the dropping of the partition. DETACH … CONCURRENTLY, which would
// lock out nobody, is refused to a table that has a default partition.
func (p partition) drop(since time.Time) erasure {
	return erasure{
		partition: p, since: since,
		lock:      `LOCK TABLE ONLY ` + p.table + ` IN ACCESS EXCLUSIVE MODE`,
		statement: `DROP TABLE IF EXISTS ` + pq.QuoteIdentifier(p.name()),
	}
}

// deleteCaught is the deletion of some of what the default partition caught of
// the day. Names and bounds are ours, as in statements.
func (p partition) deleteCaught(since time.Time) erasure {
	caught := pq.QuoteIdentifier(p.table + "_default")
	from, to := dayOf(p.day)
	return erasure{
		partition: p, since: since,
		lock: `LOCK TABLE ` + caught + ` IN ACCESS EXCLUSIVE MODE`,
		statement: `DELETE FROM ` + caught + ` WHERE ctid = ANY (ARRAY(SELECT ctid FROM ` + caught + ` WHERE ` + p.key + ` >= ` + pq.QuoteLiteral(from.String()) +
			` AND ` + p.key + ` < ` + pq.QuoteLiteral(to.String()) + fmt.Sprintf(` LIMIT %d))`, eraseBatch),
	}
}

// erase does it in a transaction of its own, and answers how many rows were
// deleted; erased is false, and nothing is done, if something of the day was
// opened since. Others wait for it at most as long as lock_timeout and the few
// milliseconds that it takes; one that does not get its lock is tried again by
// the next round.
func (s *Store) erase(ctx context.Context, e erasure) (n int, erased bool, err error) {
	tx, err := s.reads.BeginTxx(ctx, nil)
	if err != nil {
		return 0, false, mapError(err, "begin")
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, statement := range []string{`SET LOCAL lock_timeout = '200ms'`, e.lock} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return 0, false, mapError(err, "lock "+e.table+" to take a day out of it")
		}
	}
	if reopened, err := e.reopened(ctx, tx); err != nil || reopened {
		return 0, false, err
	}
	result, err := tx.ExecContext(ctx, e.statement)
	if err != nil {
		return 0, false, mapError(err, "take a day out of "+e.table)
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return 0, false, mapError(err, "count what was taken out of "+e.table)
	}
	return int(rows), true, mapError(tx.Commit(), "commit a day's end")
}

// reopened looks, under the lock, at what may have come since nothing was
// open: a delivery that was resent, or a replay.
func (e erasure) reopened(ctx context.Context, tx *sqlx.Tx) (bool, error) {
	const underWay = time.Minute // longer than the transaction of any replay that was not to be seen yet
	from, to := dayOf(e.day)
	var reopened bool
	err := tx.GetContext(ctx, &reopened, `
		SELECT EXISTS (SELECT FROM deliveries WHERE id >= $1 AND id < $2 AND status = 'waiting')
			OR EXISTS (SELECT FROM deliveries WHERE id >= $1 AND id < $2 AND status = 'queued')
			OR EXISTS (SELECT FROM deliveries WHERE id >= $1 AND id < $2 AND status = 'held')
			OR EXISTS (SELECT FROM replays WHERE event_id >= $1 AND event_id < $2 AND created_at >= $3)`,
		from, to, e.since.Add(-underWay))
	return reopened, mapError(err, "look again for open deliveries")
}
