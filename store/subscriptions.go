package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

type subscriptionRow struct {
	ID           millrace.ID    `db:"id"`
	ProjectID    millrace.ID    `db:"project_id"`
	EndpointID   millrace.ID    `db:"endpoint_id"`
	SourceID     *millrace.ID   `db:"source_id"`
	Name         string         `db:"name"`
	EventTypes   pq.StringArray `db:"event_types"`
	Filter       string         `db:"filter"`
	DeliveryMode string         `db:"delivery_mode"`
	CreatedAt    time.Time      `db:"created_at"`
	UpdatedAt    time.Time      `db:"updated_at"`
}

const selectSubscriptions = `
	SELECT id, project_id, endpoint_id, source_id, name, event_types, filter, delivery_mode, created_at, updated_at FROM subscriptions
	WHERE deleted_at IS NULL`

// CreateSubscription adds a subscription to an endpoint of its project. A zero
// id is given one.
func (s *Store) CreateSubscription(ctx context.Context, sub millrace.Subscription) (millrace.Subscription, error) {
	if sub.ID == (millrace.ID{}) {
		sub.ID = millrace.NewID(time.Now())
	}
	row, err := subscriptionToRow(sub)
	if err != nil {
		return sub, err
	}
	err = s.apply(ctx, &change{Project: sub.ProjectID, Noun: "subscription", ID: sub.ID, Verb: "created"}, func(tx *sqlx.Tx) error {
		if err := mayPoint(ctx, tx, row); err != nil {
			return err
		}
		err := tx.GetContext(ctx, &row.CreatedAt, `
			INSERT INTO subscriptions (id, project_id, endpoint_id, source_id, name, event_types, filter, delivery_mode) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			RETURNING created_at`, row.ID, row.ProjectID, row.EndpointID, row.SourceID, row.Name, row.EventTypes, row.Filter, row.DeliveryMode)
		return mapError(err, "create subscription")
	})
	sub.CreatedAt, sub.UpdatedAt = row.CreatedAt.UTC(), row.CreatedAt.UTC()
	return sub, err
}

// Subscription reads one subscription of a project.
func (s *Store) Subscription(ctx context.Context, project, id millrace.ID) (millrace.Subscription, error) {
	return subscription(ctx, s.reads, project, id)
}

func subscription(ctx context.Context, q sqlx.QueryerContext, project, id millrace.ID) (millrace.Subscription, error) {
	var row subscriptionRow
	if err := sqlx.GetContext(ctx, q, &row, selectSubscriptions+` AND project_id = $1 AND id = $2`, project, id); err != nil {
		return millrace.Subscription{}, orMissing(err, millrace.NotFound("subscription"), "read subscription")
	}
	return row.subscription()
}

// Subscriptions lists the subscriptions of a project.
func (s *Store) Subscriptions(ctx context.Context, q millrace.SubscriptionQuery) (millrace.List[millrace.Subscription], error) {
	q.Page = bounded(q.Page)
	k := keysetOf(q.Page)
	var found []millrace.Subscription
	err := s.read(ctx, func(from reader) (err error) {
		found, err = subscriptions(ctx, from, selectSubscriptions+`
			AND project_id = $3 AND ($4::uuid[] IS NULL OR endpoint_id = ANY($4))
			AND ($5 = '' OR position(lower($5) IN lower(name)) > 0)`+k.order(),
			k.From, k.Limit, q.ProjectID, someOf(q.EndpointIDs), q.Name)
		return err
	})
	return listOf(found, q.Page), err
}

