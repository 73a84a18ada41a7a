package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/millrace-dev/millrace"
)

// keyOf is whose key it is.
type keyOf struct {
	project millrace.ID
	text    string
}

func compareKeys(a, b keyOf) int {
	return cmp.Or(compareIDs(a.project, b.project), strings.Compare(a.text, b.text))
}

// firstKey is one key that an event has: its coordinates before its client's.
func (r eventRow) firstKey() keyOf {
	if r.keys.broker.text != "" {
		return keyOf{r.ProjectID, r.keys.broker.text}
	}
	return keyOf{r.ProjectID, r.keys.client.text}
}

// secondKey is the other key of an event that has two.
func (r eventRow) secondKey() (keyOf, bool) {
	return keyOf{r.ProjectID, r.keys.client.text}, r.keys.broker.text != "" && r.keys.client.text != ""
}

func (s *Store) keyedAppends() appendKind[keyOf, eventRow, millrace.StoredEvent] {
	return appendKind[keyOf, eventRow, millrace.StoredEvent]{
		name:    "append events with idempotency keys",
		key:     eventRow.firstKey,
		second:  eventRow.secondKey,
		compare: func(a, b eventRow) int { return compareKeys(a.firstKey(), b.firstKey()) },
		weight:  eventRow.weight,
		write:   s.writeKeyed,
	}
}

// errKeysMove is when others took and gave up an event's keys each time that
// it was to be written. Asked again, it is judged anew.
var errKeysMove = errors.New("the event's keys are being taken by others")

// writeKeyed takes the keys and appends their events in one statement. What
// that leaves is known under one of its keys already: it is judged by what the
// keys stand for, and written once more where it is a new event all the same.
func (s *Store) writeKeyed(ctx context.Context, calls []*eventCall) error {
	const rounds = 4 // coordinates that stood for another message, a key known, one just expired, and one for luck
	for range rounds {
		left, err := s.insertKeyed(ctx, calls)
		if err != nil || len(left) == 0 {
			return err
		}
		calls, err = s.judgeKeyed(ctx, left)
		if err != nil || len(calls) == 0 {
			return err
		}
	}
	for _, c := range calls {
		c.err = millrace.Unavailable(errKeysMove)
	}
	return nil
}

// taking is a key that an event is about to take.
type taking struct {
	keyOf
	event  millrace.ID
	hash   []byte
	paired bool // the event takes another too: both or none
}

// takings are the keys that rows are about to take, in the order in which they
// are locked. A duplicate leaves its client's key to the first event.
func takings(rows []eventRow) []taking {
	all := make([]taking, 0, 2*len(rows))
	for i := range rows {
		r := &rows[i]
		client, broker, paired := r.takes()
		if broker {
			all = append(all, taking{keyOf{r.ProjectID, r.keys.broker.text}, r.ID, r.keys.broker.hash[:], paired})
		}
		if client {
			all = append(all, taking{keyOf{r.ProjectID, r.keys.client.text}, r.ID, r.keys.client.hash[:], paired})
		}
	}
	slices.SortFunc(all, func(a, b taking) int { return compareKeys(a.keyOf, b.keyOf) })
	return all
}

// takes says which keys a row is about to take.
func (r *eventRow) takes() (client, broker, paired bool) {
	client = r.keys.client.text != "" && r.duplicateOf == millrace.ID{}
	broker = r.keys.broker.text != ""
	return client, broker, client && broker
}

