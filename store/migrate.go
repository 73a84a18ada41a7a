package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/migrations"
)

// ErrSchema says that the database's schema is not the one that this program
// knows; the error that wraps it names the command to run.
var ErrSchema = errors.New("the database's schema is not the one this program knows")

// Direction is which way to migrate.
type Direction string

// The two directions.
const (
	Up   Direction = "up"   // to the newest version
	Down Direction = "down" // one version back
)

// Migration is one step of the schema, and whether it has been made.
type Migration struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	Applied   bool      `json:"applied"`
	AppliedAt time.Time `json:"applied_at,omitzero"`
}

// partitionsAhead is how many days after today have partitions from the first
// moment on; the janitor makes those of the days that follow.
const partitionsAhead = 1

// Migrate brings the schema up to the newest version and makes the partitions
// of the days ahead, or takes one version back. Several may run at once: one
// does the work and the others wait for it.
func Migrate(ctx context.Context, url millrace.Sensitive, way Direction) error {
	return withGoose(ctx, url, func(db *sqlx.DB, provider *goose.Provider) error {
		switch way {
		case Down:
			_, err := provider.Down(ctx)
			if errors.Is(err, goose.ErrNoNextVersion) {
				return nil
			}
			return mapError(err, "migrate down")
		case Up:
			if _, err := provider.Up(ctx); err != nil {
				return mapError(err, "migrate up")
			}
			return makePartitions(ctx, db, time.Now(), span{ahead: partitionsAhead})
		}
		return fmt.Errorf("migrate: there is no direction %q, only up and down", way)
	})
}

// MigrationStatus lists all steps of the schema in their order.
func MigrationStatus(ctx context.Context, url millrace.Sensitive) ([]Migration, error) {
	var all []Migration
	err := withGoose(ctx, url, func(_ *sqlx.DB, provider *goose.Provider) error {
		status, err := provider.Status(ctx)
		for _, m := range status {
			all = append(all, Migration{
				Version: m.Source.Version, Name: m.Source.Path,
				Applied: m.State == goose.StateApplied, AppliedAt: m.AppliedAt,
			})
		}
		return mapError(err, "read the migrations' status")
	})
	return all, err
}

// withGoose runs a function on an own small pool, whose statements may take
// as long as they need.
func withGoose(ctx context.Context, url millrace.Sensitive, run func(*sqlx.DB, *goose.Provider) error) error {
	c := DefaultConfig()
	c.URL, c.Application, c.StatementTimeout = url, "millrace migrate", 0
	db, err := c.pool(3, nil)
	if err != nil {
		return err
	}
	if err := checkServer(ctx, db); err != nil {
		return errors.Join(err, db.Close())
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db.DB, migrations.FS(), goose.WithSessionLocker(schemaLock{}), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return errors.Join(fmt.Errorf("read the migrations: %w", err), db.Close())
	}
	return errors.Join(run(db, provider), db.Close())
}

// schemaLock lets one migration at a time into a schema. The others block in
// PostgreSQL, so they go on as soon as the first is done.
type schemaLock struct{}

// SessionLock waits until no one else migrates this schema.
func (schemaLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock(hashtextextended('millrace.migrate.' || current_schema(), 0))`)
	return mapError(err, "lock the schema for migration")
}

// SessionUnlock lets the next one in.
func (schemaLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock(hashtextextended('millrace.migrate.' || current_schema(), 0))`)
	return mapError(err, "unlock the schema after migration")
}

// checkSchema refuses a schema that is not exactly the newest known.
func checkSchema(ctx context.Context, db *sqlx.DB) error {
	var have int64
	err := db.GetContext(ctx, &have, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`)
	if pgCode(err) == "42P01" { // no such table
		have, err = 0, nil
	}
	if err != nil {
		return mapError(err, "read the schema's version")
	}
	want := migrations.Latest()
	switch {
	case have < want:
		return fmt.Errorf("%w: it is at version %d and this program needs %d; run `millrace migrate up`", ErrSchema, have, want)
	case have > want:
		return fmt.Errorf("%w: it is at version %d and this program knows %d at most; run a newer millrace, or that newer one's `millrace migrate down`", ErrSchema, have, want)
	}
	return nil
}