func subscriptions(ctx context.Context, q sqlx.QueryerContext, query string, args ...any) ([]millrace.Subscription, error) {
	var rows []subscriptionRow
	if err := sqlx.SelectContext(ctx, q, &rows, query, args...); err != nil {
		return nil, mapError(err, "read subscriptions")
	}
	found := make([]millrace.Subscription, len(rows))
	for i, row := range rows {
		var err error
		if found[i], err = row.subscription(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// UpdateSubscription changes a subscription. The function sees it as it is and
// may run more than once.
func (s *Store) UpdateSubscription(ctx context.Context, project, id millrace.ID, alter func(*millrace.Subscription) error) (millrace.Subscription, error) {
	var sub millrace.Subscription
	err := s.apply(ctx, &change{Project: project, Noun: "subscription", ID: id, Verb: "updated"}, func(tx *sqlx.Tx) error {
		had, err := subscription(ctx, tx, project, id)
		if err != nil {
			return err
		}
		sub = had
		if err := alter(&sub); err != nil {
			return err
		}
		sub.ID, sub.ProjectID, sub.CreatedAt = had.ID, had.ProjectID, had.CreatedAt
		row, err := subscriptionToRow(sub)
		if err != nil {
			return err
		}
		if sub.EndpointID != had.EndpointID || sub.SourceID != had.SourceID {
			if err := mayPoint(ctx, tx, row); err != nil {
				return err
			}
		}
		err = tx.GetContext(ctx, &sub.UpdatedAt, `
			UPDATE subscriptions SET endpoint_id = $2, source_id = $3, name = $4, event_types = $5, filter = $6, delivery_mode = $7, updated_at = now()
			WHERE id = $1 RETURNING updated_at`, row.ID, row.EndpointID, row.SourceID, row.Name, row.EventTypes, row.Filter, row.DeliveryMode)
		sub.UpdatedAt = sub.UpdatedAt.UTC()
		return mapError(err, "update subscription")
	})
	return sub, err
}

// DeleteSubscription ends a subscription; what it already caused finishes.
func (s *Store) DeleteSubscription(ctx context.Context, project, id millrace.ID) error {
	return s.apply(ctx, &change{Project: project, Noun: "subscription", ID: id, Verb: "deleted"}, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE subscriptions SET deleted_at = now() WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL`, project, id)
		return oneRow(done, err, millrace.NotFound("subscription"), "delete subscription")
	})
}

// mayPoint refuses a subscription to an endpoint or a source that is not in its
// project, and a second one where the project allows only one.
func mayPoint(ctx context.Context, tx *sqlx.Tx, row subscriptionRow) error {
	var found struct {
		There   bool `db:"there"`
		Sourced bool `db:"sourced"`
		Taken   bool `db:"taken"`
	}
	err := tx.GetContext(ctx, &found, `
		SELECT EXISTS (SELECT FROM endpoints e WHERE e.project_id = p.id AND e.id = $2 AND e.deleted_at IS NULL) AS there,
			$4::uuid IS NULL OR EXISTS (SELECT FROM sources s WHERE s.project_id = p.id AND s.id = $4 AND s.deleted_at IS NULL) AS sourced,
			NOT coalesce((p.config->>'multiple_endpoint_subscriptions')::boolean, true) AND EXISTS (
				SELECT FROM subscriptions x WHERE x.endpoint_id = $2 AND x.id <> $3 AND x.deleted_at IS NULL) AS taken
		FROM projects p WHERE p.id = $1`, row.ProjectID, row.EndpointID, row.ID, row.SourceID)
	switch {
	case err != nil:
		return mapError(err, "read what the subscription points to")
	case !found.There:
		return millrace.NotFound("endpoint")
	case !found.Sourced:
		return millrace.NotFound("source")
	case found.Taken:
		return millrace.Errorf(millrace.CodeConflict,
			"the endpoint has a subscription already, and multiple_endpoint_subscriptions is off in this project")
	}
	return nil
}

func subscriptionToRow(sub millrace.Subscription) (subscriptionRow, error) {
	if err := sub.Validate(); err != nil {
		return subscriptionRow{}, err
	}
	filter, err := json.Marshal(sub.Filter)
	if err != nil {
		return subscriptionRow{}, fmt.Errorf("encode the filter of subscription %s: %w", sub.ID, err)
	}
	types := sub.EventTypes
	if types == nil {
		types = []string{}
	}
	return subscriptionRow{
		ID: sub.ID, ProjectID: sub.ProjectID, EndpointID: sub.EndpointID, SourceID: idOrNull(sub.SourceID), Name: sub.Name,
		EventTypes: types, Filter: string(filter), DeliveryMode: sub.DeliveryMode,
	}, nil
}

func (r subscriptionRow) subscription() (millrace.Subscription, error) {
	sub := millrace.Subscription{
		ID: r.ID, ProjectID: r.ProjectID, EndpointID: r.EndpointID, SourceID: idOrZero(r.SourceID), Name: r.Name,
		EventTypes: r.EventTypes, DeliveryMode: r.DeliveryMode, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if err := json.Unmarshal([]byte(r.Filter), &sub.Filter); err != nil {
		return sub, fmt.Errorf("decode the filter of subscription %s: %w", r.ID, err)
	}
	return sub, nil
}
