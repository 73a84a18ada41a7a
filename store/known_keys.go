package store

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// known is the event that a key stands for, if it stands for any.
type known struct {
	EventID       uuidOrNull          `db:"event_id"`
	Hash          []byte              `db:"body_hash"`
	ConfigVersion sql.Null[int64]     `db:"config_version"`
	StoredAt      sql.Null[time.Time] `db:"stored_at"`
	DuplicateOf   uuidOrNull          `db:"duplicate_of"`
}

// knownKeys are what the keys of an event stand for, in its project.
type knownKeys struct {
	Project uuidOrNull `db:"project"`
	Client  known      `db:"client"`
	Broker  known      `db:"broker"`
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
	all, err := s.readKnown(ctx, calls)
	if err != nil {
		return nil, err
	}
	var kept, reused []*eventCall
	var firsts []millrace.ID
	for i, c := range calls {
		switch judge(c, all[i]) {
		case settled:
		case writeAgain:
			again = append(again, c)
		case keepDuplicate:
			kept = append(kept, c)
		case coordinatesReused:
			again, reused, firsts = append(again, c), append(reused, c), append(firsts, all[i].Broker.EventID.V)
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
func judge(c *eventCall, of knownKeys) verdict {
	keys, client, broker := c.row.keys, of.Client, of.Broker
	switch {
	case !of.Project.Valid:
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
func (s *Store) readKnown(ctx context.Context, calls []*eventCall) ([]knownKeys, error) {
	rows := rowsOf(calls)
	var all []knownKeys
	err := s.writes.selectAll(ctx, &all, readKnown,
		column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putID(b, r.ProjectID) }),
		column(rows, oidText, func(b []byte, r eventRow) []byte { return putSomeText(b, r.keys.client.text) }),
		column(rows, oidText, func(b []byte, r eventRow) []byte { return putSomeText(b, r.keys.broker.text) }))
	return all, err
}

const readKnown = `
	SELECT p.id AS project,
		c.event_id AS "client.event_id", c.body_hash AS "client.body_hash",
		d.config_version AS "client.config_version", d.stored_at AS "client.stored_at", d.duplicate_of AS "client.duplicate_of",
		b.event_id AS "broker.event_id", b.body_hash AS "broker.body_hash",
		e.config_version AS "broker.config_version", e.stored_at AS "broker.stored_at", e.duplicate_of AS "broker.duplicate_of"
	FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS x(project_id, client, broker, n)
	LEFT JOIN LATERAL (SELECT id FROM projects WHERE id = x.project_id AND deleted_at IS NULL OFFSET 0) p ON true
	LEFT JOIN LATERAL (
		SELECT event_id, body_hash, expires_at FROM idempotency_keys WHERE project_id = x.project_id AND key = x.client OFFSET 0) c ON c.expires_at > now()
	LEFT JOIN LATERAL (SELECT config_version, stored_at, duplicate_of FROM events WHERE id = c.event_id OFFSET 0) d ON true
	LEFT JOIN LATERAL (
		SELECT event_id, body_hash, expires_at FROM idempotency_keys WHERE project_id = x.project_id AND key = x.broker OFFSET 0) b ON b.expires_at > now()
	LEFT JOIN LATERAL (SELECT config_version, stored_at, duplicate_of FROM events WHERE id = b.event_id OFFSET 0) e ON true
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
	err := s.writes.selectAll(ctx, &done, forgetKeys,
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
