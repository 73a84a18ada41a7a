package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millrace-dev/millrace"
)

// eventRow is an event on its way into the log.
type eventRow struct {
	millrace.Event
	headers     []byte // JSON, nil for none
	duplicateOf millrace.ID
	// keep says whether a duplicate is stored.
	keep bool
	// keys are what it is known by; nil: nothing but its id.
	keys *eventKeys
}

func (r eventRow) id() millrace.ID { return r.ID }

// weight is what a row adds to the bytes of a flush.
func (r eventRow) weight() int { return len(r.Payload) + len(r.headers) + 256 }

// AppendEvent appends an event to the log and answers with what is stored. It
// can be repeated: an id met again is the same event. With an idempotency key
// that was seen before under another id, the answer's DuplicateOf is the first
// event: with keepDuplicate the event is stored as its duplicate, else it is
// not stored and the answer bears the first one's id. The same key with
// another body is a conflict, unless it is the source's (KeyOfSource). With a
// broker's coordinates that were seen before with the same message nothing is
// stored, and the answer's DuplicateOf is the event that they stand for; with
// another message it is a new event, see OnReuse. An unknown project is not
// found.
func (s *Store) AppendEvent(ctx context.Context, e millrace.Event, keepDuplicate bool) (millrace.StoredEvent, error) {
	headers, err := headerJSON(e.Headers)
	if err != nil {
		return millrace.StoredEvent{}, err
	}
	if e.Payload == nil {
		e.Payload = []byte{}
	}
	row := eventRow{Event: e, headers: headers, keep: keepDuplicate}
	if row.keys, err = keysOf(e); err != nil {
		return millrace.StoredEvent{}, err
	}
	if row.keys == nil {
		return s.appends.events.do(ctx, row)
	}
	return s.appends.keyed.do(ctx, row)
}

func headerJSON[H ~map[string]V, V any](h H) ([]byte, error) {
	if len(h) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("write headers as JSON: %w", err)
	}
	return b, nil
}

func (s *Store) eventAppends() appendKind[millrace.ID, eventRow, millrace.StoredEvent] {
	return appendKind[millrace.ID, eventRow, millrace.StoredEvent]{
		name:    "append events",
		key:     eventRow.id,
		compare: func(a, b eventRow) int { return compareIDs(a.ID, b.ID) },
		weight:  eventRow.weight,
		write:   s.writeEvents,
	}
}

type eventCall = call[eventRow, millrace.StoredEvent]

func (s *Store) writeEvents(ctx context.Context, calls []*eventCall) error {
	left, err := s.insertEvents(ctx, calls)
	if err != nil || len(left) == 0 {
		return err
	}
	return s.readStored(ctx, left)
}

// insertEvents appends the events of known projects and sets their results.
// It answers with the calls that no row was inserted for. The calls are in the
// order of their ids.
func (s *Store) insertEvents(ctx context.Context, calls []*eventCall) (left []*eventCall, err error) {
	rows := rowsOf(calls)
	inserted, err := s.writes.query(ctx, `
		INSERT INTO events (id, project_id, source_id, type, endpoint_id, owner_id, headers, idempotency_key, payload, traceparent, duplicate_of, config_version)
		SELECT x.id, x.project_id, x.source_id, x.type, x.endpoint_id, x.owner_id, x.headers, x.key, x.payload, x.traceparent, x.duplicate_of, p.config_version
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::json[], $8::text[], $9::bytea[], $10::text[], $11::uuid[])
			AS x(id, project_id, source_id, type, endpoint_id, owner_id, headers, key, payload, traceparent, duplicate_of)
		JOIN projects p ON p.id = x.project_id AND p.deleted_at IS NULL
		ON CONFLICT (id) DO NOTHING
		RETURNING id, config_version, stored_at`,
		append(eventParameters(rows), column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putSomeID(b, r.duplicateOf) }))...,
	)
	if err != nil {
		return nil, err
	}
	defer func() { _ = inserted.Close() }() // Err says what there is to say
	done := make(map[*eventCall]bool, len(calls))
	for inserted.Next() {
		var e millrace.StoredEvent
		if err := inserted.Scan(&e.ID, &e.ConfigVersion, &e.StoredAt); err != nil {
			return nil, err
		}
		c := search(calls, e.ID, eventRow.id)
		e.Event, e.DuplicateOf = c.row.Event, c.row.duplicateOf
		c.result, done[c] = e, true
	}
	for _, c := range calls {
		if !done[c] {
			left = append(left, c)
		}
	}
	return left, inserted.Err()
}

// eventParameters are the columns of events that every append of them begins
// with, in the order of their statements: id, project, source, type, endpoint,
// owner, headers, key, payload, traceparent.
func eventParameters(rows []eventRow) []any {
	return []any{
		column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putID(b, r.ID) }),
		column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putID(b, r.ProjectID) }),
		column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putSomeID(b, r.SourceID) }),
		column(rows, oidText, func(b []byte, r eventRow) []byte { return putText(b, r.Type) }),
		column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putSomeID(b, r.Audience.EndpointID) }),
		column(rows, oidText, func(b []byte, r eventRow) []byte { return putText(b, r.Audience.OwnerID) }),
		column(rows, oidJSON, func(b []byte, r eventRow) []byte { return putBytes(b, r.headers) }),
		column(rows, oidText, func(b []byte, r eventRow) []byte { return putText(b, r.IdempotencyKey) }),
		column(rows, oidBytea, func(b []byte, r eventRow) []byte { return putBytes(b, r.Payload) }),
		column(rows, oidText, func(b []byte, r eventRow) []byte { return putSomeText(b, r.TraceParent) }),
	}
}

// readStored sets the results of events that are in the log already. Those
// that are not belong to no known project.
func (s *Store) readStored(ctx context.Context, calls []*eventCall) error {
	for _, c := range calls {
		c.err = millrace.NotFound("project")
	}
	stored, err := s.writes.query(ctx, `
		SELECT e.id, e.project_id, e.config_version, e.stored_at, e.duplicate_of
		FROM unnest($1::uuid[]) AS x(id) JOIN events e ON e.id = x.id
		WHERE e.id BETWEEN $2 AND $3`,
		column(rowsOf(calls), oidUUID, func(b []byte, r eventRow) []byte { return putID(b, r.ID) }),
		calls[0].row.ID, calls[len(calls)-1].row.ID)
	if err != nil {
		return err
	}
	defer func() { _ = stored.Close() }() // Err says what there is to say
	for stored.Next() {
		var e millrace.StoredEvent
		var duplicateOf uuidOrNull
		var project millrace.ID
		if err := stored.Scan(&e.ID, &project, &e.ConfigVersion, &e.StoredAt, &duplicateOf); err != nil {
			return err
		}
		c := search(calls, e.ID, eventRow.id)
		if project != c.row.ProjectID {
			c.err = millrace.Errorf(millrace.CodeConflict, "there is another event with the id %s", e.ID)
			continue
		}
		e.Event, e.DuplicateOf = c.row.Event, duplicateOf.V
		c.result, c.err = e, nil
	}
	return stored.Err()
}

// Payload reads an event's bytes.
func (s *Store) Payload(ctx context.Context, event millrace.ID) ([]byte, error) {
	var payload []byte
	err := s.reads.GetContext(ctx, &payload, `SELECT payload FROM events WHERE id = $1`, event)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, millrace.NotFound("event")
	}
	return payload, mapError(err, "read the payload of event "+event.String())
}
