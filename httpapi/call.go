package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gorilla/mux"

	millrace "github.com/millrace-dev/millrace"
)

// call is one request under way.
type call struct {
	ctx context.Context
	r   *http.Request
	w   recorder
	// id is the request's name in answers and logs.
	id string
	// key is who asks; zero on open routes.
	key millrace.APIKey
	// project is whose resources are asked for; zero on the instance's routes.
	project millrace.ID
	now     func() time.Time
}

// handler answers a call, or says why not: the error becomes the answer.
type handler func(c *call) error

// unmatched is the name of requests that no route takes.
const unmatched = "unmatched"

// serve is what stands around every handler: the request's id, its deadline,
// its errors, and what is told of it. No panic gets out.
func (s *Server) serve(route string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
		defer cancel()
		c := &call{ctx: ctx, r: r, w: recorder{ResponseWriter: w}, id: requestID(r), now: s.deps.Now}
		w.Header()["X-Request-Id"] = []string{c.id}
		defer s.finish(c, route, start)
		if err := h(c); err != nil {
			s.refuse(c, err)
		}
	})
}

func (s *Server) finish(c *call, route string, start time.Time) {
	if p := recover(); p != nil {
		s.recovered(c, p)
	}
	took := time.Since(start)
	if s.deps.Observe != nil {
		s.deps.Observe(route, c.w.status, took)
	}
	if s.deps.Log.Enabled(c.ctx, slog.LevelDebug) {
		s.deps.Log.DebugContext(c.ctx, "request", "request", c.id, "method", c.r.Method, "route", route, "status", c.w.status, "took", took, "key", c.key.Prefix)
	}
}

// recovered answers after a panic. One that is already half answered, or that
// was meant to cut the connection, cuts it.
func (s *Server) recovered(c *call, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	s.deps.Log.ErrorContext(c.ctx, "a request panicked", "request", c.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if c.w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	c.answerError(millrace.Errorf(millrace.CodeInternal, "something went wrong on our side; its name is %s", c.id))
}

// requestID takes the client's name for the request, if it is a sane one.
func requestID(r *http.Request) string {
	given := r.Header.Get("X-Request-Id")
	if given == "" || len(given) > 128 {
		return millrace.NewID(time.Now()).String()
	}
	for i := range len(given) {
		if given[i] <= ' ' || given[i] > '~' {
			return millrace.NewID(time.Now()).String()
		}
	}
	return given
}

// pathID reads an id of the path. What is no id names nothing.
func (c *call) pathID(name, noun string) (millrace.ID, error) {
	id, err := millrace.ParseID(mux.Vars(c.r)[name])
	if err != nil {
		return id, millrace.NotFound(noun)
	}
	return id, nil
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write answers 200 where nothing else was said.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func notFound(*call) error {
	return millrace.Errorf(millrace.CodeNotFound, "there is no such path; see /openapi.yml")
}

// methodNotAllowed names the methods that the path does take (RFC 9110
// section 15.5.6).
func (s *Server) methodNotAllowed(c *call) error {
	allow := ""
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
		r := &http.Request{Method: m, URL: c.r.URL}
		var match mux.RouteMatch
		if s.router.Match(r, &match) && match.Route != nil {
			if allow != "" {
				allow += ", "
			}
			allow += m
		}
	}
	c.w.Header().Set("Allow", allow)
	return millrace.Errorf(millrace.CodeMethodNotAllowed, "%s is not for this path; %s is", c.r.Method, allow)
}
