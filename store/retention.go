package store

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

// retentionGrace is how long after its expiry a day is still kept, so that
// the fact that says so can be seen.
const retentionGrace = 24 * time.Hour

// Retained is what a round of retention did.
type Retained struct {
	// Expired is how many deliveries were given up because their time ended.
	Expired int
	// Dropped are the partitions that are gone.
	Dropped []string
}

// Retain ends what is older than the retention: deliveries that still wait or
// are held expire, with a fact each; a day later the whole day is dropped,
// unless a delivery of its events is open (a replay may be younger than its
// event). What the default partitions hold from beyond that is deleted.
func (s *Store) Retain(ctx context.Context, now time.Time) (Retained, error) {
	var done Retained
	if s.config.Retention == 0 {
		return done, nil
	}
	line := now.Add(-s.config.Retention)
	var err error
	if done.Expired, err = s.expire(ctx, line); err != nil {
		return done, err
	}
	if done.Dropped, err = s.dropBefore(ctx, line.Add(-retentionGrace)); err != nil {
		return done, err
	}
	return done, s.deleteCaught(ctx, line.Add(-retentionGrace))
}

// expire gives up what is still open and older than the line.
func (s *Store) expire(ctx context.Context, line time.Time) (int, error) {
	end := ending{kind: millrace.FactExpired, decided: millrace.Expired, why: "retention ended while it was not delivered yet"}
	all := 0
	for _, status := range []string{`'held'`, `'waiting'`, `'queued'`} {
		for more := true; more; {
			var n int
			err := s.tx(ctx, func(tx *sqlx.Tx) (err error) {
				n, err = end.some(ctx, tx, `id < $1 AND status = `+status, millrace.FloorID(line))
				return err
			})
			if err != nil {
				return all, fmt.Errorf("expire deliveries: %w", err)
			}
			all, more = all+n, n == cancelBatch
		}
	}
	return all, nil
}

// dropBefore drops the partitions of the days that end before the line and
// have nothing open.
func (s *Store) dropBefore(ctx context.Context, line time.Time) ([]string, error) {
	have, err := partitionNames(ctx, s.reads)
	if err != nil {
		return nil, err
	}
	var dropped []string
	for _, day := range daysOf(have) {
		if day.AddDate(0, 0, 1).After(line) {
			continue
		}
		open, err := s.hasOpen(ctx, day)
		if err != nil || open {
			return dropped, err
		}
		for _, table := range partitionedTables() {
			if p := (partition{table, day}); have[p.name()] {
				if err := p.drop(ctx, s.reads); err != nil {
					return dropped, fmt.Errorf("drop partition %s: %w", p.name(), err)
				}
				dropped = append(dropped, p.name())
			}
		}
	}
	return dropped, nil
}

// daysOf are the days that have partitions, the oldest first.
func daysOf(partitions map[string]bool) []time.Time {
	seen := map[string]time.Time{}
	for name := range partitions {
		suffix := name[strings.LastIndexByte(name, '_')+1:]
		if day, err := time.Parse("20060102", suffix); err == nil {
			seen[suffix] = day
		}
	}
	days := make([]time.Time, 0, len(seen))
	for _, day := range seen {
		days = append(days, day)
	}
	sort.Slice(days, func(i, j int) bool { return days[i].Before(days[j]) })
	return days
}

// hasOpen tells whether a delivery of the day's events, or one that a replay
// made on that day, is open.
func (s *Store) hasOpen(ctx context.Context, day time.Time) (bool, error) {
	from, to := millrace.FloorID(day), millrace.FloorID(day.AddDate(0, 0, 1))
	for _, status := range []string{`'held'`, `'waiting'`, `'queued'`} {
		var open bool
		err := s.reads.GetContext(ctx, &open, `
			SELECT EXISTS (SELECT FROM deliveries WHERE status = `+status+` AND (event_id >= $1 AND event_id < $2 OR id >= $1 AND id < $2))`, from, to)
		if err != nil || open {
			return open, mapError(err, "look for open deliveries")
		}
	}
	return false, nil
}

// drop drops the partition. Appends wait for it at most as long as
// lock_timeout; the next round tries again.
func (p partition) drop(ctx context.Context, db *sqlx.DB) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return mapError(err, "begin")
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, statement := range []string{`SET LOCAL lock_timeout = '2s'`, `DROP TABLE IF EXISTS ` + pq.QuoteIdentifier(p.name())} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return mapError(err, "drop a partition")
		}
	}
	return mapError(tx.Commit(), "commit a drop")
}

// deleteCaught deletes what the default partitions caught from beyond the
// line, some at a time; what belongs to an open delivery stays.
func (s *Store) deleteCaught(ctx context.Context, line time.Time) error {
	const some = 5000
	for _, t := range partitionedTables() {
		for more := true; more; {
			gone, err := s.reads.ExecContext(ctx, `
				DELETE FROM `+t.table+`_default WHERE ctid = ANY (ARRAY(
					SELECT c.ctid FROM `+t.table+`_default c WHERE c.`+t.key+` < $1
						AND NOT EXISTS (SELECT FROM deliveries d WHERE d.status IN ('held', 'waiting', 'queued') AND (d.event_id = c.`+t.key+` OR d.id = c.`+t.key+`))
					LIMIT $2))`, millrace.FloorID(line), some)
			if err != nil {
				return mapError(err, "delete from "+t.table+"_default")
			}
			n, err := gone.RowsAffected()
			if err != nil {
				return mapError(err, "count what was deleted")
			}
			more = n == some
		}
	}
	return nil
}
