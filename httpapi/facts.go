package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// Facts follows the log of a project, in log order.
type Facts interface {
	FactsSince(ctx context.Context, project millrace.ID, after millrace.LogPosition, limit int) ([]millrace.LogEntry, error)
}

// followOut is a piece of the log. Cursor is where to go on from; it is there
// even where nothing new is.
type followOut struct {
	Content []factOut `json:"content"`
	Cursor  string    `json:"cursor"`
}

// factOut is a fact as it is shown to those who follow.
type factOut struct {
	UID           string              `json:"uid"`
	Kind          millrace.FactKind   `json:"kind"`
	EventID       string              `json:"event_id"`
	EventType     string              `json:"event_type"`
	DeliveryID    string              `json:"delivery_id"`
	EndpointID    string              `json:"endpoint_id"`
	Turn          int                 `json:"turn"`
	State         millrace.Status     `json:"state"`
	Reason        string              `json:"reason,omitempty"`
	NextAttemptAt *time.Time          `json:"next_attempt_at"`
	Counted       bool                `json:"counted"`
	Attempt       *followedAttemptOut `json:"attempt,omitempty"`
	At            time.Time           `json:"at"`
}

// followedAttemptOut is the short of an attempt.
type followedAttemptOut struct {
	URL            string           `json:"url"`
	Outcome        millrace.Outcome `json:"outcome"`
	StatusCode     int              `json:"status_code,omitempty"`
	Error          string           `json:"error,omitempty"`
	LatencySeconds float64          `json:"latency_seconds"`
}

// Bounds of one piece of the log.
const (
	defaultFacts = 100
	maxFacts     = 1000
)

// followFacts answers with what happened after a cursor; without one, with what
// happens from now on.
func (s *Server) followFacts(c *call) error {
	q := c.query()
	limit := q.number("limit", defaultFacts, 1, maxFacts)
	after := millrace.LogPosition{At: s.deps.Now()}
	if cursor := q.text("after"); cursor != "" {
		var ok bool
		if after, ok = parsePosition(cursor); !ok {
			q.fault("after", "must be a cursor from an earlier answer")
		}
	}
	if err := q.err(); err != nil {
		return err
	}
	entries, err := s.deps.Facts.FactsSince(c.ctx, c.project, after, limit)
	if err != nil {
		return err
	}
	out := followOut{Content: make([]factOut, len(entries))}
	for i, e := range entries {
		out.Content[i] = newFact(e)
		after = e.Position
	}
	out.Cursor = formatPosition(after)
	return c.respond(http.StatusOK, "Facts fetched successfully", out)
}

func newFact(e millrace.LogEntry) factOut {
	out := factOut{
		UID: e.ID.String(), Kind: e.Kind, EventID: e.EventID.String(), EventType: e.EventType, DeliveryID: e.DeliveryID.String(),
		EndpointID: e.EndpointID.String(), Turn: e.Turn, State: e.Decided, Reason: e.Reason, NextAttemptAt: orNull(e.NextAttemptAt),
		Counted: e.Counted, At: e.At.UTC(),
	}
	if a := e.Attempt; a != nil {
		out.Attempt = &followedAttemptOut{URL: a.URL, Outcome: a.Outcome, StatusCode: a.StatusCode, Error: a.Error, LatencySeconds: a.Latency.Seconds()}
	}
	return out
}

// formatPosition writes a place in the log as a cursor: its nanoseconds and its
// id, for nobody to read anything into.
func formatPosition(p millrace.LogPosition) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.At.UnixNano()))
	return base64.RawURLEncoding.EncodeToString(append(b, p.ID[:]...))
}

func parsePosition(cursor string) (millrace.LogPosition, bool) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) != 24 {
		return millrace.LogPosition{}, false
	}
	return millrace.LogPosition{At: time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC(), ID: millrace.ID(b[8:])}, true
}
