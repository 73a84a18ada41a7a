package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// probeIn is a test event; both members have defaults.
type probeIn struct {
	EventType member[string]          `json:"event_type"`
	Data      member[json.RawMessage] `json:"data"`
}

// probeOut is the payload of a test event that names none.
type probeOut struct {
	Message    string    `json:"message"`
	EndpointID string    `json:"endpoint_id"`
	SentAt     time.Time `json:"sent_at"`
}

// probeType is the type of a test event to an endpoint that takes any.
const probeType = "endpoint.test"

// testEndpoint sends an event to one endpoint, the way every event goes.
func (s *Server) testEndpoint(c *call) error {
	id, err := c.pathID("endpointID", "endpoint")
	if err != nil {
		return err
	}
	e, err := s.decodeProbe(c)
	if err != nil {
		return err
	}
	if _, err := s.deps.Endpoints.Endpoint(c.ctx, c.project, id); err != nil {
		return err
	}
	e.EndpointID = id.String()
	if e.EventType == "" {
		if e.EventType, err = s.takenType(c, id); err != nil {
			return err
		}
	}
	if e.Data == nil {
		if e.Data, err = json.Marshal(probeOut{Message: "This is a test.", EndpointID: e.EndpointID, SentAt: s.deps.Now().UTC()}); err != nil {
			return err
		}
	}
	receipt, err := s.submit(c, e, oneOrAll, millrace.AckPersisted)
	if err != nil {
		return err
	}
	c.w.Header().Set("Preference-Applied", "ack="+string(receipt.Ack))
	c.answerReceipt(receipt)
	return nil
}

// decodeProbe reads the body, if there is one.
func (s *Server) decodeProbe(c *call) (eventBody, error) {
	b, err := c.readBody(s.config.MaxBodyBytes)
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return eventBody{}, err
	}
	if err := c.needJSON(); err != nil {
		return eventBody{}, err
	}
	var in probeIn
	err = decodeObject(b, &in)
	return eventBody{EventType: in.EventType.value, Data: in.Data.value}, err
}

// takenType is an event type that the endpoint is subscribed to: an event
// addressed to an endpoint goes to its matching subscriptions.
func (s *Server) takenType(c *call, endpoint millrace.ID) (string, error) {
	found, err := s.deps.Subscriptions.Subscriptions(c.ctx, millrace.SubscriptionQuery{
		ProjectID: c.project, EndpointIDs: []millrace.ID{endpoint}, Page: millrace.Page{Size: 1},
	})
	if err != nil || len(found.Items) == 0 || len(found.Items[0].EventTypes) == 0 {
		return probeType, err
	}
	taken := found.Items[0].EventTypes[0]
	if prefix, any := strings.CutSuffix(taken, "*"); any {
		return prefix + probeType, nil
	}
	return taken, nil
}
