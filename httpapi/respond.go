package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"

	millrace "github.com/millrace-dev/millrace"
)

// envelope is around every answer, as in Convoy; code and errors are ours.
type envelope struct {
	Status  bool                  `json:"status"`
	Message string                `json:"message"`
	Data    any                   `json:"data"`
	Code    millrace.Code         `json:"code,omitempty"`
	Errors  []millrace.FieldError `json:"errors,omitempty"`
}

// retryAfter is how many seconds a client is asked to wait when a store is
// away: long enough to matter, short enough to be back at once.
const retryAfter = "1"

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// biggestKept bounds the answers' buffers that are kept for the next one.
const biggestKept = 64 << 10

// respond answers with data in the envelope.
func (c *call) respond(status int, message string, data any) error {
	return c.write(status, envelope{Status: true, Message: message, Data: data})
}

func (c *call) write(status int, e envelope) error {
	buf := buffers.Get().(*bytes.Buffer)
	buf.Reset()
	defer func() {
		if buf.Cap() <= biggestKept {
			buffers.Put(buf)
		}
	}()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return err
	}
	c.send(status, buf.Bytes())
	return nil
}

// send writes a complete answer in JSON. A client that is gone by then is
// nobody's fault.
func (c *call) send(status int, body []byte) {
	h := c.w.Header()
	h["Content-Type"] = []string{"application/json; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
}

// refuse answers with an error: in its own words where it is meant for people,
// and otherwise with no more than the request's id, under which the log has
// the rest.
func (s *Server) refuse(c *call, err error) {
	e := asError(c, err)
	switch e.Code {
	case millrace.CodeInternal:
		s.deps.Log.ErrorContext(c.ctx, "a request failed", "request", c.id, "error", err)
	case millrace.CodeUnavailable: // thousands a second, where a store is away
		s.deps.Log.DebugContext(c.ctx, "a request was turned away", "request", c.id, "error", err)
	}
	c.answerError(e)
}

func (c *call) answerError(e *millrace.Error) {
	h := c.w.Header()
	switch e.Code {
	case millrace.CodeUnavailable, millrace.CodeRateLimited:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", retryAfter)
		}
	case millrace.CodeUnauthenticated:
		if h.Get("WWW-Authenticate") == "" {
			h.Set("WWW-Authenticate", `Bearer realm="millrace"`)
		}
	}
	_ = c.write(e.Code.HTTPStatus(), envelope{Message: e.Message, Code: e.Code, Errors: e.Fields})
}

// asError makes one Error for people of whatever a handler returned.
func asError(c *call, err error) *millrace.Error {
	var e *millrace.Error
	var long *http.MaxBytesError
	switch err = millrace.JoinFaults(err); {
	case errors.As(err, &e):
		return e
	case errors.As(err, &long):
		return millrace.Errorf(millrace.CodeTooLarge, "the body is too long: at most %d bytes are taken here", long.Limit)
	case millrace.IsUnavailable(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), c.ctx.Err() != nil:
		return millrace.Errorf(millrace.CodeUnavailable, "this cannot be done just now; try again")
	}
	return millrace.Errorf(millrace.CodeInternal, "something went wrong on our side; its name is %s", c.id)
}
