package httpapi

import (
	"context"
	"net/http"

	millrace "github.com/millrace-dev/millrace"
)

// Subscriptions keeps the subscriptions.
type Subscriptions interface {
	SubscriptionReader
	SubscriptionWriter
}

// SubscriptionReader reads subscriptions.
type SubscriptionReader interface {
	Subscription(ctx context.Context, project, id millrace.ID) (millrace.Subscription, error)
	Subscriptions(ctx context.Context, q millrace.SubscriptionQuery) (millrace.List[millrace.Subscription], error)
}

// SubscriptionWriter changes subscriptions.
type SubscriptionWriter interface {
	CreateSubscription(ctx context.Context, sub millrace.Subscription) (millrace.Subscription, error)
	UpdateSubscription(ctx context.Context, project, id millrace.ID, change func(*millrace.Subscription) error) (millrace.Subscription, error)
	DeleteSubscription(ctx context.Context, project, id millrace.ID) error
}

func (s *Server) createSubscription(c *call) error {
	var in subscriptionIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	sub := millrace.Subscription{ProjectID: c.project, EventTypes: []string{"*"}, DeliveryMode: atLeastOnce}
	if err := in.into(&sub); err != nil {
		return err
	}
	sub, err := s.deps.Subscriptions.CreateSubscription(c.ctx, sub)
	if err != nil {
		return err
	}
	return s.respondSubscription(c, http.StatusCreated, "Subscription created successfully", sub)
}

func (s *Server) listSubscriptions(c *call) error {
	q := c.query()
	find := millrace.SubscriptionQuery{ProjectID: c.project, EndpointIDs: q.ids("endpointId"), Name: q.text("name"), Page: q.page()}
	if err := q.err(); err != nil {
		return err
	}
	found, err := s.deps.Subscriptions.Subscriptions(c.ctx, find)
	if err != nil {
		return err
	}
	to, err := s.pointedTo(c, found.Items...)
	if err != nil {
		return err
	}
	out := newPage(find.Page, found, subscriptionID, func(sub millrace.Subscription) subscriptionOut { return c.newSubscription(sub, to) })
	return c.respond(http.StatusOK, "Subscriptions fetched successfully", out)
}

func (s *Server) showSubscription(c *call) error {
	id, err := c.pathID("subscriptionID", "subscription")
	if err != nil {
		return err
	}
	sub, err := s.deps.Subscriptions.Subscription(c.ctx, c.project, id)
	if err != nil {
		return err
	}
	return s.respondSubscription(c, http.StatusOK, "Subscription fetched successfully", sub)
}

func (s *Server) updateSubscription(c *call) error {
	id, err := c.pathID("subscriptionID", "subscription")
	if err != nil {
		return err
	}
	var in subscriptionIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	sub, err := s.deps.Subscriptions.UpdateSubscription(c.ctx, c.project, id, in.into)
	if err != nil {
		return err
	}
	return s.respondSubscription(c, http.StatusAccepted, "Subscription updated successfully", sub)
}

func (s *Server) deleteSubscription(c *call) error {
	id, err := c.pathID("subscriptionID", "subscription")
	if err != nil {
		return err
	}
	if err := s.deps.Subscriptions.DeleteSubscription(c.ctx, c.project, id); err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Subscription deleted successfully", nil)
}

func (s *Server) respondSubscription(c *call, status int, message string, sub millrace.Subscription) error {
	to, err := s.pointedTo(c, sub)
	if err != nil {
		return err
	}
	return c.respond(status, message, c.newSubscription(sub, to))
}

// pointedTo reads the endpoints and the sources of subscriptions.
func (s *Server) pointedTo(c *call, subs ...millrace.Subscription) (to pointedTo, err error) {
	endpoints, sources := make([]millrace.ID, len(subs)), make([]millrace.ID, len(subs))
	for i, sub := range subs {
		endpoints[i], sources[i] = sub.EndpointID, sub.SourceID
	}
	if to.endpoints, err = s.endpointsByID(c, endpoints); err != nil {
		return to, err
	}
	to.sources, err = s.sourcesByID(c, sources)
	return to, err
}
