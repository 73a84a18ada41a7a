package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// Report is what a rebuild found.
type Report struct {
	Deliveries int
	Facts      int
	// Differences are all deliveries whose projection was not the fold of
	// their facts, in the order of their ids.
	Differences []Difference
}

// Difference is a delivery whose projection is not the fold of its facts.
type Difference struct {
	DeliveryID millrace.ID
	Projected  millrace.State // as it stood in the store
	Folded     millrace.State // as its facts say
}

// String tells the difference in one line.
func (d Difference) String() string {
	return fmt.Sprintf("delivery %s: stored %+v, folded %+v", d.DeliveryID, d.Projected, d.Folded)
}

// rebuildPage is how many deliveries, with their facts, are in memory at once.
const rebuildPage = 500

// Rebuild folds the facts of all deliveries once more and compares the
// projections, on one snapshot, with check; without, it also repairs what
// differs. Progress is told how many deliveries are done.
func (s *Store) Rebuild(ctx context.Context, check bool, progress func(done int)) (Report, error) {
	var report Report
	if err := s.compareAll(ctx, &report, progress); err != nil || check {
		return report, err
	}
	for _, d := range report.Differences {
		if err := s.repair(ctx, d.DeliveryID); err != nil {
			return report, err
		}
	}
	return report, nil
}

// compareAll reads everything on one snapshot, whose connection is its own: a
// snapshot this long must not be cut by the timeouts of the others.
func (s *Store) compareAll(ctx context.Context, report *Report, progress func(done int)) error {
	c := s.config
	c.StatementTimeout, c.Application = 0, c.Application+" rebuild"
	db, err := c.pool(1, readParameters())
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was read only
	tx, err := beginSnapshot(ctx, db)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // there is nothing to undo
	var after millrace.ID
	for {
		page, err := readPage(ctx, tx, after)
		if err != nil {
			return err
		}
		if len(page.deliveries) == 0 {
			return nil
		}
		page.compare(report)
		if progress != nil {
			progress(report.Deliveries)
		}
		after = page.deliveries[len(page.deliveries)-1].ID
	}
}

// projectedPage is some deliveries in the order of their ids, with the facts
// that counted.
type projectedPage struct {
	deliveries []deliveryRow
	facts      map[millrace.ID][]millrace.Fact
}

func readPage(ctx context.Context, tx *sqlx.Tx, after millrace.ID) (projectedPage, error) {
	page := projectedPage{facts: map[millrace.ID][]millrace.Fact{}}
	err := tx.SelectContext(ctx, &page.deliveries, `SELECT `+deliveryColumns+` FROM deliveries d WHERE d.id > $1 ORDER BY d.id LIMIT $2`, after, rebuildPage)
	if err != nil || len(page.deliveries) == 0 {
		return page, mapError(err, "read deliveries")
	}
	first, last := page.deliveries[0].ID, page.deliveries[len(page.deliveries)-1].ID
	page.facts, err = countedFacts(ctx, tx, first, last)
	return page, err
}

// countedFacts reads what folding needs of the facts of a range of deliveries:
// not what was sent and answered.
func countedFacts(ctx context.Context, in sqlx.QueryerContext, first, last millrace.ID) (map[millrace.ID][]millrace.Fact, error) {
	var rows []factRecordRow
	err := sqlx.SelectContext(ctx, in, &rows, `
		SELECT f.delivery_id, f.id, f.turn, f.kind, f.at, f.decided, f.next_attempt_at, f.reason, f.counted, f.number,
			f.outcome, f.status_code, f.latency, f.stored_at
		FROM facts f WHERE f.delivery_id BETWEEN $1 AND $2 AND f.counted ORDER BY f.delivery_id, f.number`, first, last)
	if err != nil {
		return nil, mapError(err, "read facts")
	}
	facts := map[millrace.ID][]millrace.Fact{}
	for _, r := range rows {
		f, err := r.fact()
		if err != nil {
			return nil, err
		}
		facts[r.DeliveryID] = append(facts[r.DeliveryID], f)
	}
	return facts, nil
}

func (p projectedPage) compare(report *Report) {
	for _, d := range p.deliveries {
		facts := p.facts[d.ID]
		report.Deliveries++
		report.Facts += len(facts)
		projected, folded := d.state(), millrace.Fold(facts)
		folds := projected
		folds.Status = projected.Status.Folded()
		if folds != folded {
			report.Differences = append(report.Differences, Difference{DeliveryID: d.ID, Projected: projected, Folded: folded})
		}
	}
}

// repair writes the fold of a delivery's facts over its projection. The row is
// locked first, so no fact comes between; what the transport knows is kept: a
// delivery that it has stays queued.
func (s *Store) repair(ctx context.Context, delivery millrace.ID) error {
	return s.tx(ctx, func(tx *sqlx.Tx) error {
		var row deliveryRow
		err := tx.GetContext(ctx, &row, `SELECT `+deliveryColumns+` FROM deliveries d WHERE d.id = $1 FOR UPDATE`, delivery)
		if err != nil {
			return orMissing(err, millrace.NotFound("delivery"), "lock delivery "+delivery.String())
		}
		facts, err := countedFacts(ctx, tx, delivery, delivery)
		if err != nil {
			return err
		}
		state := millrace.Fold(facts[delivery])
		status := state.Status
		if status == millrace.Waiting && row.Status == millrace.Queued {
			status = millrace.Queued
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE deliveries SET status = $2, attempts = $3, facts = $4, next_attempt_at = $5, held_for = nullif($6, ''),
				last_outcome = nullif($7, ''), last_code = nullif($8::int, 0), last_latency = $9, updated_at = now()
			WHERE id = $1`, delivery, status, state.Attempts, state.Facts, timeOrNull(state.NextAttemptAt), string(state.HeldFor),
			string(state.LastOutcome), state.LastCode, int64(state.LastLatency))
		return mapError(err, "repair delivery "+delivery.String())
	})
}

func beginSnapshot(ctx context.Context, db *sqlx.DB) (*sqlx.Tx, error) {
	tx, err := db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	return tx, mapError(err, "begin a snapshot")
}
