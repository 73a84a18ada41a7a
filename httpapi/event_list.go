package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
)

// Events reads the log of events.
type Events interface {
	Events(ctx context.Context, q millrace.EventQuery) (millrace.List[millrace.EventRecord], error)
	Event(ctx context.Context, project, id millrace.ID) (millrace.EventRecord, error)
}

// Replayer sends a stored event through the fan-out once more, under a replay
// id of its own.
type Replayer interface {
	Replay(ctx context.Context, project, event millrace.ID) (millrace.StoredEvent, error)
}

// eventOut is an event as it is shown. Data is the payload as JSON, raw its
// exact bytes; one that is no text is shown by data_base64 alone.
type eventOut struct {
	UID              string                  `json:"uid"`
	ProjectID        string                  `json:"project_id"`
	EventType        string                  `json:"event_type"`
	SourceID         string                  `json:"source_id"`
	Endpoints        []millrace.ID           `json:"endpoints"`
	Headers          map[string][]string     `json:"headers"`
	Data             json.RawMessage         `json:"data"`
	Raw              string                  `json:"raw"`
	DataBase64       []byte                  `json:"data_base64,omitempty"`
	IdempotencyKey   string                  `json:"idempotency_key"`
	IsDuplicateEvent bool                    `json:"is_duplicate_event"`
	DuplicateOf      string                  `json:"duplicate_of,omitempty"`
	Status           string                  `json:"status"`
	Matched          *int                    `json:"matched"`
	Deliveries       map[millrace.Status]int `json:"deliveries"`
	CreatedAt        time.Time               `json:"created_at"`
	UpdatedAt        time.Time               `json:"updated_at"`
}

func (s *Server) listEvents(c *call) error {
	q := c.query()
	for _, name := range []string{"query", "body"} {
		if q.text(name) != "" {
			q.fault(name, "cannot be searched for: this server has no search index")
		}
	}
	since, until := q.period(s.deps.Now())
	find := millrace.EventQuery{
		ProjectID: c.project, Types: q.texts("eventType"), SourceIDs: q.ids("sourceId"), EndpointIDs: q.ids("endpointId"), OwnerID: q.text("ownerId"),
		IdempotencyKey: q.text("idempotencyKey"), BrokerMessageID: q.text("brokerMessageId"), Since: since, Until: until, Page: q.page(),
	}
	if err := q.err(); err != nil {
		return err
	}
	found, err := s.deps.Events.Events(c.ctx, find)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Events fetched successfully", newPage(find.Page, found, eventID, newEvent))
}

func (s *Server) showEvent(c *call) error {
	id, err := c.pathID("eventID", "event")
	if err != nil {
		return err
	}
	e, err := s.deps.Events.Event(c.ctx, c.project, id)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Event fetched successfully", newEvent(e))
}

// replayOut is what a replay is called.
type replayOut struct {
	UID       string `json:"uid"`
	EventType string `json:"event_type"`
	ReplayID  string `json:"replay_id"`
}

func (s *Server) replayEvent(c *call) error {
	id, err := c.pathID("eventID", "event")
	if err != nil {
		return err
	}
	e, err := s.deps.Replayer.Replay(c.ctx, c.project, id)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Event replayed successfully", replayOut{UID: e.ID.String(), EventType: e.Type, ReplayID: e.ReplayID.String()})
}

func eventID(e millrace.EventRecord) millrace.ID { return e.ID }

func newEvent(e millrace.EventRecord) eventOut {
	out := eventOut{
		UID: e.ID.String(), ProjectID: e.ProjectID.String(), EventType: e.Type, SourceID: idOrEmpty(e.SourceID), Endpoints: e.EndpointIDs,
		Headers: headerLists(e.Headers), IdempotencyKey: e.IdempotencyKey,
		IsDuplicateEvent: e.DuplicateOf != millrace.ID{}, DuplicateOf: idOrEmpty(e.DuplicateOf),
		Status: "Processing", Deliveries: e.Deliveries, CreatedAt: e.CreatedAt(), UpdatedAt: e.StoredAt.UTC(),
	}
	out.Data, out.Raw, out.DataBase64 = shownPayload(e.Payload)
	if out.Endpoints == nil {
		out.Endpoints = []millrace.ID{}
	}
	if out.Deliveries == nil {
		out.Deliveries = map[millrace.Status]int{}
	}
	if e.FannedOut {
		out.Status, out.Matched = "Success", &e.Matched
	}
	if out.IsDuplicateEvent {
		out.Status = "Success" // nothing more happens to it
	}
	return out
}

// shownPayload is a payload as JSON and as text; one that is no text, and that
// JSON cannot hold, as the bytes that it is.
func shownPayload(payload []byte) (data json.RawMessage, raw string, binary []byte) {
	if !utf8.Valid(payload) {
		return json.RawMessage("null"), "", payload
	}
	return asJSON(payload), string(payload), nil
}

// asJSON shows a payload as JSON; what is none is shown as a string.
func asJSON(payload []byte) json.RawMessage {
	if len(payload) == 0 {
		return json.RawMessage("null")
	}
	if json.Valid(payload) {
		return payload
	}
	return appendQuoted(nil, string(payload))
}

// headerLists shows headers as Convoy does, each with a list of values.
func headerLists(h map[string]string) map[string][]string {
	lists := make(map[string][]string, len(h))
	for name, v := range h {
		lists[name] = []string{v}
	}
	return lists
}
