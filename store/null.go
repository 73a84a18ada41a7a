package store

import (
	"database/sql"
	"time"

	"github.com/millrace-dev/millrace"
)

// uuidOrNull is an id that may be NULL, which reads as the zero id.
type uuidOrNull = sql.Null[millrace.ID]

// or zero: a NULL reads as the zero time, and any other in UTC.
func utc(t sql.Null[time.Time]) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.V.UTC()
}
