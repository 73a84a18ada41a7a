package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// eventRecordRow is a row of events.
type eventRecordRow struct {
	ID             millrace.ID      `db:"id"`
	ProjectID      millrace.ID      `db:"project_id"`
	SourceID       uuidOrNull       `db:"source_id"`
	Type           string           `db:"type"`
	EndpointID     uuidOrNull       `db:"endpoint_id"`
	OwnerID        string           `db:"owner_id"`
	Headers        sql.Null[[]byte] `db:"headers"`
	IdempotencyKey string           `db:"idempotency_key"`
	Payload        []byte           `db:"payload"`
	TraceParent    sql.Null[string] `db:"traceparent"`
	StoredAt       time.Time        `db:"stored_at"`
	ConfigVersion  int64            `db:"config_version"`
	DuplicateOf    uuidOrNull       `db:"duplicate_of"`
}

const eventColumns = `e.id, e.project_id, e.source_id, e.type, e.endpoint_id, e.owner_id, e.headers, e.idempotency_key,
	e.payload, e.traceparent, e.stored_at, e.config_version, e.duplicate_of`

func (r eventRecordRow) event() (millrace.StoredEvent, error) {
	headers, err := readHeaders(r.Headers.V)
	return millrace.StoredEvent{
		Event: millrace.Event{
			ID: r.ID, ProjectID: r.ProjectID, SourceID: r.SourceID.V, Type: r.Type,
			Audience: millrace.Audience{EndpointID: r.EndpointID.V, OwnerID: r.OwnerID},
			Headers:  headers, IdempotencyKey: r.IdempotencyKey, TraceParent: r.TraceParent.V, Payload: r.Payload,
		},
		ConfigVersion: r.ConfigVersion, StoredAt: r.StoredAt.UTC(), DuplicateOf: r.DuplicateOf.V,
	}, err
}

// Event reads one event of a project, with what became of it.
func (s *Store) Event(ctx context.Context, project, event millrace.ID) (e millrace.EventRecord, err error) {
	err = s.read(ctx, func(from reader) error {
		stored, err := readEvent(ctx, from, project, event)
		if err != nil {
			return err
		}
		records := []millrace.EventRecord{{StoredEvent: stored}}
		err = addOutcomes(ctx, from, records)
		e = records[0]
		return err
	})
	return e, err
}

func readEvent(ctx context.Context, from sqlx.QueryerContext, project, event millrace.ID) (millrace.StoredEvent, error) {
	var row eventRecordRow
	err := sqlx.GetContext(ctx, from, &row, `SELECT `+eventColumns+` FROM events e WHERE e.id = $1 AND e.project_id = $2`, event, project)
	if err != nil {
		return millrace.StoredEvent{}, orMissing(err, millrace.NotFound("event"), "read event "+event.String())
	}
	return row.event()
}

// Events lists a project's events by their ids, with what became of each.
func (s *Store) Events(ctx context.Context, q millrace.EventQuery) (list millrace.List[millrace.EventRecord], err error) {
	err = s.read(ctx, func(from reader) error {
		list, err = events(ctx, from, q)
		return err
	})
	return list, err
}

func events(ctx context.Context, from reader, q millrace.EventQuery) (millrace.List[millrace.EventRecord], error) {
	var none millrace.List[millrace.EventRecord]
	q.Page = bounded(q.Page)
	k := keysetOf(q.Page)
	f, err := eventFilter(ctx, from, q, k)
	if err != nil {
		return none, err
	}
	var rows []eventRecordRow
	if err := sqlx.SelectContext(ctx, from, &rows, `SELECT `+eventColumns+` FROM events e WHERE `+f.where()+k.order(), f.args...); err != nil {
		return none, mapError(err, "list events")
	}
	page := listOf(rows, q.Page)
	list := millrace.List[millrace.EventRecord]{HasNext: page.HasNext, HasPrev: page.HasPrev}
	for _, r := range page.Items {
		stored, err := r.event()
		if err != nil {
			return none, err
		}
		list.Items = append(list.Items, millrace.EventRecord{StoredEvent: stored})
	}
	return list, addOutcomes(ctx, from, list.Items)
}

func eventFilter(ctx context.Context, from reader, q millrace.EventQuery, k keyset) (*listFilter, error) {
	f := newListFilter(k)
	f.add(`project_id = ?`, q.ProjectID)
	f.between(q.Since, q.Until)
	if len(q.Types) > 0 {
		f.add(`type = ANY (?::text[])`, texts(q.Types))
	}
	if len(q.SourceIDs) > 0 {
		f.add(`source_id = ANY (?::uuid[])`, ids(q.SourceIDs))
	}
	if q.OwnerID != "" {
		f.add(`owner_id = ?`, q.OwnerID)
	}
	if q.IdempotencyKey != "" {
		f.add(`idempotency_key = ?`, q.IdempotencyKey)
	}
	if q.BrokerMessageID != "" {
		f.add(`id = (SELECT k.event_id FROM idempotency_keys k WHERE k.project_id = ? AND k.key = ?)`, q.ProjectID, spaceOfBrokers+q.BrokerMessageID)
	}
	if len(q.EndpointIDs) > 0 {
		return f, towards(ctx, from, f, q)
	}
	return f, nil
}

