package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// AddDeadLetter keeps a message that could not be processed. Its id follows
// from the message, so it can be repeated. A delivery that it names is dead by
// it, with a fact, in the same transaction.
func (s *Store) AddDeadLetter(ctx context.Context, d millrace.DeadLetter) error {
	history, err := json.Marshal(nonNil(d.History))
	if err != nil {
		return fmt.Errorf("write the history of dead letter %s: %w", d.ID, err)
	}
	metadata, err := json.Marshal(d.Metadata)
	if err != nil {
		return fmt.Errorf("write the metadata of dead letter %s: %w", d.ID, err)
	}
	if d.Raw == nil {
		d.Raw = []byte{}
	}
	if d.CreatedAt.IsZero() {
		d.CreatedAt = time.Now()
	}
	return s.tx(ctx, func(tx *sqlx.Tx) error {
		result, err := tx.ExecContext(ctx, `
			INSERT INTO dead_letters (id, project_id, stage, topic, reason, error, history, event_id, delivery_id, raw, metadata, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (id) DO NOTHING`,
			d.ID, idOrNull(d.ProjectID), d.Stage, d.Topic, clean(d.Reason), clean(d.Error), string(history), idOrNull(d.EventID), idOrNull(d.DeliveryID),
			d.Raw, string(metadata), d.CreatedAt)
		if err != nil {
			return mapError(err, "keep dead letter "+d.ID.String())
		}
		added, err := result.RowsAffected()
		if err != nil || added == 0 || d.DeliveryID == (millrace.ID{}) {
			return mapError(err, "keep dead letter "+d.ID.String())
		}
		fact := millrace.DerivedID(millrace.TimeOf(d.ID), d.ID, d.DeliveryID)
		// A delivery that is final already stays what it is.
		_, err = closeDelivery(ctx, tx, d.DeliveryID, fact, closing{kind: millrace.FactDead, decided: millrace.Dead, why: d.Error})
		return err
	})
}

func nonNil(lines []string) []string {
	if lines == nil {
		return []string{}
	}
	return lines
}

// deadLetterRow is a row of dead_letters.
type deadLetterRow struct {
	ID         millrace.ID         `db:"id"`
	ProjectID  uuidOrNull          `db:"project_id"`
	Stage      string              `db:"stage"`
	Topic      string              `db:"topic"`
	Reason     string              `db:"reason"`
	Error      string              `db:"error"`
	History    []byte              `db:"history"`
	EventID    uuidOrNull          `db:"event_id"`
	DeliveryID uuidOrNull          `db:"delivery_id"`
	Raw        []byte              `db:"raw"`
	Metadata   []byte              `db:"metadata"`
	CreatedAt  time.Time           `db:"created_at"`
	SettledAt  sql.Null[time.Time] `db:"settled_at"`
	Settled    sql.Null[string]    `db:"settled"`
}

const deadLetterColumns = `id, project_id, stage, topic, reason, error, history, event_id, delivery_id, raw, metadata, created_at, settled_at, settled`

func (r deadLetterRow) letter() (millrace.DeadLetter, error) {
	d := millrace.DeadLetter{
		ID: r.ID, ProjectID: r.ProjectID.V, Stage: r.Stage, Topic: r.Topic, Reason: r.Reason, Error: r.Error,
		EventID: r.EventID.V, DeliveryID: r.DeliveryID.V, Raw: r.Raw, CreatedAt: r.CreatedAt.UTC(), SettledAt: utc(r.SettledAt), Settled: r.Settled.V,
	}
	if err := json.Unmarshal(r.History, &d.History); err != nil {
		return d, fmt.Errorf("read the history of dead letter %s: %w", r.ID, err)
	}
	if err := json.Unmarshal(r.Metadata, &d.Metadata); err != nil {
		return d, fmt.Errorf("read the metadata of dead letter %s: %w", r.ID, err)
	}
	return d, nil
}

// DeadLetters lists dead letters by their ids: a project's, or with Instance
// all of them, those of no project too.
func (s *Store) DeadLetters(ctx context.Context, q millrace.DeadLetterQuery) (list millrace.List[millrace.DeadLetter], err error) {
	err = s.read(ctx, func(from reader) error {
		list, err = deadLetters(ctx, from, q)
		return err
	})
	return list, err
}

func deadLetters(ctx context.Context, from reader, q millrace.DeadLetterQuery) (millrace.List[millrace.DeadLetter], error) {
	var list millrace.List[millrace.DeadLetter]
	q.Page = bounded(q.Page)
	k := keysetOf(q.Page)
	f := newListFilter(k)
	if q.Instance {
		f.add(`true`)
	} else {
		f.add(`project_id = ?`, q.ProjectID)
	}
	if q.Stage != "" {
		f.add(`stage = ?`, q.Stage)
	}
	if q.Open {
		f.add(`settled_at IS NULL`)
	}
	var rows []deadLetterRow
	if err := sqlx.SelectContext(ctx, from, &rows, `SELECT `+deadLetterColumns+` FROM dead_letters WHERE `+f.where()+k.order(), f.args...); err != nil {
		return list, mapError(err, "list dead letters")
	}
	page := listOf(rows, q.Page)
	list.HasNext, list.HasPrev = page.HasNext, page.HasPrev
	for _, r := range page.Items {
		d, err := r.letter()
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, d)
	}
	return list, nil
}

// DeadLetter reads a dead letter of a project, or with instance any.
func (s *Store) DeadLetter(ctx context.Context, project millrace.ID, instance bool, id millrace.ID) (millrace.DeadLetter, error) {
	var row deadLetterRow
	err := s.reads.GetContext(ctx, &row, `SELECT `+deadLetterColumns+` FROM dead_letters WHERE id = $1 AND ($2 OR project_id = $3)`, id, instance, project)
	if err != nil {
		return millrace.DeadLetter{}, orMissing(err, millrace.NotFound("dead letter"), "read dead letter "+id.String())
	}
	return row.letter()
}

// SettleDeadLetter notes that a dead letter was redriven or discarded. One
// that was settled before is a conflict. Redriving one of a delivery resends
// the delivery, if it is dead still, in the same transaction.
func (s *Store) SettleDeadLetter(ctx context.Context, id millrace.ID, how string) error {
	return s.tx(ctx, func(tx *sqlx.Tx) error {
		var row deadLetterRow
		err := tx.GetContext(ctx, &row, `
			UPDATE dead_letters SET settled = $2, settled_at = now() WHERE id = $1 AND settled_at IS NULL
			RETURNING `+deadLetterColumns, id, how)
		if err != nil {
			return s.whyNotSettled(ctx, id, err)
		}
		if how != "redriven" || !row.DeliveryID.Valid || !row.ProjectID.Valid {
			return nil
		}
		_, err = resend(ctx, tx, row.ProjectID.V, row.DeliveryID.V, millrace.Dead)
		if millrace.CodeOf(err) == millrace.CodeNotFound { // resent before, or gone
			return nil
		}
		return err
	})
}

// whyNotSettled tells an unknown dead letter from one that was settled before.
func (s *Store) whyNotSettled(ctx context.Context, id millrace.ID, err error) error {
	err = orMissing(err, millrace.NotFound("dead letter"), "settle dead letter "+id.String())
	if millrace.CodeOf(err) != millrace.CodeNotFound {
		return err
	}
	before, readErr := s.DeadLetter(ctx, millrace.ID{}, true, id)
	if readErr != nil {
		return readErr
	}
	return millrace.Errorf(millrace.CodeConflict, "the dead letter was %s already", before.Settled)
}
