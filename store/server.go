package store

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// oldestServer is the oldest PostgreSQL that Millrace is tested with and whose
// sessions end when they are idle, which the leader's lock counts on.
const oldestServer = 15

// checkServer refuses a PostgreSQL that is too old.
func checkServer(ctx context.Context, db *sqlx.DB) error {
	var number int
	if err := db.GetContext(ctx, &number, `SELECT current_setting('server_version_num')::int`); err != nil {
		return mapError(err, "read PostgreSQL's version")
	}
	return checkVersion(number)
}

// checkVersion judges a server_version_num, such as 150004 for 15.4.
func checkVersion(number int) error {
	const perMajor = 10_000
	if major := number / perMajor; major < oldestServer {
		return fmt.Errorf("this PostgreSQL is version %d and Millrace needs %d or newer: upgrade it, or let postgres.url name another", major, oldestServer)
	}
	return nil
}