// The ids of the millisecond of an id, in SQL: the first and the last.
const (
	firstOfTime = `(left(t.at::text, 13) || '-0000-0000-000000000000')::uuid`
	lastOfTime  = `(left(t.at::text, 13) || '-ffff-ffff-ffffffffffff')::uuid`
)

// fewDeliveries is up to how many deliveries the events of an endpoint are
// found by them; beyond, each event is asked for its deliveries, as one in few
// will have some.
const fewDeliveries = 5000

// towards narrows a list of events to those that were sent towards one of the
// endpoints.
func towards(ctx context.Context, from reader, f *listFilter, q millrace.EventQuery) error {
	d := listFilter{args: []any{fewDeliveries}}
	d.add(`project_id = ? AND endpoint_id = ANY (?::uuid[])`, q.ProjectID, ids(q.EndpointIDs))
	d.between(q.Since, time.Time{})
	var events []millrace.ID
	if err := sqlx.SelectContext(ctx, from, &events, `SELECT event_id FROM deliveries WHERE `+d.where()+` LIMIT $1`, d.args...); err != nil {
		return mapError(err, "list the deliveries of endpoints")
	}
	if len(events) < fewDeliveries {
		f.add(`(id = ANY (?::uuid[]) OR endpoint_id = ANY (?::uuid[]))`, ids(events), ids(q.EndpointIDs))
		return nil
	}
	f.add(`(endpoint_id = ANY (?::uuid[]) OR EXISTS (
		SELECT FROM (SELECT e.id AS at UNION ALL SELECT r.id FROM replays r WHERE r.event_id = e.id) t
		JOIN deliveries d ON d.id BETWEEN `+firstOfTime+` AND `+lastOfTime+`
		WHERE d.event_id = e.id AND d.endpoint_id = ANY (?::uuid[])))`, ids(q.EndpointIDs), ids(q.EndpointIDs))
	return nil
}

// outcomeRow is how many deliveries of an event have a status.
type outcomeRow struct {
	Event    millrace.ID      `db:"event"`
	Endpoint uuidOrNull       `db:"endpoint"`
	Status   sql.Null[string] `db:"status"`
	Count    int              `db:"count"`
	// Matched is on the row that has no status.
	Matched sql.Null[int] `db:"matched"`
}

// addOutcomes tells what became of events: one query for all of them.
func addOutcomes(ctx context.Context, from reader, records []millrace.EventRecord) error {
	if len(records) == 0 {
		return nil
	}
	events := make([]millrace.ID, len(records))
	at := make(map[millrace.ID]*millrace.EventRecord, len(records))
	for i := range records {
		events[i], at[records[i].ID] = records[i].ID, &records[i]
		records[i].Deliveries = map[millrace.Status]int{}
	}
	var rows []outcomeRow
	err := sqlx.SelectContext(ctx, from, &rows, `
		WITH t AS (
			SELECT id AS event, id AS at FROM unnest($1::uuid[]) AS id
			UNION ALL
			SELECT r.event_id, r.id FROM replays r WHERE r.event_id = ANY ($1::uuid[])
		)
		SELECT t.event, d.endpoint_id AS endpoint, d.status, count(*) AS count, NULL::int AS matched
		FROM t JOIN deliveries d ON d.id BETWEEN `+firstOfTime+` AND `+lastOfTime+` AND d.event_id = t.event
		GROUP BY t.event, d.endpoint_id, d.status
		UNION ALL
		SELECT m.event_id, NULL, NULL, 0, m.matched FROM matches m WHERE m.event_id = ANY ($1::uuid[]) AND m.replay_id = $2
		ORDER BY event, endpoint`, ids(events), millrace.ID{})
	if err != nil {
		return mapError(err, "read what became of events")
	}
	for _, r := range rows {
		r.addTo(at[r.Event])
	}
	return nil
}

func (r outcomeRow) addTo(e *millrace.EventRecord) {
	if r.Matched.Valid {
		e.FannedOut, e.Matched = true, r.Matched.V
		return
	}
	e.Deliveries[millrace.Status(r.Status.V)] += r.Count
	if n := len(e.EndpointIDs); n == 0 || e.EndpointIDs[n-1] != r.Endpoint.V {
		e.EndpointIDs = append(e.EndpointIDs, r.Endpoint.V)
	}
}
