package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
)

// keyOf is whose key it is.
type keyOf struct {
	project millrace.ID
	key     string
}

func (r eventRow) keyOf() keyOf { return keyOf{r.ProjectID, r.IdempotencyKey} }

// bodyHash is what must be equal for two events with one key to be the same:
// type, audience, headers and payload.
func bodyHash(e millrace.Event) [32]byte {
	sum := sha256.New()
	put := func(part string) {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		sum.Write([]byte(part))
	}
	put(e.Type)
	put(string(e.Audience.EndpointID[:]))
	put(e.Audience.OwnerID)
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		put(name)
		put(e.Headers[name])
	}
	put(string(e.Payload))
	return [32]byte(sum.Sum(nil))
}

func (s *Store) keyedAppends() appendKind[keyOf, eventRow, millrace.StoredEvent] {
	return appendKind[keyOf, eventRow, millrace.StoredEvent]{
		name: "append events with idempotency keys",
		key:  eventRow.keyOf,
		compare: func(a, b eventRow) int {
			return cmp.Or(compareIDs(a.ProjectID, b.ProjectID), strings.Compare(a.IdempotencyKey, b.IdempotencyKey))
		},
		weight: eventRow.weight,
		write:  s.writeKeyed,
	}
}

// writeKeyed takes the keys and appends their events in one statement. What
// that leaves is known under its key already, and read by a second one.
func (s *Store) writeKeyed(ctx context.Context, calls []*eventCall) error {
	stored, err := s.insertKeyed(ctx, calls)
	if err != nil {
		return err
	}
	var left []*eventCall
	for _, c := range calls {
		if e, ok := stored[c.row.ID]; ok {
			e.Event = c.row.Event
			c.result = e
		} else {
			left = append(left, c)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return s.resolveKeyed(ctx, left)
}

func (s *Store) insertKeyed(ctx context.Context, calls []*eventCall) (map[millrace.ID]millrace.StoredEvent, error) {
	rows := rowsOf(calls)
	inserted, err := s.writes.QueryContext(ctx, `
		WITH x AS (
			SELECT x.*, p.config_version
			FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::json[], $8::text[], $9::bytea[], $10::text[], $11::bytea[])
				AS x(id, project_id, source_id, type, endpoint_id, owner_id, headers, key, payload, traceparent, hash)
			JOIN projects p ON p.id = x.project_id AND p.deleted_at IS NULL
		), taken AS (
			INSERT INTO idempotency_keys AS k (project_id, key, event_id, body_hash, expires_at)
			SELECT project_id, key, id, hash, now() + $12::bigint * interval '1 microsecond' FROM x
			ON CONFLICT (project_id, key) DO UPDATE
				SET event_id = excluded.event_id, body_hash = excluded.body_hash, expires_at = excluded.expires_at
				WHERE k.expires_at <= now()
			RETURNING k.event_id
		)
		INSERT INTO events (id, project_id, source_id, type, endpoint_id, owner_id, headers, idempotency_key, payload, traceparent, config_version)
		SELECT x.id, x.project_id, x.source_id, x.type, x.endpoint_id, x.owner_id, x.headers, x.key, x.payload, x.traceparent, x.config_version
		FROM x WHERE (x.id IN (SELECT event_id FROM taken)) IS TRUE -- no join, see insertFanOut
		ON CONFLICT (id) DO NOTHING
		RETURNING id, config_version, stored_at`,
		append(eventParameters(rows),
			column(rows, oidBytea, func(b []byte, r eventRow) []byte { return putBytes(b, r.hash[:]) }),
			s.config.IdempotencyWindow.Microseconds())...,
	)
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
	return stored, inserted.Err()
}

// errKeyGone: the key expired between two statements. Asked again, it is new.
var errKeyGone = errors.New("the idempotency key expired at this moment")

// firstOf is the event that a key stands for.
type firstOf struct {
	Project       uuidOrNull          `db:"project"`
	EventID       uuidOrNull          `db:"event_id"`
	Hash          []byte              `db:"body_hash"`
	ConfigVersion sql.Null[int64]     `db:"config_version"`
	StoredAt      sql.Null[time.Time] `db:"stored_at"`
}

// resolveKeyed sets the results of events whose key was taken before: by
// themselves, or by another event that they are then duplicates of.
func (s *Store) resolveKeyed(ctx context.Context, calls []*eventCall) error {
	firsts, err := s.readFirsts(ctx, calls)
	if err != nil {
		return err
	}
	var kept []*eventCall
	for i, c := range calls {
		first := firsts[i]
		switch {
		case !first.Project.Valid:
			c.err = millrace.NotFound("project")
		case !first.EventID.Valid:
			c.err = millrace.Unavailable(errKeyGone)
		case !bytes.Equal(first.Hash, c.row.hash[:]):
			c.err = millrace.Errorf(millrace.CodeConflict, "the idempotency key %q was used before for another event", c.row.IdempotencyKey)
		case first.EventID.V != c.row.ID && c.row.keep:
			c.row.duplicateOf = first.EventID.V
			kept = append(kept, c)
		default:
			c.result = first.event(c.row.Event)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	slices.SortFunc(kept, func(a, b *eventCall) int { return compareIDs(a.row.ID, b.row.ID) })
	return s.writeEvents(ctx, kept)
}

// event is what is stored under the key: the event itself, met again, or the
// first one that it repeats.
func (f firstOf) event(e millrace.Event) millrace.StoredEvent {
	stored := millrace.StoredEvent{Event: e, ConfigVersion: f.ConfigVersion.V, StoredAt: f.StoredAt.V}
	if f.EventID.V != e.ID {
		stored.ID, stored.DuplicateOf = f.EventID.V, f.EventID.V
	}
	return stored
}

// readFirsts reads what the keys of the calls stand for, in their order.
func (s *Store) readFirsts(ctx context.Context, calls []*eventCall) ([]firstOf, error) {
	rows := rowsOf(calls)
	var firsts []firstOf
	err := s.writes.SelectContext(ctx, &firsts, `
		SELECT p.id AS project, k.event_id, k.body_hash, e.config_version, e.stored_at
		FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS x(project_id, key, n)
		LEFT JOIN projects p ON p.id = x.project_id AND p.deleted_at IS NULL
		LEFT JOIN idempotency_keys k ON k.project_id = x.project_id AND k.key = x.key
		LEFT JOIN events e ON e.id = k.event_id
		ORDER BY x.n`,
		column(rows, oidUUID, func(b []byte, r eventRow) []byte { return putID(b, r.ProjectID) }),
		column(rows, oidText, func(b []byte, r eventRow) []byte { return putText(b, r.IdempotencyKey) }))
	return firsts, err
}

// ExpireKeys forgets up to so many idempotency keys whose time is over, and
// answers how many it forgot.
func (s *Store) ExpireKeys(ctx context.Context, limit int) (int, error) {
	result, err := s.reads.ExecContext(ctx, `
		DELETE FROM idempotency_keys WHERE (project_id, key) IN (
			SELECT project_id, key FROM idempotency_keys WHERE expires_at <= now()
			ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)`, limit)
	if err != nil {
		return 0, mapError(err, "expire idempotency keys")
	}
	n, err := result.RowsAffected()
	return int(n), mapError(err, "expire idempotency keys")
}
