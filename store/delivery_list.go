package store

import (
	"context"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// Deliveries lists a project's deliveries, by their ids.
func (s *Store) Deliveries(ctx context.Context, q millrace.DeliveryQuery) (list millrace.List[millrace.DeliveryRecord], err error) {
	err = s.read(ctx, func(from reader) error {
		list, err = deliveries(ctx, from, q)
		return err
	})
	return list, err
}

func deliveries(ctx context.Context, from reader, q millrace.DeliveryQuery) (millrace.List[millrace.DeliveryRecord], error) {
	var none millrace.List[millrace.DeliveryRecord]
	q.Page = bounded(q.Page)
	k := keysetOf(q.Page)
	f, err := deliveryFilter(ctx, from, q, k)
	if err != nil {
		return none, err
	}
	var rows []deliveryRow
	if err := sqlx.SelectContext(ctx, from, &rows, `SELECT `+deliveryColumns+` FROM deliveries d WHERE `+f.where()+k.order(), f.args...); err != nil {
		return none, mapError(err, "list deliveries")
	}
	page := listOf(rows, q.Page)
	list := millrace.List[millrace.DeliveryRecord]{HasNext: page.HasNext, HasPrev: page.HasPrev}
	for _, r := range page.Items {
		list.Items = append(list.Items, r.record())
	}
	return list, nil
}

func deliveryFilter(ctx context.Context, from reader, q millrace.DeliveryQuery, k keyset) (*listFilter, error) {
	f := newListFilter(k)
	f.add(`project_id = ?`, q.ProjectID)
	f.between(q.Since, q.Until)
	if len(q.EndpointIDs) > 0 {
		f.add(`endpoint_id = ANY (?::uuid[])`, ids(q.EndpointIDs))
	}
	if len(q.SubscriptionIDs) > 0 {
		f.add(`subscription_id = ANY (?::uuid[])`, ids(q.SubscriptionIDs))
	}
	if len(q.EventTypes) > 0 {
		f.add(`event_type = ANY (?::text[])`, texts(q.EventTypes))
	}
	if len(q.Statuses) > 0 {
		states, err := statesOf(q.Statuses)
		if err != nil {
			return nil, err
		}
		f.add(states)
	}
	if q.EventID != (millrace.ID{}) {
		if err := ofEvent(ctx, from, f, q.EventID); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// statesOf is the condition for Convoy's words: see ConvoyStatus.
func statesOf(words []string) (string, error) {
	var any []string
	for _, word := range words {
		switch word {
		case "Scheduled":
			any = append(any, `(status = 'queued' AND claimed_by IS NULL)`, `(status = 'waiting' AND attempts = 0)`, `status = 'held'`)
		case "Processing":
			any = append(any, `(status = 'queued' AND claimed_by IS NOT NULL)`)
		case "Retry":
			any = append(any, `(status = 'waiting' AND attempts > 0)`)
		case "Success":
			any = append(any, `status = 'delivered'`)
		case "Failure":
			any = append(any, `status IN ('given_up', 'dead')`)
		case "Discarded":
			any = append(any, `status IN ('cancelled', 'expired')`)
		default:
			return "", millrace.Invalid("status", "must be Scheduled, Processing, Success, Failure, Retry or Discarded, not %q", word)
		}
	}
	return `(` + strings.Join(any, ` OR `) + `)`, nil
}

// manyReplays is up to how many replays of an event are looked up by the time
// in their ids, each by a range.
const manyReplays = 50

// ofEvent narrows a list of deliveries to an event's. They have no index:
// they bear the time of the event, or of its replays.
func ofEvent(ctx context.Context, from reader, f *listFilter, event millrace.ID) error {
	var replays []millrace.ID
	err := sqlx.SelectContext(ctx, from, &replays, `SELECT id FROM replays WHERE event_id = $1 ORDER BY id LIMIT $2`, event, manyReplays+1)
	if err != nil {
		return mapError(err, "list the replays of event "+event.String())
	}
	f.add(`event_id = ?`, event)
	first, _ := sameTime(event)
	if len(replays) > manyReplays {
		f.add(`id >= ?`, first)
		return nil
	}
	var ranges []string
	var bounds []any
	for _, id := range append(replays, event) {
		first, past := sameTime(id)
		ranges, bounds = append(ranges, `(id >= ? AND id < ?)`), append(bounds, first, past)
	}
	f.add(`(`+strings.Join(ranges, ` OR `)+`)`, bounds...)
	return nil
}
