package handlers

import (
	"context"
	"errors"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// HeldLog is what the log knows of endpoints that hold deliveries.
type HeldLog interface {
	// HeldToLookAt lists endpoints whose time to be looked at has come.
	HeldToLookAt(ctx context.Context, limit int) ([]millrace.HeldEndpoint, error)
	// HeldDeliveries lists an endpoint's held deliveries, the oldest first.
	HeldDeliveries(ctx context.Context, endpoint millrace.ID, limit int) ([]millrace.Due, error)
	// LookAgain looks later, or forgets the endpoint when it holds nothing. One
	// that was made due again since it was listed stays so.
	LookAgain(ctx context.Context, seen millrace.HeldEndpoint, in time.Duration) error
}

// QueuedLog counts an endpoint's deliveries that are in the transport's
// hands, up to most.
type QueuedLog interface {
	QueuedCount(ctx context.Context, endpoint millrace.ID, most int) (int, error)
}

// Release finds held deliveries whose endpoint may receive again: the oldest
// first, as many as it has free places; never in bulk. It is one agent's
// work, the leader's.
type Release struct {
	Held    HeldLog
	Queued  QueuedLog
	Configs Configs
	// Places is how many deliveries an endpoint may have under way.
	Places int
	// Again is how soon an endpoint that still holds some is looked at.
	Again time.Duration
	// Idle is how soon one is looked at that cannot receive; a change of its
	// configuration makes it due at once.
	Idle time.Duration
}

// Next lists up to limit deliveries to let go.
func (r *Release) Next(ctx context.Context, limit int) ([]millrace.Due, error) {
	endpoints, err := r.Held.HeldToLookAt(ctx, limit)
	if err != nil {
		return nil, err
	}
	var due []millrace.Due
	for _, e := range endpoints {
		if len(due) >= limit {
			break
		}
		released, err := r.endpoint(ctx, e, limit-len(due))
		if err != nil {
			return due, err
		}
		due = append(due, released...)
	}
	return due, nil
}

func (r *Release) endpoint(ctx context.Context, held millrace.HeldEndpoint, limit int) ([]millrace.Due, error) {
	may, err := r.mayReceive(ctx, held)
	if err != nil {
		return nil, err
	}
	if !may {
		return nil, r.Held.LookAgain(ctx, held, r.Idle)
	}
	queued, err := r.Queued.QueuedCount(ctx, held.EndpointID, r.Places)
	if err != nil {
		return nil, err
	}
	var due []millrace.Due
	if free := min(r.Places-queued, limit); free > 0 {
		if due, err = r.Held.HeldDeliveries(ctx, held.EndpointID, free); err != nil {
			return nil, err
		}
	}
	return due, r.Held.LookAgain(ctx, held, r.Again)
}

// mayReceive tells whether what is held for the endpoint may go. What is held
// for one that was deleted goes too: deliver cancels it.
func (r *Release) mayReceive(ctx context.Context, held millrace.HeldEndpoint) (bool, error) {
	config, err := r.Configs.Latest(ctx, held.ProjectID)
	var gone *millrace.Error
	if errors.As(err, &gone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	e, found := config.Endpoints[held.EndpointID]
	return !found || e.Status.Holds() == millrace.HoldNone, nil
}
