package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// AttemptReader reads the attempts of a delivery, each as its fact.
type AttemptReader interface {
	Attempts(ctx context.Context, project, delivery millrace.ID) ([]millrace.Fact, error)
	Attempt(ctx context.Context, project, delivery, id millrace.ID) (millrace.Fact, error)
}

// attemptOut is an attempt as it is shown.
type attemptOut struct {
	UID            string            `json:"uid"`
	MsgID          string            `json:"msg_id"`
	EndpointID     string            `json:"endpoint_id"`
	URL            string            `json:"url"`
	Method         string            `json:"method"`
	IPAddress      string            `json:"ip_address"`
	RequestHeader  map[string]string `json:"request_http_header"`
	ResponseHeader map[string]string `json:"response_http_header"`
	HTTPStatus     string            `json:"http_status"`
	ResponseData   string            `json:"response_data"`
	Error          string            `json:"error"`
	Outcome        millrace.Outcome  `json:"outcome"`
	Status         bool              `json:"status"`
	Turn           int               `json:"turn"`
	Counted        bool              `json:"counted"`
	RequestedAt    time.Time         `json:"requested_at"`
	RespondedAt    time.Time         `json:"responded_at"`
	CreatedAt      time.Time         `json:"created_at"`
}

// listAttempts answers with a plain list, as Convoy does: an endpoint's policy
// bounds it.
func (s *Server) listAttempts(c *call) error {
	d, err := s.deliveryInPath(c)
	if err != nil {
		return err
	}
	facts, err := s.deps.Deliveries.Attempts(c.ctx, c.project, d.ID)
	if err != nil {
		return err
	}
	out := make([]attemptOut, 0, len(facts))
	for _, f := range facts {
		if f.Attempt != nil {
			out = append(out, newAttempt(f, d))
		}
	}
	return c.respond(http.StatusOK, "Delivery attempts fetched successfully", out)
}

func (s *Server) showAttempt(c *call) error {
	d, err := s.deliveryInPath(c)
	if err != nil {
		return err
	}
	id, err := c.pathID("attemptID", "attempt")
	if err != nil {
		return err
	}
	f, err := s.deps.Deliveries.Attempt(c.ctx, c.project, d.ID, id)
	if err != nil {
		return err
	}
	if f.Attempt == nil {
		return millrace.NotFound("attempt")
	}
	return c.respond(http.StatusOK, "Delivery attempt fetched successfully", newAttempt(f, d))
}

func (s *Server) deliveryInPath(c *call) (millrace.DeliveryRecord, error) {
	id, err := c.pathID("deliveryID", "delivery")
	if err != nil {
		return millrace.DeliveryRecord{}, err
	}
	return s.deps.Deliveries.Delivery(c.ctx, c.project, id)
}

// newAttempt shows an attempt; the secrets in its headers were taken out before
// it was stored.
func newAttempt(f millrace.Fact, d millrace.DeliveryRecord) attemptOut {
	a := f.Attempt
	out := attemptOut{
		UID: f.ID.String(), MsgID: d.ID.String(), EndpointID: d.EndpointID.String(), URL: a.URL, Method: a.Method, IPAddress: a.IP,
		RequestHeader: flatHeader(a.RequestHeader), ResponseHeader: flatHeader(a.ResponseHeader), ResponseData: string(a.Body),
		Error: a.Error, Outcome: a.Outcome, Status: a.Outcome.Success(), Turn: f.Turn, Counted: f.Counted,
		RequestedAt: a.StartedAt.UTC(), RespondedAt: a.StartedAt.Add(a.Latency).UTC(), CreatedAt: f.At.UTC(),
	}
	if a.StatusCode != 0 {
		out.HTTPStatus = strings.TrimSpace(strconv.Itoa(a.StatusCode) + " " + http.StatusText(a.StatusCode))
	}
	return out
}

func flatHeader(h http.Header) map[string]string {
	flat := make(map[string]string, len(h))
	for name, values := range h {
		flat[name] = strings.Join(values, ", ")
	}
	return flat
}
