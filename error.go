package millrace

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Code classifies an error for people and programs, from a closed list.
type Code string

// The closed list of error codes.
const (
	CodeBadRequest       Code = "bad_request"        // cannot be read, or a member is missing
	CodeInvalid          Code = "invalid"            // a value is refused
	CodeUnauthenticated  Code = "unauthenticated"    // no valid API key
	CodeForbidden        Code = "forbidden"          // the key may not do this
	CodeNotFound         Code = "not_found"          // unknown, or another project's
	CodeConflict         Code = "conflict"           // contradicts what is there
	CodeTooLarge         Code = "too_large"          // over a bound
	CodeUnsupportedMedia Code = "unsupported_media"  // not JSON
	CodeMethodNotAllowed Code = "method_not_allowed" // no such call on this path
	CodeRateLimited      Code = "rate_limited"       // again later
	CodeUnavailable      Code = "unavailable"        // a store is away; nothing was done
	CodeInternal         Code = "internal"           // ours
)

var httpStatus = map[Code]int{
	CodeBadRequest:       http.StatusBadRequest,
	CodeInvalid:          http.StatusUnprocessableEntity,
	CodeUnauthenticated:  http.StatusUnauthorized,
	CodeForbidden:        http.StatusForbidden,
	CodeNotFound:         http.StatusNotFound,
	CodeConflict:         http.StatusConflict,
	CodeTooLarge:         http.StatusRequestEntityTooLarge,
	CodeUnsupportedMedia: http.StatusUnsupportedMediaType,
	CodeMethodNotAllowed: http.StatusMethodNotAllowed,
	CodeRateLimited:      http.StatusTooManyRequests,
	CodeUnavailable:      http.StatusServiceUnavailable,
	CodeInternal:         http.StatusInternalServerError,
}

// HTTPStatus is the one table from codes to HTTP statuses.
func (c Code) HTTPStatus() int {
	if s, ok := httpStatus[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// FieldError names a member of a request and the remedy.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error is an error for the people who use the API: what is wrong, where, and
// what to do.
type Error struct {
	Code    Code
	Message string
	Fields  []FieldError
}

// Error is the message with the fields it names.
func (e *Error) Error() string {
	s := e.Message
	for _, f := range e.Fields {
		s += "; " + f.Field + ": " + f.Message
	}
	return s
}

// Errorf makes an Error for people.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes the error of one refused member.
func Invalid(field, format string, args ...any) *Error {
	m := fmt.Sprintf(format, args...)
	return &Error{Code: CodeInvalid, Message: field + " " + m, Fields: []FieldError{{Field: field, Message: m}}}
}

// Missing makes the error of one member that must be there.
func Missing(field string) *Error {
	return &Error{Code: CodeBadRequest, Message: field + " is required", Fields: []FieldError{{Field: field, Message: "is required"}}}
}

// JoinFaults makes one Error of the faults among its arguments, with all of
// their fields; nil where there is none. It is a bad request if anything is
// missing, and otherwise has the first fault's code. A fault that is no Error
// is joined as it is.
func JoinFaults(faults ...error) error {
	var all *Error
	var other []error
	for _, fault := range flatten(faults) {
		var e *Error
		switch {
		case !errors.As(fault, &e):
			other = append(other, fault)
		case all == nil:
			all = &Error{Code: e.Code, Message: e.Message, Fields: slices.Clone(e.Fields)}
		default:
			all.Message = "the request has several faults"
			all.Fields = append(all.Fields, e.Fields...)
			if e.Code == CodeBadRequest {
				all.Code = CodeBadRequest
			}
		}
	}
	if all != nil {
		other = append([]error{all}, other...)
	}
	if len(other) == 1 {
		return other[0]
	}
	return errors.Join(other...)
}

func flatten(faults []error) []error {
	var flat []error
	for _, fault := range faults {
		if joined, ok := fault.(interface{ Unwrap() []error }); ok {
			flat = append(flat, flatten(joined.Unwrap())...)
		} else if fault != nil {
			flat = append(flat, fault)
		}
	}
	return flat
}

// checkText bounds a text in characters. PostgreSQL takes no NUL.
func checkText(field, text string, least, most int) error {
	switch n := utf8.RuneCountInString(text); {
	case n == 0 && least > 0:
		return Missing(field)
	case n > most:
		return Invalid(field, "must have at most %d characters, not %d", most, n)
	case strings.Contains(text, "\x00") || !utf8.ValidString(text):
		return Invalid(field, "must be valid UTF-8 without NUL")
	}
	return nil
}

// NotFound makes the error of an unknown id. Another project's id is unknown.
func NotFound(noun string) *Error {
	return Errorf(CodeNotFound, "there is no such %s in this project", noun)
}

// CodeOf classifies any error: an Error by its code, an unavailable store as
// such, all else as ours.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case IsUnavailable(err):
		return CodeUnavailable
	}
	return CodeInternal
}

// Permanent marks an error that no redelivery will mend: the message becomes
// a dead letter now.
func Permanent(err error) error { return &outcomeError{err: err, permanent: true} }

// Unavailable marks an error of a store or of the egress that is away: never
// counted against the message; the stage waits and goes on where it was.
func Unavailable(err error) error { return &outcomeError{err: err} }

// IsPermanent tells whether an error is marked Permanent.
func IsPermanent(err error) bool {
	var o *outcomeError
	return errors.As(err, &o) && o.permanent
}

// IsUnavailable tells whether an error is marked Unavailable.
func IsUnavailable(err error) bool {
	var o *outcomeError
	return errors.As(err, &o) && !o.permanent
}

type outcomeError struct {
	err       error
	permanent bool
}

func (o *outcomeError) Error() string { return o.err.Error() }
func (o *outcomeError) Unwrap() error { return o.err }
