package store

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// oldestServer is the oldest PostgreSQL that Millrace is tested with and whose
// sessions end when they are idle, which the leader's lock counts on.
const oldestServer = 15

// checkServer refuses a PostgreSQL that is too old, and one that does not let
// this program in, which no waiting mends.
func checkServer(ctx context.Context, db *sqlx.DB) error {
	var number int
	if err := db.GetContext(ctx, &number, `SELECT current_setting('server_version_num')::int`); err != nil {
		if shut := shutOut(err); shut != nil {
			return shut
		}
		return mapError(err, "read PostgreSQL's version")
	}
	return checkVersion(number)
}

// shutOut says in the operator's words why PostgreSQL lets nobody in by this
// URL; nil: it is something else. Once a program runs, that is Unavailable
// like any other absence: credentials are changed under it now and then.
func shutOut(err error) error {
	switch p := pqError(err); pgCode(err) {
	case "28P01", "28000":
		return fmt.Errorf("postgres.url: PostgreSQL answers and does not let this user in: %s (SQLSTATE %s)", p.Message, p.Code)
	case "3D000":
		return fmt.Errorf("postgres.url: PostgreSQL answers and has no such database: %s; create it, or name another", p.Message)
	}
	return nil
}

// checkVersion judges a server_version_num, such as 150004 for 15.4.
func checkVersion(number int) error {
	const perMajor = 10_000
	if major := number / perMajor; major < oldestServer {
		return fmt.Errorf("this PostgreSQL is version %d and Millrace needs %d or newer: upgrade it, or let postgres.url name another", major, oldestServer)
	}
	return nil
}