// insertKeyed appends the events all of whose keys are free and sets their
// results. It answers with the calls that no row was inserted for. An event
// with two keys that finds one of them taken takes none: seen by the statement
// (busy), or, taken since it began, by undoing it all (both_or_none).
func (s *Store) insertKeyed(ctx context.Context, calls []*eventCall) (left []*eventCall, err error) {
	rows := rowsOf(calls)
	inserted, err := s.writes.query(ctx, insertKeyed, s.keyedParameters(rows)...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = inserted.Close() }() // Err says what there is to say
	stored := make(map[millrace.ID]millrace.StoredEvent, len(calls))
	for inserted.Next() {
		var e millrace.StoredEvent
		if err := inserted.Scan(&e.ID, &e.ConfigVersion, &e.StoredAt); err != nil {
			return nil, err
		}
		stored[e.ID] = e
	}
	for _, c := range calls {
		if e, ok := stored[c.row.ID]; ok {
			e.Event, e.DuplicateOf = c.row.Event, c.row.duplicateOf
			c.result = e
		} else {
			left = append(left, c)
		}
	}
	return left, inserted.Err()
}

const insertKeyed = `
	WITH x AS (
		SELECT x.*, p.config_version
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::json[], $8::text[], $9::bytea[], $10::text[], $11::uuid[], $12::bool[])
			AS x(id, project_id, source_id, type, endpoint_id, owner_id, headers, key, payload, traceparent, duplicate_of, paired)
		JOIN projects p ON p.id = x.project_id AND p.deleted_at IS NULL
	), y AS (
		SELECT y.* FROM unnest($13::uuid[], $14::text[], $15::uuid[], $16::bytea[], $17::bool[]) AS y(project_id, key, event_id, hash, paired)
		WHERE (y.event_id IN (SELECT id FROM x)) IS TRUE -- no join, see insertFanOut
	), busy AS (
		SELECT y.event_id FROM y, LATERAL (
			SELECT expires_at FROM idempotency_keys WHERE project_id = y.project_id AND key = y.key OFFSET 0) k -- by the key, see docs/adr/0010
		WHERE y.paired AND k.expires_at > now()
	), taken AS (
		INSERT INTO idempotency_keys AS k (project_id, key, event_id, body_hash, expires_at)
		SELECT project_id, key, event_id, hash, now() + $18::bigint * interval '1 microsecond' FROM y
		WHERE (y.paired AND y.event_id IN (SELECT event_id FROM busy)) IS NOT TRUE
		ON CONFLICT (project_id, key) DO UPDATE
			SET event_id = excluded.event_id, body_hash = excluded.body_hash, expires_at = excluded.expires_at
			WHERE k.expires_at <= now()
		RETURNING k.event_id
	)
	INSERT INTO events (id, project_id, source_id, type, endpoint_id, owner_id, headers, idempotency_key, payload, traceparent, duplicate_of, config_version)
	SELECT x.id, x.project_id, x.source_id, x.type, x.endpoint_id, x.owner_id, x.headers, x.key, x.payload, x.traceparent, x.duplicate_of, x.config_version
	FROM x WHERE CASE -- which keeps the order
		WHEN (x.id IN (SELECT event_id FROM taken)) IS NOT TRUE THEN false
		WHEN x.paired THEN both_or_none(x.id IN (SELECT event_id FROM taken GROUP BY event_id HAVING count(*) = 2))
		ELSE true END
	ON CONFLICT (id) DO NOTHING
	RETURNING id, config_version, stored_at`

func (s *Store) keyedParameters(rows []eventRow) []any {
	keys := takings(rows)
	return append(eventParameters(rows),
		column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putSomeID(b, r.duplicateOf) }),
		column(rows, oidBool, func(b []byte, r eventRow) []byte { _, _, paired := r.takes(); return putBool(b, paired) }),
		column(keys, oidUUID, func(b []byte, t taking) []byte { return putID(b, t.project) }),
		column(keys, oidText, func(b []byte, t taking) []byte { return putText(b, t.text) }),
		column(keys, oidUUID, func(b []byte, t taking) []byte { return putID(b, t.event) }),
		column(keys, oidBytea, func(b []byte, t taking) []byte { return putBytes(b, t.hash) }),
		column(keys, oidBool, func(b []byte, t taking) []byte { return putBool(b, t.paired) }),
		s.config.IdempotencyWindow.Microseconds())
}
