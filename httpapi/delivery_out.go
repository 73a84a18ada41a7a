package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// deliveryOut is a delivery as it is shown. What is the event's (its key, its
// headers, its payload) is shown of one delivery, and left out of lists.
type deliveryOut struct {
	UID              string              `json:"uid"`
	ProjectID        string              `json:"project_id"`
	EventID          string              `json:"event_id"`
	EndpointID       string              `json:"endpoint_id"`
	SubscriptionID   string              `json:"subscription_id"`
	ReplayID         string              `json:"replay_id,omitempty"`
	Status           string              `json:"status"`
	State            millrace.Status     `json:"state"`
	HeldFor          millrace.HoldReason `json:"held_for,omitempty"`
	Turn             int                 `json:"turn"`
	Description      string              `json:"description"`
	IdempotencyKey   string              `json:"idempotency_key,omitempty"`
	Headers          map[string][]string `json:"headers,omitempty"`
	TargetURL        string              `json:"target_url"`
	LatencySeconds   float64             `json:"latency_seconds"`
	Metadata         deliveryMetadataOut `json:"metadata"`
	EventMetadata    eventBriefOut       `json:"event_metadata"`
	EndpointMetadata any                 `json:"endpoint_metadata"`
	CreatedAt        time.Time           `json:"created_at"`
	UpdatedAt        time.Time           `json:"updated_at"`
}

// deliveryMetadataOut is the payload and how it is retried.
type deliveryMetadataOut struct {
	Data            json.RawMessage       `json:"data,omitempty"`
	Raw             string                `json:"raw,omitempty"`
	DataBase64      []byte                `json:"data_base64,omitempty"`
	Strategy        millrace.StrategyType `json:"strategy"`
	NextSendTime    *time.Time            `json:"next_send_time"`
	NumTrials       int                   `json:"num_trials"`
	IntervalSeconds int64                 `json:"interval_seconds"`
	RetryLimit      int                   `json:"retry_limit"`
}

type eventBriefOut struct {
	UID       string `json:"uid"`
	EventType string `json:"event_type"`
	// Name is what Convoy's SDK reads the type from.
	Name string `json:"name"`
}

func deliveryID(d millrace.DeliveryRecord) millrace.ID { return d.ID }

// deliveryShower reads what is shown beside deliveries, and returns what shows
// one.
func (s *Server) deliveryShower(c *call, rows []millrace.DeliveryRecord) (func(millrace.DeliveryRecord) deliveryOut, error) {
	project, err := s.deps.Projects.Project(c.ctx, c.project)
	if err != nil {
		return nil, err
	}
	ids := make([]millrace.ID, len(rows))
	for i, d := range rows {
		ids[i] = d.EndpointID
	}
	endpoints, err := s.endpointsByID(c, ids)
	if err != nil {
		return nil, err
	}
	snapshot := millrace.Snapshot{Project: project}
	return func(d millrace.DeliveryRecord) deliveryOut {
		e, known := endpoints[d.EndpointID]
		out := newDelivery(d, snapshot.Strategy(e))
		out.TargetURL = e.URL
		out.EndpointMetadata = c.newEndpointBrief(e, known)
		return out
	}, nil
}

func newDelivery(d millrace.DeliveryRecord, strategy millrace.Strategy) deliveryOut {
	tries := d.State.Attempts
	out := deliveryOut{
		UID: d.ID.String(), ProjectID: d.ProjectID.String(), EventID: d.EventID.String(), EndpointID: d.EndpointID.String(),
		SubscriptionID: idOrEmpty(d.SubscriptionID), ReplayID: idOrEmpty(d.ReplayID), Status: d.ConvoyStatus(), State: d.Status,
		HeldFor: d.HeldFor, Turn: d.Turn, Description: describe(d.State), IdempotencyKey: d.IdempotencyKey, Headers: headerLists(d.Headers),
		LatencySeconds: d.LastLatency.Seconds(), EventMetadata: eventBriefOut{UID: d.EventID.String(), EventType: d.EventType, Name: d.EventType},
		Metadata: deliveryMetadataOut{
			Strategy: strategy.Type, NextSendTime: orNull(d.NextAttemptAt), NumTrials: tries,
			IntervalSeconds: int64(strategy.Delay(max(tries, 1), 0) / time.Second), RetryLimit: max(strategy.Tries()-1, 0),
		},
		CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(),
	}
	if d.Payload != nil {
		out.Metadata.Data, out.Metadata.Raw, out.Metadata.DataBase64 = shownPayload(d.Payload)
	}
	return out
}

// describe says in a few words what stands in a delivery's way.
func describe(s millrace.State) string {
	switch {
	case s.Status == millrace.Held:
		return fmt.Sprintf("held: %s", s.HeldFor)
	case s.LastOutcome == "" || s.LastOutcome.Success():
		return ""
	case s.LastCode != 0:
		return fmt.Sprintf("%s: %d %s", s.LastOutcome, s.LastCode, http.StatusText(s.LastCode))
	}
	return string(s.LastOutcome)
}

// resentMessage counts as Convoy does.
func resentMessage(out []resentOut) string {
	failed := 0
	for _, r := range out {
		if r.Code != "" {
			failed++
		}
	}
	return fmt.Sprintf("%d successful, %d failed", len(out)-failed, failed)
}
