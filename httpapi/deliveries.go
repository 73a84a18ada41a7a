package httpapi

import (
	"context"
	"net/http"

	millrace "github.com/millrace-dev/millrace"
)

// Deliveries reads and steers deliveries.
type Deliveries interface {
	DeliveryReader
	DeliveryWriter
	AttemptReader
}

// DeliveryReader reads deliveries.
type DeliveryReader interface {
	Deliveries(ctx context.Context, q millrace.DeliveryQuery) (millrace.List[millrace.DeliveryRecord], error)
	Delivery(ctx context.Context, project, id millrace.ID) (millrace.DeliveryRecord, error)
}

// DeliveryWriter sends a delivery again, or not any more.
type DeliveryWriter interface {
	Resend(ctx context.Context, project, delivery millrace.ID) (millrace.DeliveryRecord, error)
	Cancel(ctx context.Context, project, delivery millrace.ID, why string) (millrace.DeliveryRecord, error)
}

// convoyStatuses is what the status of a delivery can be in Convoy's words.
var convoyStatuses = []string{"Scheduled", "Processing", "Success", "Failure", "Retry", "Discarded"}

func (s *Server) listDeliveries(c *call) error {
	q := c.query()
	find := millrace.DeliveryQuery{
		ProjectID: c.project, EndpointIDs: q.ids("endpointId"), EventID: q.id("eventId"), SubscriptionIDs: q.ids("subscriptionId"),
		EventTypes: q.texts("eventType"), Statuses: q.oneOf("status", convoyStatuses), Page: q.page(),
	}
	find.Since, find.Until = q.period(s.deps.Now())
	if none := (millrace.ID{}); find.EventID != none && q.text("startDate") == "" {
		find.Since = millrace.TimeOf(find.EventID) // all of its deliveries, however old
	}
	if err := q.err(); err != nil {
		return err
	}
	found, err := s.deps.Deliveries.Deliveries(c.ctx, find)
	if err != nil {
		return err
	}
	show, err := s.deliveryShower(c, found.Items)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Event deliveries fetched successfully", newPage(find.Page, found, deliveryID, show))
}

func (s *Server) showDelivery(c *call) error {
	id, err := c.pathID("deliveryID", "delivery")
	if err != nil {
		return err
	}
	d, err := s.deps.Deliveries.Delivery(c.ctx, c.project, id)
	if err != nil {
		return err
	}
	e, err := s.deps.Events.Event(c.ctx, c.project, d.EventID)
	if err != nil && millrace.CodeOf(err) != millrace.CodeNotFound {
		return err
	}
	// An event may be gone before a delivery of its replay is.
	d.Payload, d.Headers, d.IdempotencyKey = e.Payload, e.Headers, e.IdempotencyKey
	return s.respondDelivery(c, "Event delivery fetched successfully", d)
}

func (s *Server) resendDelivery(c *call) error {
	id, err := c.pathID("deliveryID", "delivery")
	if err != nil {
		return err
	}
	d, err := s.deps.Deliveries.Resend(c.ctx, c.project, id)
	if err != nil {
		return err
	}
	return s.respondDelivery(c, "Event delivery queued to be sent again", d)
}

func (s *Server) cancelDelivery(c *call) error {
	id, err := c.pathID("deliveryID", "delivery")
	if err != nil {
		return err
	}
	d, err := s.deps.Deliveries.Cancel(c.ctx, c.project, id, "cancelled by the API key "+c.key.Prefix)
	if err != nil {
		return err
	}
	return s.respondDelivery(c, "Event delivery cancelled successfully", d)
}

func (s *Server) respondDelivery(c *call, message string, d millrace.DeliveryRecord) error {
	show, err := s.deliveryShower(c, []millrace.DeliveryRecord{d})
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, message, show(d))
}

// resendIn names deliveries to send again.
type resendIn struct {
	IDs member[[]string] `json:"ids"`
}

// resentOut is what became of one of them.
type resentOut struct {
	UID     string        `json:"uid"`
	Status  int           `json:"status"`
	Code    millrace.Code `json:"code,omitempty"`
	Message string        `json:"message,omitempty"`
}

// resendDeliveries sends deliveries again, each for itself, whatever state they
// are in.
func (s *Server) resendDeliveries(c *call) error {
	var in resendIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	ids := in.IDs.value
	switch {
	case len(ids) == 0:
		return millrace.Missing("ids")
	case len(ids) > maxBatch:
		return millrace.Invalid("ids", "must be at most %d, not %d", maxBatch, len(ids))
	}
	out := make([]resentOut, len(ids))
	s.each(len(ids), func(i int) { out[i] = s.resend(c, ids[i]) })
	return c.respond(http.StatusOK, resentMessage(out), out)
}

func (s *Server) resend(c *call, raw string) resentOut {
	id, err := millrace.ParseID(raw)
	if err != nil {
		err = millrace.NotFound("delivery")
	} else {
		_, err = s.deps.Deliveries.Resend(c.ctx, c.project, id)
	}
	if err != nil {
		e := asError(c, err)
		return resentOut{UID: raw, Status: e.Code.HTTPStatus(), Code: e.Code, Message: e.Message}
	}
	return resentOut{UID: raw, Status: http.StatusOK}
}
