package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// deliveryRow is a row of deliveries.
type deliveryRow struct {
	ID             millrace.ID             `db:"id"`
	ProjectID      millrace.ID             `db:"project_id"`
	EventID        millrace.ID             `db:"event_id"`
	EndpointID     millrace.ID             `db:"endpoint_id"`
	SubscriptionID uuidOrNull              `db:"subscription_id"`
	ReplayID       millrace.ID             `db:"replay_id"`
	EventType      string                  `db:"event_type"`
	Status         millrace.Status         `db:"status"`
	Attempts       int                     `db:"attempts"`
	Facts          int                     `db:"facts"`
	NextAttemptAt  sql.Null[time.Time]     `db:"next_attempt_at"`
	HeldFor        sql.Null[string]        `db:"held_for"`
	LastOutcome    sql.Null[string]        `db:"last_outcome"`
	LastCode       sql.Null[int]           `db:"last_code"`
	LastLatency    sql.Null[time.Duration] `db:"last_latency"`
	Turn           int                     `db:"turn"`
	QueuedAt       sql.Null[time.Time]     `db:"queued_at"`
	ClaimedBy      sql.Null[string]        `db:"claimed_by"`
	CreatedAt      time.Time               `db:"created_at"`
	UpdatedAt      time.Time               `db:"updated_at"`
}

const deliveryColumns = `d.id, d.project_id, d.event_id, d.endpoint_id, d.subscription_id, d.replay_id, d.event_type,
	d.status, d.attempts, d.facts, d.next_attempt_at, d.held_for, d.last_outcome, d.last_code, d.last_latency,
	d.turn, d.queued_at, d.claimed_by, d.created_at, d.updated_at`

func (r deliveryRow) state() millrace.State {
	return millrace.State{
		Status: r.Status, Attempts: r.Attempts, Facts: r.Facts, NextAttemptAt: utc(r.NextAttemptAt), HeldFor: millrace.HoldReason(r.HeldFor.V),
		LastOutcome: millrace.Outcome(r.LastOutcome.V), LastCode: r.LastCode.V, LastLatency: r.LastLatency.V,
	}
}

