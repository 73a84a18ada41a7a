package handlers

import (
	"context"

	millrace "github.com/millrace-dev/millrace"
)

// DeliveryLog appends the outcome of matching one event: once per event and
// replay. Run again, it answers with the deliveries still queued in turn 1.
type DeliveryLog interface {
	FanOut(ctx context.Context, f millrace.FanOut) ([]millrace.Delivery, error)
	// Payload reads an event's bytes, where they travel by reference.
	Payload(ctx context.Context, event millrace.ID) ([]byte, error)
}

// Holding knows which endpoints hold deliveries: new ones wait behind those.
type Holding interface {
	Holds(endpoint millrace.ID) bool
}

// Fanout matches an event with the project's subscriptions and appends one
// delivery per match.
type Fanout struct {
	Log     DeliveryLog
	Configs Configs
	Holding Holding
	// InlineMax is the largest payload, in bytes, that travels inside each
	// delivery; larger ones travel by reference.
	InlineMax int
}

// Handle fans one event out.
func (h *Fanout) Handle(ctx context.Context, e millrace.StoredEvent) ([]millrace.Delivery, error) {
	config, err := h.Configs.Config(ctx, e.ProjectID, e.ConfigVersion)
	if err != nil {
		return nil, refusedForGood(err)
	}
	if e.ByReference {
		if e.Payload, err = h.Log.Payload(ctx, e.ID); err != nil {
			return nil, refusedForGood(err)
		}
	}
	f := millrace.FanOut{Event: e, ConfigVersion: config.Project.ConfigVersion}
	for _, m := range config.Matcher.Match(e.Event) {
		target := millrace.Target{EndpointID: m.Endpoint.ID, Hold: h.hold(*m.Endpoint)}
		if m.Subscription != nil {
			target.SubscriptionID = m.Subscription.ID
		}
		f.Targets = append(f.Targets, target)
	}
	deliveries, err := h.Log.FanOut(ctx, f)
	for i := range deliveries {
		deliveries[i].Bulk = e.ReplayID != millrace.ID{}
		deliveries[i].TraceParent = e.TraceParent
		if len(deliveries[i].Payload) > h.InlineMax {
			deliveries[i].Payload, deliveries[i].ByReference = nil, true
		}
	}
	return deliveries, refusedForGood(err)
}

func (h *Fanout) hold(e millrace.Endpoint) millrace.HoldReason {
	switch reason := e.Status.Holds(); {
	case reason != millrace.HoldNone:
		return reason
	case h.Holding.Holds(e.ID):
		return millrace.HoldBehind
	}
	return millrace.HoldNone
}
