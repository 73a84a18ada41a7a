package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

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
	inserted, err := s.writes.QueryContext(ctx, insertKeyed, s.keyedParameters(rows)...)
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

// known is the event that a key stands for, if it stands for any.
type known struct {
	Project       uuidOrNull          `db:"project"`
	EventID       uuidOrNull          `db:"event_id"`
	Hash          []byte              `db:"body_hash"`
	ConfigVersion sql.Null[int64]     `db:"config_version"`
	StoredAt      sql.Null[time.Time] `db:"stored_at"`
	DuplicateOf   uuidOrNull          `db:"duplicate_of"`
}

// is tells whether the key stands for that very event.
func (k known) is(id millrace.ID) bool { return k.EventID.Valid && k.EventID.V == id }

// has tells whether the key stands for something with that hash.
func (k known) has(hash [32]byte) bool { return k.EventID.Valid && [32]byte(k.Hash) == hash }

// event is what is stored under the key: the event itself, met again, or the
// first one that it repeats.
func (k known) event(e millrace.Event) millrace.StoredEvent {
	stored := millrace.StoredEvent{Event: e, ConfigVersion: k.ConfigVersion.V, StoredAt: k.StoredAt.V, DuplicateOf: k.DuplicateOf.V}
	if k.EventID.V != e.ID {
		stored.ID, stored.DuplicateOf = k.EventID.V, k.EventID.V
	}
	return stored
}

// judgeKeyed sets the results of events that are known under one of their
// keys, and answers with those that are to be written once more.
func (s *Store) judgeKeyed(ctx context.Context, calls []*eventCall) (again []*eventCall, err error) {
	clients, brokers, err := s.readKnown(ctx, calls)
	if err != nil {
		return nil, err
	}
	var kept, reused []*eventCall
	var firsts []millrace.ID
	for i, c := range calls {
		switch verdict := judge(c, clients[i], brokers[i]); verdict {
		case writeAgain:
			again = append(again, c)
		case keepDuplicate:
			kept = append(kept, c)
		case coordinatesReused:
			again, reused, firsts = append(again, c), append(reused, c), append(firsts, brokers[i].EventID.V)
		}
	}
	if err := s.forgetCoordinates(ctx, reused, firsts); err != nil || len(kept) == 0 {
		return again, err
	}
	slices.SortFunc(kept, func(a, b *eventCall) int { return compareIDs(a.row.ID, b.row.ID) })
	return again, s.writeEvents(ctx, kept)
}

// verdict is what is to be done about an event that was not inserted.
type verdict int

const (
	settled           verdict = iota
	writeAgain                // its keys are free by now
	keepDuplicate             // it is stored, and has no key to take
	coordinatesReused         // they are to be forgotten, then it is written again
)

// judge decides what an event is by what its keys stand for. The coordinates
// go first: a message met again is nothing new, whatever else it says.
func judge(c *eventCall, client, broker known) verdict {
	keys := c.row.keys
	switch {
	case !client.Project.Valid:
		c.err = millrace.NotFound("project")
	case broker.is(c.row.ID), broker.has(keys.broker.hash):
		c.result = broker.event(c.row.Event)
	case client.EventID.Valid && !keys.alone && !client.has(keys.client.hash):
		c.err = millrace.Errorf(millrace.CodeConflict, "the idempotency key %q was used before for another event", c.row.IdempotencyKey)
	case client.is(c.row.ID):
		c.result = client.event(c.row.Event)
	case broker.EventID.Valid:
		return coordinatesReused
	case !client.EventID.Valid:
		return writeAgain
	case !c.row.keep:
		c.result = client.event(c.row.Event)
	default:
		c.row.duplicateOf = client.EventID.V
		if keys.broker.text != "" {
			return writeAgain
		}
		return keepDuplicate
	}
	return settled
}

// readKnown reads what the keys of the calls stand for, in their order.
func (s *Store) readKnown(ctx context.Context, calls []*eventCall) (clients, brokers []known, err error) {
	rows := rowsOf(calls)
	read := func(into *[]known, text func(eventRow) string) error {
		return s.writes.SelectContext(ctx, into, readKnown,
			column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putID(b, r.ProjectID) }),
			column(rows, oidText, func(b []byte, r eventRow) []byte { return putSomeText(b, text(r)) }))
	}
	if err := read(&clients, func(r eventRow) string { return r.keys.client.text }); err != nil {
		return nil, nil, err
	}
	err = read(&brokers, func(r eventRow) string { return r.keys.broker.text })
	return clients, brokers, err
}

const readKnown = `
	SELECT p.id AS project, k.event_id, k.body_hash, e.config_version, e.stored_at, e.duplicate_of
	FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS x(project_id, key, n)
	LEFT JOIN LATERAL (SELECT id FROM projects WHERE id = x.project_id AND deleted_at IS NULL OFFSET 0) p ON true
	LEFT JOIN LATERAL (
		SELECT event_id, body_hash, expires_at FROM idempotency_keys WHERE project_id = x.project_id AND key = x.key OFFSET 0) k ON k.expires_at > now()
	LEFT JOIN LATERAL (SELECT config_version, stored_at, duplicate_of FROM events WHERE id = k.event_id OFFSET 0) e ON true
	ORDER BY x.n`

// forgetCoordinates frees coordinates that stand for the messages of those
// first events still, and tells OnReuse of them. Others that meet the same may
// have done so, and more: then they stand for what is right.
func (s *Store) forgetCoordinates(ctx context.Context, calls []*eventCall, firsts []millrace.ID) error {
	if len(calls) == 0 {
		return nil
	}
	rows := rowsOf(calls)
	var done []millrace.ID
	err := s.writes.SelectContext(ctx, &done, forgetKeys,
		column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putID(b, r.ProjectID) }),
		column(rows, oidText, func(b []byte, r eventRow) []byte { return putText(b, r.keys.broker.text) }),
		ids(firsts))
	if err != nil || s.OnReuse == nil {
		return err
	}
	for _, first := range done {
		s.OnReuse(rows[slices.Index(firsts, first)].Event, first)
	}
	return nil
}

const forgetKeys = `
	DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
		SELECT k.ctid FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS x(project_id, key, event_id), LATERAL (
			SELECT ctid, event_id FROM idempotency_keys WHERE project_id = x.project_id AND key = x.key OFFSET 0) k
		WHERE k.event_id = x.event_id))
	RETURNING event_id`
