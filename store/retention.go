package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// retentionGrace is how long after its expiry a day is still kept, so that
// the facts that say so can be seen.
const retentionGrace = 24 * time.Hour

// Retained is what a round of retention did.
type Retained struct {
	// Expired is how many deliveries were given up because their time ended.
	Expired int
	// Dropped are the partitions that are gone.
	Dropped []string
	// Deleted is how many rows were deleted where there is nothing to drop:
	// from the default partitions, settled dead letters, audit and replays.
	Deleted int
}

// Retain ends what is older than the retention: deliveries that still wait or
// are held expire, with a fact each; a day later whole days are dropped,
// unless a delivery of their events is open (a replay may be younger than its
// event). Settled dead letters, the audit and replays go the same way. What
// fails is left to the next round and does not keep the rest from its turn.
func (s *Store) Retain(ctx context.Context, now time.Time) (Retained, error) {
	var done Retained
	if s.config.Retention == 0 {
		return done, nil
	}
	line := now.Add(-s.config.Retention)
	return done, errors.Join(
		s.expire(ctx, line, &done),
		s.dropDays(ctx, line.Add(-retentionGrace), &done),
		s.deleteSettled(ctx, line.Add(-retentionGrace), &done),
	)
}

// oldest is the first day that is kept; the zero time: all are.
func (s *Store) oldest(now time.Time) time.Time {
	if s.config.Retention == 0 {
		return time.Time{}
	}
	return now.Add(-s.config.Retention - retentionGrace).UTC().Truncate(24 * time.Hour)
}

// expiring picks what has no time left, by an index of each state.
func expiring() []string {
	return []string{`id < $1 AND status = 'held'`, `id < $1 AND status = 'waiting'`}
}

// expire gives up what waits or is held and is older than the line. What is
// queued is about to be sent: it is left to its turn.
func (s *Store) expire(ctx context.Context, line time.Time, done *Retained) error {
	end := ending{kind: millrace.FactExpired, decided: millrace.Expired, why: "its retention ended before it was delivered"}
	for _, condition := range expiring() {
		n, err := inBatches(cancelBatch, func() (n int, err error) {
			err = s.tx(ctx, func(tx *sqlx.Tx) error {
				n, err = end.some(ctx, tx, condition, millrace.FloorID(line))
				return err
			})
			return n, err
		})
		done.Expired += n
		if err != nil {
			return fmt.Errorf("expire deliveries: %w", err)
		}
	}
	return nil
}

// dropDays drops the days that end before the line and have nothing open.
func (s *Store) dropDays(ctx context.Context, line time.Time, done *Retained) error {
	have, err := partitionNames(ctx, s.reads)
	if err != nil {
		return err
	}
	days, err := s.daysBefore(ctx, line, have)
	if err != nil {
		return err
	}
	var faults error
	for _, day := range days {
		if err := s.dropDay(ctx, day, have, done); err != nil {
			faults = errors.Join(faults, fmt.Errorf("drop %s: %w", day.Format(time.DateOnly), err))
		}
	}
	return faults
}

// daysBefore lists the days that end before the line and have a partition, or
// rows that a default one caught; the oldest first.
func (s *Store) daysBefore(ctx context.Context, line time.Time, have map[string]bool) ([]time.Time, error) {
	line = line.UTC().Truncate(24 * time.Hour)
	var days []time.Time
	for _, table := range partitionedTables() {
		caught, err := table.caught(ctx, s.reads, time.Unix(0, 0).UTC(), line)
		if err != nil {
			return nil, err
		}
		days = append(days, caught...)
		for name := range have {
			if day, err := time.Parse(table.table+"_20060102", name); err == nil && day.Before(line) {
				days = append(days, day)
			}
		}
	}
	slices.SortFunc(days, time.Time.Compare)
	return slices.CompactFunc(days, time.Time.Equal), nil
}

