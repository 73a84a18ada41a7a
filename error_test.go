package millrace

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
)

func TestCodeOf(t *testing.T) {
	lost := errors.New("connection lost")
	for _, c := range []struct {
		rule string
		err  error
		want Code
		http int
	}{
		{"an error for people has its own", Invalid("name", "is too long"), CodeInvalid, http.StatusUnprocessableEntity},
		{"however deep it is wrapped", fmt.Errorf("create endpoint: %w", Missing("url")), CodeBadRequest, http.StatusBadRequest},
		{"what is not there is not found", NotFound("endpoint"), CodeNotFound, http.StatusNotFound},
		{"a store that is away is unavailable", fmt.Errorf("load: %w", Unavailable(lost)), CodeUnavailable, http.StatusServiceUnavailable},
		{"an error for people counts for more", Unavailable(Errorf(CodeRateLimited, "later")), CodeRateLimited, http.StatusTooManyRequests},
		{"all else is ours", lost, CodeInternal, http.StatusInternalServerError},
		{"a permanent error is ours", Permanent(lost), CodeInternal, http.StatusInternalServerError},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got := CodeOf(c.err)
			if got != c.want || got.HTTPStatus() != c.http {
				t.Errorf("%v is %s, %d; want %s, %d", c.err, got, got.HTTPStatus(), c.want, c.http)
			}
		})
	}
	if got := Code("new").HTTPStatus(); got != http.StatusInternalServerError {
		t.Errorf("a code that is not on the list is %d", got)
	}
}

func TestMarks(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct {
		rule                   string
		err                    error
		permanent, unavailable bool
	}{
		{"permanent is not unavailable", Permanent(cause), true, false},
		{"unavailable is not permanent", Unavailable(cause), false, true},
		{"a mark is seen through wrapping", fmt.Errorf("persist: %w", Permanent(cause)), true, false},
		{"the outer mark counts", Permanent(Unavailable(cause)), true, false},
		{"no mark is neither", cause, false, false},
		{"no error is neither", nil, false, false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if IsPermanent(c.err) != c.permanent || IsUnavailable(c.err) != c.unavailable {
				t.Errorf("%v: permanent %v, unavailable %v", c.err, IsPermanent(c.err), IsUnavailable(c.err))
			}
			if c.err != nil && !errors.Is(c.err, cause) {
				t.Error("the mark hides its cause")
			}
		})
	}
}

func TestErrorNamesItsFields(t *testing.T) {
	for _, c := range []struct {
		rule string
		err  *Error
		want string
	}{
		{"no field", Errorf(CodeConflict, "there are %d", 2), "there are 2"},
		{"a field that is refused", Invalid("name", "has %d characters", 300), "name has 300 characters; name: has 300 characters"},
		{"a field that is missing", Missing("url"), "url is required; url: is required"},
		{"a thing that is not there", NotFound("source"), "there is no such source in this project"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if c.err.Error() != c.want {
				t.Errorf("%q, want %q", c.err.Error(), c.want)
			}
		})
	}
}

func TestJoinFaults(t *testing.T) {
	other := errors.New("other")
	for _, c := range []struct {
		rule   string
		faults []error
		code   Code
		fields int
	}{
		{"one stays as it is", []error{nil, Invalid("a", "x")}, CodeInvalid, 1},
		{"several are one with all fields", []error{Invalid("a", "x"), Invalid("b", "x")}, CodeInvalid, 2},
		{"one that is missing makes it a bad request", []error{Invalid("a", "x"), Missing("b")}, CodeBadRequest, 2},
		{"joined faults are taken apart", []error{errors.Join(Invalid("a", "x"), errors.Join(Missing("b"), nil))}, CodeBadRequest, 2},
		{"what is no Error is joined", []error{Invalid("a", "x"), other}, CodeInvalid, 1},
	} {
		t.Run(c.rule, func(t *testing.T) {
			err := JoinFaults(c.faults...)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || len(e.Fields) != c.fields {
				t.Errorf("joined to %+v", err)
			}
			if errors.Is(err, other) != (c.faults[len(c.faults)-1] == other) {
				t.Errorf("%v and the error that is no Error", err)
			}
		})
	}
	if err := JoinFaults(nil, nil); err != nil {
		t.Errorf("no fault is %v", err)
	}
}