func (r deliveryRow) record() millrace.DeliveryRecord {
	return millrace.DeliveryRecord{
		Delivery: millrace.Delivery{
			ID: r.ID, ProjectID: r.ProjectID, EventID: r.EventID, EndpointID: r.EndpointID, SubscriptionID: r.SubscriptionID.V,
			ReplayID: r.ReplayID, Turn: r.Turn, Attempts: r.Attempts, EventType: r.EventType,
		},
		State: r.state(), QueuedAt: utc(r.QueuedAt), ClaimedBy: r.ClaimedBy.V, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
}

// Delivery reads one delivery of a project.
func (s *Store) Delivery(ctx context.Context, project, delivery millrace.ID) (d millrace.DeliveryRecord, err error) {
	err = s.read(ctx, func(from reader) error {
		d, err = readDelivery(ctx, from, project, delivery)
		return err
	})
	return d, err
}

func readDelivery(ctx context.Context, from sqlx.QueryerContext, project, delivery millrace.ID) (millrace.DeliveryRecord, error) {
	var row deliveryRow
	err := sqlx.GetContext(ctx, from, &row, `SELECT `+deliveryColumns+` FROM deliveries d WHERE d.id = $1 AND d.project_id = $2`, delivery, project)
	if errors.Is(err, sql.ErrNoRows) {
		return millrace.DeliveryRecord{}, millrace.NotFound("delivery")
	}
	return row.record(), mapError(err, "read delivery "+delivery.String())
}

// Resend makes a delivery wait to be sent at once, whatever its state, with
// all of its tries again. An answer to an earlier try counts no more.
func (s *Store) Resend(ctx context.Context, project, delivery millrace.ID) (millrace.DeliveryRecord, error) {
	return resend(ctx, s.reads, project, delivery, "")
}

// resend resends a delivery if it is in the state, or in any where that is
// empty; one in another is not found.
func resend(ctx context.Context, in sqlx.QueryerContext, project, delivery millrace.ID, only millrace.Status) (millrace.DeliveryRecord, error) {
	var row deliveryRow
	err := sqlx.GetContext(ctx, in, &row, `
		WITH d AS (
			UPDATE deliveries SET
				status = 'waiting', turn = turn + 1, resent_turn = turn + 1, claimed_by = NULL, updated_at = now(),
				attempts = 0, facts = facts + 1, next_attempt_at = NULL, held_for = NULL
			WHERE id = $1 AND project_id = $2 AND ($4 = '' OR status = $4)
			RETURNING *
		), noted AS (
			INSERT INTO facts (delivery_id, id, turn, kind, at, decided, counted, number)
			SELECT id, $3, turn, 'resent', now(), 'waiting', true, facts FROM d
		)
		SELECT `+deliveryColumns+` FROM d`, delivery, project, millrace.NewID(time.Now()), only)
	if errors.Is(err, sql.ErrNoRows) {
		return millrace.DeliveryRecord{}, millrace.NotFound("delivery")
	}
	return row.record(), mapError(err, "resend delivery "+delivery.String())
}

// closing is how deliveries that are not final are brought to an end from
// outside.
type closing struct {
	kind    millrace.FactKind // cancelled, dead
	decided millrace.Status
	why     string
}

// closeDelivery ends a delivery that is queued, waiting or held. False: it is
// none of these, or not there. The fact's id is the caller's.
func closeDelivery(ctx context.Context, in sqlx.ExecerContext, delivery, fact millrace.ID, c closing) (bool, error) {
	result, err := in.ExecContext(ctx, `
		WITH d AS (
			UPDATE deliveries SET status = $3, facts = facts + 1, next_attempt_at = NULL, held_for = NULL, updated_at = now()
			WHERE id = $1 AND status IN ('queued', 'waiting', 'held')
			RETURNING id, turn, facts
		)
		INSERT INTO facts (delivery_id, id, turn, kind, at, decided, reason, counted, number)
		SELECT id, $2, turn, $4, now(), $3, $5, true, facts FROM d`, delivery, fact, c.decided, c.kind, clean(c.why))
	if err != nil {
		return false, mapError(err, "close delivery "+delivery.String())
	}
	n, err := result.RowsAffected()
	return n == 1, mapError(err, "close delivery "+delivery.String())
}

// Cancel ends a delivery that is queued, waiting or held. One that is final
// already is a conflict.
func (s *Store) Cancel(ctx context.Context, project, delivery millrace.ID, why string) (millrace.DeliveryRecord, error) {
	var d millrace.DeliveryRecord
	err := s.tx(ctx, func(tx *sqlx.Tx) error {
		var err error
		if d, err = readDelivery(ctx, tx, project, delivery); err != nil {
			return err
		}
		closed, err := closeDelivery(ctx, tx, delivery, millrace.NewID(time.Now()), closing{kind: millrace.FactCancelled, decided: millrace.Cancelled, why: why})
		if err != nil {
			return err
		}
		if d, err = readDelivery(ctx, tx, project, delivery); err != nil {
			return err
		}
		if !closed {
			return millrace.Errorf(millrace.CodeConflict, "the delivery is %s already", d.Status)
		}
		return nil
	})
	if err != nil {
		return millrace.DeliveryRecord{}, err
	}
	return d, nil
}

// openOf picks the deliveries to cancel: an endpoint's or a whole project's.
type openOf struct {
	EndpointID millrace.ID
	ProjectID  millrace.ID
}

// cancelBatch is how many deliveries one statement cancels, so that none runs
// into the statement timeout.
const cancelBatch = 5000

// cancelOpen cancels all deliveries of an endpoint or of a project that are
// queued, waiting or held, with a fact each, and answers how many there were.
func cancelOpen(ctx context.Context, tx *sqlx.Tx, of openOf, why string) (int, error) {
	id, column := of.EndpointID, `endpoint_id`
	if id == (millrace.ID{}) {
		id, column = of.ProjectID, `project_id`
	}
	if id == (millrace.ID{}) {
		return 0, fmt.Errorf("cancel deliveries: whose was not said")
	}
	end, all := ending{kind: millrace.FactCancelled, decided: millrace.Cancelled, why: why}, 0
	// Each state by itself: each has an index of its own.
	for _, status := range []string{`'held'`, `'waiting'`, `'queued'`} {
		n, err := inBatches(cancelBatch, func() (int, error) {
			return end.some(ctx, tx, column+` = $1 AND status = `+status, id)
		})
		if all += n; err != nil {
			return all, err
		}
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM held_endpoints WHERE `+column+` = $1`, id)
	return all, mapError(err, "forget held endpoints")
}

// ending is how deliveries are ended from outside of the transport, each by a
// fact.
type ending struct {
	kind    millrace.FactKind
	decided millrace.Status
	why     string
}

// pickOpen lists and locks some of the deliveries that the condition picks.
func pickOpen(condition string) string {
	return `SELECT id FROM deliveries WHERE ` + condition + ` ORDER BY id LIMIT $2 FOR UPDATE`
}

// some ends some of the open deliveries that the condition, a fixed text,
// picks by $1, and answers how many.
func (e ending) some(ctx context.Context, tx *sqlx.Tx, condition string, of millrace.ID) (int, error) {
	var open []millrace.ID
	if err := tx.SelectContext(ctx, &open, pickOpen(condition), of, cancelBatch); err != nil {
		return 0, mapError(err, "list open deliveries")
	}
	if len(open) == 0 {
		return 0, nil
	}
	now := time.Now()
	_, err := tx.ExecContext(ctx, `
		WITH d AS (
			UPDATE deliveries d SET status = $6, facts = d.facts + 1, next_attempt_at = NULL, held_for = NULL, updated_at = now()
			FROM unnest($1::uuid[], $2::uuid[]) AS x(id, fact)
			WHERE d.id = x.id AND d.id BETWEEN $4 AND $5
			RETURNING d.id, x.fact, d.turn, d.facts
		)
		INSERT INTO facts (delivery_id, id, turn, kind, at, decided, reason, counted, number)
		SELECT id, fact, turn, $7, now(), $6, $3, true, facts FROM d`,
		ids(open), column(open, oidUUID, func(b []byte, _ millrace.ID) []byte { return putID(b, millrace.NewID(now)) }), clean(e.why),
		open[0], open[len(open)-1], string(e.decided), string(e.kind))
	return len(open), mapError(err, "end deliveries")
}
