package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// auditRow is one change to what is configured: who did what to what.
type auditRow struct {
	ID        millrace.ID  `db:"id"`
	ProjectID *millrace.ID `db:"project_id"`
	Actor     string       `db:"actor"`
	Noun      string       `db:"noun"`
	NounID    millrace.ID  `db:"noun_id"`
	Verb      string       `db:"verb"`
	Detail    string       `db:"detail"`
}

// audit leaves a row of a change, in the change's own transaction.
func audit(ctx context.Context, tx *sqlx.Tx, c change) error {
	row := auditRow{
		ID: millrace.NewID(time.Now()), ProjectID: idOrNull(c.Project), Actor: millrace.Actor(ctx),
		Noun: c.Noun, NounID: c.ID, Verb: c.Verb, Detail: c.Detail,
	}
	_, err := tx.NamedExecContext(ctx, `
		INSERT INTO audit (id, project_id, actor, noun, noun_id, verb, detail)
		VALUES (:id, :project_id, :actor, :noun, :noun_id, :verb, :detail)`, row)
	return mapError(err, "write the audit")
}