// dropDay drops the partitions of a day and what the default ones caught of
// it, unless something of it is open. Each table goes in a transaction of its
// own, so that no lock is held while another is waited for. A day that was
// dropped in part goes on with the next round: events are the last to go, so
// nothing is left that could still be sent without its event.
func (s *Store) dropDay(ctx context.Context, day time.Time, have map[string]bool, done *Retained) error {
	looked, err := s.Now(ctx)
	if err != nil {
		return err
	}
	if open, err := s.hasOpen(ctx, day); err != nil || open {
		return err
	}
	for _, table := range dropOrder() {
		p := partition{table, day}
		if have[p.name()] {
			_, dropped, err := s.erase(ctx, p.drop(looked))
			if err != nil || !dropped {
				return err
			}
			done.Dropped = append(done.Dropped, p.name())
		}
		n, err := inBatches(eraseBatch, func() (int, error) {
			n, _, err := s.erase(ctx, p.deleteCaught(looked))
			return n, err
		})
		done.Deleted += n
		if err != nil {
			return err
		}
	}
	return nil
}

// dropOrder is the order in which the tables lose a day.
func dropOrder() []partitioned {
	tables := partitionedTables()
	slices.SortStableFunc(tables, func(a, b partitioned) int {
		order := []string{"deliveries", "facts", "matches", "events"}
		return slices.Index(order, a.table) - slices.Index(order, b.table)
	})
	return tables
}

// openOfDay looks for a day's open deliveries, by an index of each state.
func openOfDay() []string {
	const ofDay = ` AND (event_id >= $1 AND event_id < $2 OR id >= $1 AND id < $2))`
	return []string{
		`SELECT EXISTS (SELECT FROM deliveries WHERE status = 'held'` + ofDay,
		`SELECT EXISTS (SELECT FROM deliveries WHERE status = 'waiting'` + ofDay,
		`SELECT EXISTS (SELECT FROM deliveries WHERE status = 'queued'` + ofDay,
	}
}

// hasOpen tells whether a delivery of the day's events is open, or one that a
// replay made on that day, or one that a replay is still to make.
func (s *Store) hasOpen(ctx context.Context, day time.Time) (bool, error) {
	from, to := dayOf(day)
	for _, query := range openOfDay() {
		var open bool
		err := s.reads.GetContext(ctx, &open, query, from, to)
		if err != nil || open {
			return open, mapError(err, "look for open deliveries")
		}
	}
	var pending bool
	err := s.reads.GetContext(ctx, &pending, `
		SELECT EXISTS (SELECT FROM replays r WHERE r.event_id >= $1 AND r.event_id < $2 AND r.created_at >= now() - $3::bigint * interval '1 microsecond'
			AND (SELECT true FROM matches m WHERE m.event_id = r.event_id AND m.replay_id = r.id) IS NULL)`, from, to, s.config.Retention.Microseconds())
	return pending, mapError(err, "look for replays under way")
}

// dayOf is the range of a day's ids.
func dayOf(day time.Time) (from, to millrace.ID) {
	return millrace.FloorID(day), millrace.FloorID(day.AddDate(0, 0, 1))
}

// deleteSettled deletes what is kept beside the log and is older than the
// line: settled dead letters, the audit, and replays, whose deliveries are as
// old as they are.
func (s *Store) deleteSettled(ctx context.Context, line time.Time, done *Retained) error {
	for _, statement := range []string{
		`DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE id < $1 AND settled_at < $2 ORDER BY id LIMIT $3)`,
		`DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < $1 AND at < $2 ORDER BY id LIMIT $3)`,
		`DELETE FROM replays WHERE id IN (SELECT id FROM replays WHERE id < $1 AND created_at < $2 ORDER BY id LIMIT $3)`,
	} {
		n, err := inBatches(eraseBatch, func() (int, error) {
			result, err := s.reads.ExecContext(ctx, statement, millrace.FloorID(line), line, eraseBatch)
			if err != nil {
				return 0, mapError(err, "delete what retention ended")
			}
			n, err := result.RowsAffected()
			return int(n), err
		})
		done.Deleted += n
		if err != nil {
			return err
		}
	}
	return nil
}

// inBatches runs work until it did less than a full batch, and answers how
// much it did in all.
func inBatches(full int, work func() (int, error)) (int, error) {
	for all := 0; ; {
		n, err := work()
		if all += n; err != nil || n < full {
			return all, err
		}
	}
}
