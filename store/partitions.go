package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

// partitioned is a table of the log with a partition for each day.
type partitioned struct {
	table, key, options string
}

// partitionedTables lists the tables with a partition a day. LIKE does not
// copy storage parameters, so they stand here.
func partitionedTables() []partitioned {
	// Hot tables are vacuumed by what changed, not by a share of their size.
	const hot = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 1"
	const appended = "autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.2"
	return []partitioned{
		{"events", "id", appended},
		{"matches", "event_id", appended},
		{"deliveries", "id", "fillfactor = 50, " + hot},
		{"facts", "delivery_id", appended},
	}
}

// MakePartitions makes the missing partitions of the day of now and of the
// days ahead of it, and moves into them what the default partitions caught.
// It may run anywhere at any time, also twice at once.
func (s *Store) MakePartitions(ctx context.Context, now time.Time, ahead int) error {
	return makePartitions(ctx, s.reads, now, span{oldest: s.oldest(now), ahead: ahead})
}

// span is which days around today have partitions: none before the oldest,
// whose rows are retention's to delete.
type span struct {
	oldest time.Time
	ahead  int
}

func makePartitions(ctx context.Context, db *sqlx.DB, now time.Time, days span) error {
	have, err := partitionNames(ctx, db)
	if err != nil {
		return err
	}
	today := now.UTC().Truncate(24 * time.Hour)
	from := today.AddDate(0, 0, -caughtDays)
	if from.Before(days.oldest) {
		from = days.oldest
	}
	for _, table := range partitionedTables() {
		missing, err := table.caught(ctx, db, from, today)
		if err != nil {
			return err
		}
		for ahead := range days.ahead + 1 {
			missing = append(missing, today.AddDate(0, 0, ahead))
		}
		for _, day := range missing {
			p := partition{partitioned: table, day: day}
			if have[p.name()] {
				continue
			}
			if err := p.make(ctx, db); err != nil {
				return fmt.Errorf("make partition %s: %w", p.name(), err)
			}
			have[p.name()] = true
		}
	}
	return nil
}

// caughtDays is how far back the days of caught rows get a partition, and how
// many are looked for at once.
const caughtDays = 30

// caught lists the days in [first, end) that the default partition caught rows
// of, because no one made their partition in time; the oldest first.
func (t partitioned) caught(ctx context.Context, db *sqlx.DB, first, end time.Time) ([]time.Time, error) {
	var days []time.Time
	from := millrace.FloorID(first)
	for range caughtDays {
		var id millrace.ID
		err := db.GetContext(ctx, &id, `SELECT `+t.key+` FROM `+t.table+`_default WHERE `+t.key+` >= $1 AND `+t.key+` < $2 ORDER BY 1 LIMIT 1`,
			from, millrace.FloorID(end))
		if errors.Is(err, sql.ErrNoRows) {
			break
		}
		if err != nil {
			return nil, mapError(err, "look into the default partition")
		}
		day := millrace.TimeOf(id).Truncate(24 * time.Hour)
		days, from = append(days, day), millrace.FloorID(day.AddDate(0, 0, 1))
	}
	return days, nil
}

// partitionNames is the set of partitions that are attached in this schema.
func partitionNames(ctx context.Context, db *sqlx.DB) (map[string]bool, error) {
	var names []string
	err := db.SelectContext(ctx, &names, `
		SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'`)
	have := make(map[string]bool, len(names))
	for _, name := range names {
		have[name] = true
	}
	return have, mapError(err, "list the partitions")
}

// partition is the part of a table that one day's ids are in.
type partition struct {
	partitioned
	day time.Time
}

func (p partition) name() string { return p.table + "_" + p.day.Format("20060102") }

// make creates the partition, moves the rows that the default one caught and
// attaches it: in one transaction, because a row is in one of the two at any
// moment. Appends wait for it at most as long as lock_timeout.
func (p partition) make(ctx context.Context, db *sqlx.DB) error {
	const tries = 3
	var err error
	for range tries {
		err = p.tryMake(ctx, db)
		if pgCode(err) == "42P07" { // someone else made it, while we waited for the lock
			return nil
		}
		if pgCode(err) != "55P03" {
			return err
		}
	}
	return err
}

func (p partition) tryMake(ctx context.Context, db *sqlx.DB) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return mapError(err, "begin")
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, statement := range p.statements() {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return mapError(err, "make a partition")
		}
	}
	return mapError(tx.Commit(), "commit a partition")
}

// statements are the partition's making. Names and bounds are ours, made of
// letters, digits and dashes; DDL takes no parameters.
func (p partition) statements() []string {
	name, catchAll := pq.QuoteIdentifier(p.name()), pq.QuoteIdentifier(p.table+"_default")
	from := pq.QuoteLiteral(millrace.FloorID(p.day).String())
	to := pq.QuoteLiteral(millrace.FloorID(p.day.AddDate(0, 0, 1)).String())
	return []string{
		`SET LOCAL lock_timeout = '2s'`,
		// Two at once: the second waits here, and then finds the table there.
		`LOCK TABLE ONLY ` + p.table + ` IN SHARE UPDATE EXCLUSIVE MODE`,
		`CREATE TABLE ` + name + ` (LIKE ` + p.table + ` INCLUDING ALL) WITH (` + p.options + `)`,
		`LOCK TABLE ` + catchAll + ` IN ACCESS EXCLUSIVE MODE`,
		`WITH moved AS (DELETE FROM ` + catchAll + ` WHERE ` + p.key + ` >= ` + from + ` AND ` + p.key + ` < ` + to + ` RETURNING *)
			INSERT INTO ` + name + ` SELECT * FROM moved`,
		`ALTER TABLE ` + p.table + ` ATTACH PARTITION ` + name + ` FOR VALUES FROM (` + from + `) TO (` + to + `)`,
	}
}
