package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// change is one change to what is configured, as the audit will tell it.
type change struct {
	Project millrace.ID // zero: the instance
	Noun    string
	ID      millrace.ID
	Verb    string
	// Detail says why, where it is not plain; never a secret.
	Detail string
}

// errUnchanged ends a change that turns out to be none: what was done is
// rolled back, and nobody is told.
var errUnchanged = errors.New("nothing is changed")

// apply makes a change in one transaction: it locks the project's row before
// anything else (so that changes to a project come one after the other and
// cannot deadlock), raises its config version and leaves an audit row. After
// the commit it says so to OnChange. The function may run more than once, and
// may fill in the detail.
func (s *Store) apply(ctx context.Context, c *change, do func(tx *sqlx.Tx) error) error {
	err := s.tx(ctx, func(tx *sqlx.Tx) error {
		if err := raise(ctx, tx, c.Project); err != nil {
			return err
		}
		if err := do(tx); err != nil {
			return err
		}
		return audit(ctx, tx, *c)
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err == nil && s.OnChange != nil && c.Project != (millrace.ID{}) {
		s.OnChange(c.Project)
	}
	return err
}

// raise locks a project's row and raises its config version.
func raise(ctx context.Context, tx *sqlx.Tx, project millrace.ID) error {
	if project == (millrace.ID{}) {
		return nil
	}
	done, err := tx.ExecContext(ctx, `UPDATE projects SET config_version = config_version + 1 WHERE id = $1 AND deleted_at IS NULL`, project)
	return oneRow(done, err, errNoProject(), "raise the project's config version")
}

// view runs a function on one snapshot of the database.
func (s *Store) view(ctx context.Context, run func(tx *sqlx.Tx) error) error {
	return viewOf(ctx, s.reads, run)
}

func viewOf(ctx context.Context, on reader, run func(tx *sqlx.Tx) error) error {
	return tryTx(ctx, on, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, run)
}

// oneRow wants a statement to have touched a row, and otherwise says that it
// is missing.
func oneRow(done sql.Result, err error, missing *millrace.Error, what string) error {
	if err != nil {
		return mapError(err, what)
	}
	n, err := done.RowsAffected()
	if err != nil {
		return mapError(err, what)
	}
	if n == 0 {
		return missing
	}
	return nil
}

// orMissing turns an empty result into the error of what is missing.
func orMissing(err error, missing *millrace.Error, what string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return mapError(err, what)
}

func errNoProject() *millrace.Error {
	return millrace.Errorf(millrace.CodeNotFound, "there is no such project")
}
