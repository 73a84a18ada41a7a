// Package handlers holds the work of each stage in plain Go: one file, one
// stage. A handler knows no transport, no SQL and no metric; what it needs of
// others it names as an interface beside its use.
package handlers

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
)

// Nothing is what a stage passes on that writes no topic.
type Nothing struct{}

// Accepted is what ingest passes on: an event for the queue, or one that is
// in the log already. One of the two is set.
type Accepted struct {
	Queued    *millrace.Event
	Persisted *millrace.StoredEvent
}

// EventLog appends an event to the log. Any append can be repeated. An event
// whose idempotency key was seen before is not stored unless keepDuplicate;
// the answer then names the first in DuplicateOf.
type EventLog interface {
	AppendEvent(ctx context.Context, e millrace.Event, keepDuplicate bool) (millrace.StoredEvent, error)
}

// Configs knows the projects' configuration, at least as new as the version
// asked for; zero: any that is at hand.
type Configs interface {
	Config(ctx context.Context, project millrace.ID, atLeast int64) (*Config, error)
	// Latest loads the newest, where something seems to be missing.
	Latest(ctx context.Context, project millrace.ID) (*Config, error)
}

// Config is a project's configuration and the matcher made of it.
type Config struct {
	*millrace.Snapshot
	Matcher *millrace.Matcher
}

// Queue tells whether events may be left to the queue now: it answers and is
// not about to be full.
type Queue interface {
	Accepting() bool
}

// Ingest takes submissions in: it bounds and validates them, gives the event
// its id, and settles how it will be answered.
type Ingest struct {
	Log      EventLog
	Configs  Configs
	Queue    Queue
	MaxBytes int
	// InlineMax is the largest payload, in bytes, that waits in the queue;
	// larger ones are stored first, while there is a log to take them.
	InlineMax int
	// Ack is the server's level, where neither request nor project names one.
	Ack millrace.AckLevel
	// Now is PostgreSQL's clock as known here: ids are minted from it.
	Now func() time.Time
	// Trace is the trace that begins here, where none came in; nil or empty:
	// none does.
	Trace func(ctx context.Context) string
}

// Bounds of what a submission may carry.
const (
	MaxEventType      = 255
	MaxIdempotencyKey = 255
)

// Handle judges one submission. A refusal is an answer, not a failure, where
// somebody waits for it; where nobody does it is permanent.
func (h *Ingest) Handle(ctx context.Context, s millrace.Submission) ([]Accepted, error) {
	accepted, err := h.take(ctx, s)
	var refused *millrace.Error
	switch {
	case err == nil:
		return accepted, nil
	case s.Receipt == nil && errors.As(err, &refused):
		return nil, millrace.Permanent(err)
	case s.Receipt == nil:
		return nil, err
	case errors.As(err, &refused):
		s.Receipt.Refused = refused
		return nil, nil
	}
	s.Receipt.Failed = err
	return nil, err
}

func (h *Ingest) take(ctx context.Context, s millrace.Submission) ([]Accepted, error) {
	if err := h.validate(s); err != nil {
		return nil, err
	}
	config, err := h.config(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.TraceParent == "" && h.Trace != nil {
		s.TraceParent = h.Trace(ctx)
	}
	e := h.event(s)
	queue := h.level(s, config) == millrace.AckQueued
	if queue && len(e.Payload) <= h.InlineMax {
		return queued(s, e), nil
	}
	// A caller learns of a duplicate by the answer; elsewhere it is kept, so
	// that people can see it.
	stored, err := h.Log.AppendEvent(ctx, e, s.Receipt == nil)
	switch {
	case queue && millrace.IsUnavailable(err):
		return queued(s, e), nil
	case err != nil:
		return nil, err
	}
	if first := stored.DuplicateOf; first != (millrace.ID{}) {
		stored.ID = first
		s.Answer(millrace.Receipt{Event: stored.Event, Ack: millrace.AckPersisted, Duplicate: true})
		return nil, nil
	}
	s.Answer(millrace.Receipt{Event: stored.Event, Ack: millrace.AckPersisted})
	stored = stored.Light(h.InlineMax)
	return []Accepted{{Persisted: &stored}}, nil
}

func queued(s millrace.Submission, e millrace.Event) []Accepted {
	s.Answer(millrace.Receipt{Event: e, Ack: millrace.AckQueued})
	return []Accepted{{Queued: &e}}
}

// level is what the submission will be answered after. Whatever has an
// idempotency key is stored first where somebody waits for the answer: only
// the table can tell a duplicate.
func (h *Ingest) level(s millrace.Submission, c *Config) millrace.AckLevel {
	if (s.IdempotencyKey != "" && s.Receipt != nil) || !h.Queue.Accepting() {
		return millrace.AckPersisted
	}
	for _, level := range []millrace.AckLevel{s.Ack, c.Project.Config.Ack, h.Ack} {
		if level != millrace.AckDefault {
			return level
		}
	}
	return millrace.AckQueued
}

// config finds the project, and the endpoint where the submission names one.
func (h *Ingest) config(ctx context.Context, s millrace.Submission) (*Config, error) {
	c, err := h.Configs.Config(ctx, s.ProjectID, 0)
	if err != nil || s.Audience.EndpointID == (millrace.ID{}) {
		return c, err
	}
	if _, known := c.Endpoints[s.Audience.EndpointID]; known {
		return c, nil
	}
	if c, err = h.Configs.Latest(ctx, s.ProjectID); err != nil {
		return nil, err
	}
	if _, known := c.Endpoints[s.Audience.EndpointID]; !known {
		return nil, millrace.NotFound("endpoint")
	}
	return c, nil
}

func (h *Ingest) event(s millrace.Submission) millrace.Event {
	id := s.EventID
	if id == (millrace.ID{}) {
		id = millrace.NewID(h.Now())
	}
	return millrace.Event{
		ID: id, ProjectID: s.ProjectID, SourceID: s.SourceID, Type: s.Type, Audience: s.Audience, Headers: s.Headers,
		IdempotencyKey: s.IdempotencyKey, KeyScope: s.KeyScope, BrokerMessageID: s.BrokerMessageID, TraceParent: s.TraceParent, Payload: s.Payload,
	}
}

func (h *Ingest) validate(s millrace.Submission) error {
	switch {
	case s.Type == "":
		return millrace.Missing("event_type")
	case len(s.Type) > MaxEventType || !printable(s.Type):
		return millrace.Invalid("event_type", "must be at most %d bytes of text without control characters", MaxEventType)
	case len(s.Payload) == 0:
		return millrace.Missing("data")
	case len(s.Payload) > h.MaxBytes:
		return millrace.Errorf(millrace.CodeTooLarge, "data has %d bytes; at most %d are taken (ingest.max_bytes)", len(s.Payload), h.MaxBytes)
	case len(s.IdempotencyKey) > MaxIdempotencyKey || !printable(s.IdempotencyKey):
		return millrace.Invalid("idempotency_key", "must be at most %d bytes of text without control characters", MaxIdempotencyKey)
	case !s.Ack.Valid():
		return millrace.Invalid("ack", "must be queued or persisted, not %q", s.Ack)
	}
	if s.EventID != (millrace.ID{}) && beyondADay(millrace.TimeOf(s.EventID), h.Now()) {
		return millrace.Invalid("id", "bears a time more than a day from now")
	}
	return millrace.CheckHeaders(s.Headers)
}

// beyondADay: an id's time picks its partition, so none may be far off.
func beyondADay(t, now time.Time) bool {
	d := t.Sub(now)
	return d > 24*time.Hour || d < -24*time.Hour
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
