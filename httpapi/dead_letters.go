package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// DeadLetters keeps what the gateway could not process. One of no project is
// known to the instance alone.
type DeadLetters interface {
	DeadLetters(ctx context.Context, q millrace.DeadLetterQuery) (millrace.List[millrace.DeadLetter], error)
	DeadLetter(ctx context.Context, project millrace.ID, instance bool, id millrace.ID) (millrace.DeadLetter, error)
	SettleDeadLetter(ctx context.Context, id millrace.ID, how string) error
}

// Redriver does a dead letter's work again: a delivery is resent, an event
// passes its stages. It may be done twice.
type Redriver interface {
	Redrive(ctx context.Context, d millrace.DeadLetter) error
}

// deadLetterOut is a dead letter as it is shown: raw is its bytes in base64.
type deadLetterOut struct {
	UID        string            `json:"uid"`
	ProjectID  string            `json:"project_id"`
	Stage      string            `json:"stage"`
	Topic      string            `json:"topic"`
	Reason     string            `json:"reason"`
	Error      string            `json:"error"`
	History    []string          `json:"history"`
	EventID    string            `json:"event_id"`
	DeliveryID string            `json:"delivery_id"`
	Raw        string            `json:"raw,omitempty"`
	Metadata   map[string]string `json:"metadata"`
	Settled    string            `json:"settled"`
	SettledAt  *time.Time        `json:"settled_at"`
	CreatedAt  time.Time         `json:"created_at"`
}

func (s *Server) listDeadLetters(c *call) error {
	q := c.query()
	find := millrace.DeadLetterQuery{
		ProjectID: c.project, Instance: c.onInstance(), Stage: q.text("stage"), Open: !q.flag("settled"), Page: q.page(),
	}
	if err := q.err(); err != nil {
		return err
	}
	found, err := s.deps.DeadLetters.DeadLetters(c.ctx, find)
	if err != nil {
		return err
	}
	out := newPage(find.Page, found, deadLetterID, func(d millrace.DeadLetter) deadLetterOut {
		d.Raw = nil // may be large; it is shown one by one
		return newDeadLetter(d)
	})
	return c.respond(http.StatusOK, "Dead letters fetched successfully", out)
}

func (s *Server) showDeadLetter(c *call) error {
	d, err := s.deadLetterInPath(c)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Dead letter fetched successfully", newDeadLetter(d))
}

// redriveDeadLetter processes it first and settles it then: what happens in
// between is done again.
func (s *Server) redriveDeadLetter(c *call) error {
	d, err := s.openDeadLetterInPath(c)
	if err != nil {
		return err
	}
	if err := s.deps.Redriver.Redrive(c.ctx, d); err != nil {
		return err
	}
	return s.settleDeadLetter(c, d, "redriven", "Dead letter redriven successfully")
}

func (s *Server) discardDeadLetter(c *call) error {
	d, err := s.openDeadLetterInPath(c)
	if err != nil {
		return err
	}
	return s.settleDeadLetter(c, d, "discarded", "Dead letter discarded successfully")
}

func (s *Server) settleDeadLetter(c *call, d millrace.DeadLetter, how, message string) error {
	if err := s.deps.DeadLetters.SettleDeadLetter(c.ctx, d.ID, how); err != nil {
		return err
	}
	d.Settled, d.SettledAt = how, s.deps.Now()
	return c.respond(http.StatusOK, message, newDeadLetter(d))
}

func (s *Server) deadLetterInPath(c *call) (millrace.DeadLetter, error) {
	id, err := c.pathID("deadLetterID", "dead letter")
	if err != nil {
		return millrace.DeadLetter{}, err
	}
	return s.deps.DeadLetters.DeadLetter(c.ctx, c.project, c.onInstance(), id)
}

func (s *Server) openDeadLetterInPath(c *call) (millrace.DeadLetter, error) {
	d, err := s.deadLetterInPath(c)
	if err == nil && !d.SettledAt.IsZero() {
		return d, millrace.Errorf(millrace.CodeConflict, "the dead letter was %s at %s", d.Settled, d.SettledAt.UTC().Format(time.RFC3339))
	}
	return d, err
}

// onInstance tells whether the call is one of the instance's routes.
func (c *call) onInstance() bool { return c.project == millrace.ID{} }

func deadLetterID(d millrace.DeadLetter) millrace.ID { return d.ID }

func newDeadLetter(d millrace.DeadLetter) deadLetterOut {
	out := deadLetterOut{
		UID: d.ID.String(), ProjectID: idOrEmpty(d.ProjectID), Stage: d.Stage, Topic: d.Topic, Reason: d.Reason, Error: d.Error,
		History: d.History, EventID: idOrEmpty(d.EventID), DeliveryID: idOrEmpty(d.DeliveryID),
		Raw: base64.StdEncoding.EncodeToString(d.Raw), Metadata: d.Metadata, Settled: d.Settled, SettledAt: orNull(d.SettledAt), CreatedAt: d.CreatedAt.UTC(),
	}
	if out.History == nil {
		out.History = []string{}
	}
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	return out
}
