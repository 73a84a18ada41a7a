package handlers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// TurnLog is the log as deliver writes it: claim a turn, then settle it with
// a fact.
type TurnLog interface {
	// Claim takes the turn for a stream entry; false: somebody else has it,
	// or it is over.
	Claim(ctx context.Context, delivery millrace.ID, turn int, entry string) (bool, error)
	// Settle appends the fact with what follows from it, and tells whether it
	// counted.
	Settle(ctx context.Context, f millrace.Fact) (bool, error)
	// Payload reads an event's bytes, where they travel by reference.
	Payload(ctx context.Context, event millrace.ID) ([]byte, error)
}

// Sink sends one request. Its error is only ever Unavailable: whatever the
// endpoint does is an Attempt with an outcome.
type Sink interface {
	Send(ctx context.Context, r millrace.Request) (millrace.Attempt, error)
}

// EndpointSwitch disables an endpoint: it said 410, or its deliveries are
// given up and the project wants that.
type EndpointSwitch interface {
	DisableEndpoint(ctx context.Context, project, endpoint millrace.ID, why string) error
}

// Places bounds how many deliveries to one endpoint are under way here.
type Places interface {
	// Take waits a moment for a place and answers false when none came free;
	// Leave gives one back.
	Take(ctx context.Context, endpoint millrace.ID) bool
	Leave(endpoint millrace.ID)
}

// Deliver claims a turn, sends the request through the egress and appends the
// fact with what follows from it: done, again at T, held, or given up.
type Deliver struct {
	Log       TurnLog
	Configs   Configs
	Holding   Holding
	Places    Places
	Sink      Sink
	Endpoints EndpointSwitch
	// Now is PostgreSQL's clock as known here.
	Now func() time.Time
	// Observe is told of each attempt and whether its fact counted.
	Observe func(d millrace.Delivery, f millrace.Fact)
}

// Handle delivers one turn.
func (h *Deliver) Handle(ctx context.Context, d millrace.Delivery) ([]Nothing, error) {
	mine, err := h.Log.Claim(ctx, d.ID, d.Turn, d.Entry)
	if err != nil || !mine {
		return nil, err
	}
	config, endpoint, err := h.endpoint(ctx, d)
	if err != nil {
		return nil, err
	}
	if endpoint == nil {
		return nil, h.settle(ctx, d, h.fact(d, millrace.FactCancelled, millrace.Cancelled, "the endpoint was deleted"))
	}
	if reason := h.hold(ctx, d, endpoint); reason != millrace.HoldNone {
		return nil, h.settle(ctx, d, h.fact(d, millrace.FactHeld, millrace.Held, string(reason)))
	}
	return nil, h.attempt(ctx, d, config, *endpoint)
}

// endpoint finds the endpoint as it is now; nil when it was deleted.
func (h *Deliver) endpoint(ctx context.Context, d millrace.Delivery) (*Config, *millrace.Endpoint, error) {
	config, err := h.Configs.Config(ctx, d.ProjectID, 0)
	if err != nil {
		return nil, nil, refusedForGood(err)
	}
	e, found := config.Endpoints[d.EndpointID]
	if found {
		return config, &e, nil
	}
	if config, err = h.Configs.Latest(ctx, d.ProjectID); err != nil {
		return nil, nil, refusedForGood(err)
	}
	if e, found = config.Endpoints[d.EndpointID]; found {
		return config, &e, nil
	}
	return config, nil, nil
}

// hold says why the delivery must wait. HoldNone has taken a place.
func (h *Deliver) hold(ctx context.Context, d millrace.Delivery, e *millrace.Endpoint) millrace.HoldReason {
	switch reason := e.Status.Holds(); {
	case reason != millrace.HoldNone:
		return reason
	case !d.Released && h.Holding.Holds(e.ID):
		return millrace.HoldBehind
	case !h.Places.Take(ctx, e.ID):
		return millrace.HoldInFlight
	}
	return millrace.HoldNone
}

func (h *Deliver) attempt(ctx context.Context, d millrace.Delivery, c *Config, e millrace.Endpoint) error {
	attempt, err := h.send(ctx, d, c, e)
	if err != nil {
		return err
	}
	decision := c.Strategy(e).Decide(attempt, d.Attempts+1, h.Now(), 2*rand.Float64()-1)
	f := h.fact(d, millrace.FactAttempted, decision.Status, "")
	f.NextAttemptAt, f.Attempt = decision.At, &attempt
	if err := h.settle(ctx, d, f); err != nil {
		return err
	}
	return h.disable(ctx, d, c, decision)
}

// send sends the request and gives the place back that was taken for it: while
// its fact is written, the next one may be on its way.
func (h *Deliver) send(ctx context.Context, d millrace.Delivery, c *Config, e millrace.Endpoint) (millrace.Attempt, error) {
	defer h.Places.Leave(e.ID)
	if d.ByReference {
		payload, err := h.Log.Payload(ctx, d.EventID)
		if err != nil {
			return millrace.Attempt{}, refusedForGood(err)
		}
		d.Payload = payload
	}
	return h.Sink.Send(ctx, millrace.Request{Delivery: d, Endpoint: e, Signature: c.Project.Config.Signature})
}

func (h *Deliver) disable(ctx context.Context, d millrace.Delivery, c *Config, decision millrace.Decision) error {
	why := "it answered 410 Gone"
	if !decision.Disable {
		if !decision.Exhausted || !c.Project.Config.DisableEndpoint {
			return nil
		}
		why = "a delivery was given up"
	}
	err := whileAway(ctx, func() error { return h.Endpoints.DisableEndpoint(ctx, d.ProjectID, d.EndpointID, why) })
	if millrace.CodeOf(err) == millrace.CodeNotFound {
		return nil // deleted meanwhile: nothing is left to disable
	}
	return refusedForGood(err)
}

func (h *Deliver) fact(d millrace.Delivery, kind millrace.FactKind, decided millrace.Status, reason string) millrace.Fact {
	now := h.Now()
	return millrace.Fact{ID: millrace.NewID(now), DeliveryID: d.ID, Turn: d.Turn, Kind: kind, At: now, Decided: decided, Reason: reason}
}

// settle writes the fact, for as long as the store is away: what was sent
// must not be sent again for want of a record.
func (h *Deliver) settle(ctx context.Context, d millrace.Delivery, f millrace.Fact) error {
	err := whileAway(ctx, func() (err error) {
		f.Counted, err = h.Log.Settle(ctx, f)
		return err
	})
	if err != nil {
		return fmt.Errorf("record what became of delivery %s: %w", d.ID, refusedForGood(err))
	}
	h.Observe(d, f)
	return nil
}

// whileAway writes once more for as long as the store is away. The turn is
// over by then, so that nobody would come back to what is not written.
func whileAway(ctx context.Context, write func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := write()
		if !millrace.IsUnavailable(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
