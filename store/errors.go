package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

// mapError says what a failure of PostgreSQL means to the callers: a store
// that is away is Unavailable, a violated constraint or a refused value is a
// *millrace.Error, and all else is wrapped with what was being done (verb and
// object). A *millrace.Error passes as it is; sql.ErrNoRows stays visible to
// errors.Is.
func mapError(err error, what string) error {
	if err == nil {
		return nil
	}
	var people *millrace.Error
	if errors.As(err, &people) || millrace.IsUnavailable(err) {
		return err
	}
	wrapped := fmt.Errorf("%s: %w", what, err)
	if isAway(err) {
		return millrace.Unavailable(wrapped)
	}
	if p := pqError(err); p != nil {
		if e := refusal(p, what); e != nil {
			return e
		}
	}
	return wrapped
}

// refusal is the error for people of a violated constraint or a bad value.
func refusal(p *pq.Error, what string) *millrace.Error {
	switch p.Code {
	case "23505":
		return millrace.Errorf(millrace.CodeConflict, "%s: there is one already (%s)", what, p.Constraint)
	case "23503":
		return millrace.Errorf(millrace.CodeConflict, "%s: it refers to something that is not there, or is referred to (%s)", what, p.Constraint)
	case "23514", "23502":
		return millrace.Errorf(millrace.CodeInvalid, "%s: a value is refused (%s%s)", what, p.Constraint, p.Column)
	}
	if p.Code.Class() == "22" {
		return millrace.Errorf(millrace.CodeInvalid, "%s: a value cannot be stored: %s", what, p.Message)
	}
	return nil
}

// isAway tells whether PostgreSQL could not be asked, or could not do what it
// else would: nothing is wrong with the request.
func isAway(err error) bool {
	if isRollback(err) {
		return true
	}
	if p := pqError(err); p != nil {
		switch p.Code.Class() {
		case "08", "53", "57", "58", "40", "28", "3D", "XX":
			return true
		}
		switch p.Code {
		case "25006", "25P03", "25P04", "55P03":
			return true
		}
		return false
	}
	var network net.Error
	return errors.As(err, &network) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// isRollback tells whether PostgreSQL rolled back for the sake of others,
// which goes away when tried again: a deadlock, a serialization failure, or a
// partition that was attached between the routing of a row and its insertion
// (a check violation that names no constraint).
func isRollback(err error) bool {
	p := pqError(err)
	return p != nil && (p.Code == "40001" || p.Code == "40P01" || p.Code == "23514" && p.Constraint == "")
}

// isRefused tells whether a statement failed for what a row holds.
func isRefused(err error) bool {
	p := pqError(err)
	return p != nil && (p.Code.Class() == "22" || p.Code.Class() == "23") && !isRollback(err)
}

func pqError(err error) *pq.Error {
	var p *pq.Error
	if errors.As(err, &p) {
		return p
	}
	return nil
}

// pgCode is the SQLSTATE of an error, or empty.
func pgCode(err error) string {
	if p := pqError(err); p != nil {
		return string(p.Code)
	}
	return ""
}
