package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/millrace-dev/millrace"
)

// dueDelivery is a delivery that could be handed back, as a list reads it.
type dueDelivery struct {
	ID   millrace.ID `db:"id"`
	Turn int         `db:"turn"`
}

func (s *Store) due(ctx context.Context, why millrace.DueReason, query string, args ...any) ([]millrace.Due, error) {
	var rows []dueDelivery
	if err := s.reads.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, mapError(err, "list deliveries that are "+string(why))
	}
	all := make([]millrace.Due, len(rows))
	for i, r := range rows {
		all[i] = millrace.Due{DeliveryID: r.ID, Turn: r.Turn, Why: why}
	}
	return all, nil
}

const listDue = `
	SELECT id, turn FROM deliveries
	WHERE status = 'waiting' AND coalesce(next_attempt_at, '-infinity'::timestamptz) <= now()
	ORDER BY coalesce(next_attempt_at, '-infinity'::timestamptz) LIMIT $1`

// DueDeliveries lists waiting deliveries whose time has come by PostgreSQL's
// clock, the longest due first.
func (s *Store) DueDeliveries(ctx context.Context, limit int) ([]millrace.Due, error) {
	return s.due(ctx, millrace.DueTime, listDue, limit)
}

// longestTurn is how long a claimed turn may be worked on before it is
// recorded or claimed anew: the longest deadline of an endpoint, and a margin
// for its body, its token and the record.
const longestTurn = millrace.MaxTimeout + 15*time.Second

const listLost = `
	SELECT id, turn FROM deliveries WHERE status = 'queued' AND queued_at < $1
		AND (claimed_by IS NULL OR updated_at < $2)
	ORDER BY queued_at, id LIMIT $3`

// LostDeliveries lists deliveries that were given to the transport before the
// moment and are there still, the oldest first. One that somebody has claimed
// may be on its way, whatever became of its stream: it is lost only when its
// claim is older than a turn can last.
func (s *Store) LostDeliveries(ctx context.Context, before time.Time, limit int) ([]millrace.Due, error) {
	return s.due(ctx, millrace.DueLost, listLost, before, before.Add(-longestTurn), limit)
}

const listHeld = `
	SELECT id, turn FROM deliveries WHERE endpoint_id = $1 AND status = 'held'
	ORDER BY id LIMIT $2`

// HeldDeliveries lists an endpoint's held deliveries, the oldest first.
func (s *Store) HeldDeliveries(ctx context.Context, endpoint millrace.ID, limit int) ([]millrace.Due, error) {
	return s.due(ctx, millrace.DueReleased, listHeld, endpoint, limit)
}

// back is a delivery to hand back.
type back struct {
	millrace.Due
	fact millrace.ID // of the fact that it was released
}

// backed is what came of it.
type backed struct {
	delivery millrace.Delivery
	ok       bool
}

type backCall = call[back, backed]

func (b back) id() millrace.ID { return b.DeliveryID }

// was is the state that a delivery is handed back from.
func (b back) was() millrace.Status {
	switch b.Why {
	case millrace.DueReleased:
		return millrace.Held
	case millrace.DueLost:
		return millrace.Queued
	}
	return millrace.Waiting
}

// HandBack begins a delivery's next turn: compare-and-set on the turn that
// ends. It answers with the delivery to publish, its event's payload in it
// while small; false: someone was first, or the delivery is in another state.
func (s *Store) HandBack(ctx context.Context, d millrace.Due) (millrace.Delivery, bool, error) {
	switch d.Why {
	case millrace.DueTime, millrace.DueReleased, millrace.DueLost:
	default:
		return millrace.Delivery{}, false, millrace.Permanent(fmt.Errorf("hand back delivery %s: %q is no reason to", d.DeliveryID, d.Why))
	}
	r, err := s.appends.backs.do(ctx, back{Due: d, fact: millrace.NewID(time.Now())})
	return r.delivery, r.ok, err
}

func (s *Store) backAppends() appendKind[millrace.ID, back, backed] {
	return appendKind[millrace.ID, back, backed]{
		name:    "hand deliveries back",
		key:     back.id,
		compare: func(a, b back) int { return compareIDs(a.DeliveryID, b.DeliveryID) },
		weight:  one[back],
		write:   s.writeBacks,
	}
}

// Of the fold only a release is a step; what was due or lost is still waiting,
// and keeps the time it was due at. What was lost when it was listed may have
// come since, late, and been claimed.
const handBack = `
	WITH turned AS (
		UPDATE deliveries d SET
			status = 'queued', turn = d.turn + 1, queued_at = now(), claimed_by = NULL, updated_at = now(),
			facts = CASE WHEN x.was = 'held' THEN d.facts + 1 ELSE d.facts END,
			next_attempt_at = CASE WHEN x.was = 'held' THEN NULL ELSE d.next_attempt_at END,
			held_for = NULL
		FROM unnest($1::uuid[], $2::int[], $3::text[], $4::uuid[]) AS x(id, turn, was, fact)
		WHERE d.id = x.id AND d.id BETWEEN $5 AND $6 AND d.turn = x.turn AND d.status = x.was
			AND (x.was <> 'queued' OR d.claimed_by IS NULL OR d.updated_at < now() - make_interval(secs => $8))
		RETURNING d.id, d.project_id, d.event_id, d.endpoint_id, d.subscription_id, d.replay_id, d.event_type,
			d.turn, d.attempts, d.facts, d.next_attempt_at, x.was, x.fact
	), released AS (
		INSERT INTO facts (delivery_id, id, turn, kind, at, decided, counted, number)
		SELECT id, fact, turn - 1, 'released', now(), 'waiting', true, facts FROM turned WHERE was = 'held'
	)
	SELECT t.id, t.project_id, t.event_id, t.endpoint_id, t.subscription_id, t.replay_id, t.event_type, t.turn, t.attempts,
		t.was = 'held' AS released, t.next_attempt_at, e.headers, coalesce(e.idempotency_key, '') AS idempotency_key,
		e.traceparent, CASE WHEN octet_length(e.payload) <= $7 THEN e.payload END AS payload
	FROM turned t LEFT JOIN events e ON e.id = t.event_id`

// turnedRow is a delivery that was handed back.
type turnedRow struct {
	ID             millrace.ID      `db:"id"`
	ProjectID      millrace.ID      `db:"project_id"`
	EventID        millrace.ID      `db:"event_id"`
	EndpointID     millrace.ID      `db:"endpoint_id"`
	SubscriptionID uuidOrNull       `db:"subscription_id"`
	ReplayID       millrace.ID      `db:"replay_id"`
	EventType      string           `db:"event_type"`
	Turn           int              `db:"turn"`
	Attempts       int              `db:"attempts"`
	Released       bool             `db:"released"`
	DueAt          sql.NullTime     `db:"next_attempt_at"`
	Headers        sql.Null[[]byte] `db:"headers"`
	IdempotencyKey string           `db:"idempotency_key"`
	TraceParent    sql.Null[string] `db:"traceparent"`
	Payload        []byte           `db:"payload"`
}

func (s *Store) writeBacks(ctx context.Context, calls []*backCall) error {
	rows := rowsOf(calls)
	var turned []turnedRow
	err := s.writes.selectAll(ctx, &turned, handBack,
		column(rows, oidUUID, func(b []byte, r back) []byte { return putID(b, r.DeliveryID) }),
		column(rows, oidInt4, func(b []byte, r back) []byte { return putInt4(b, r.Turn) }),
		column(rows, oidText, func(b []byte, r back) []byte { return putText(b, string(r.was())) }),
		column(rows, oidUUID, func(b []byte, r back) []byte { return putID(b, r.fact) }),
		rows[0].DeliveryID, rows[len(rows)-1].DeliveryID, s.config.InlinePayloadMax, longestTurn.Seconds())
	if err != nil {
		return err
	}
	for _, c := range calls {
		c.result = backed{}
	}
	for _, row := range turned {
		c := search(calls, row.ID, back.id)
		delivery, err := row.delivery()
		if err != nil {
			c.err = err
			continue
		}
		delivery.Bulk = c.row.Bulk || delivery.ReplayID != (millrace.ID{})
		c.result = backed{delivery: delivery, ok: true}
	}
	return nil
}

func (r turnedRow) delivery() (millrace.Delivery, error) {
	headers, err := readHeaders(r.Headers.V)
	return millrace.Delivery{
		ID: r.ID, ProjectID: r.ProjectID, EventID: r.EventID, EndpointID: r.EndpointID, SubscriptionID: r.SubscriptionID.V, ReplayID: r.ReplayID,
		Turn: r.Turn, Attempts: r.Attempts, Released: r.Released, DueAt: r.DueAt.Time.UTC(), EventType: r.EventType, Headers: headers, IdempotencyKey: r.IdempotencyKey,
		TraceParent: r.TraceParent.V, Payload: r.Payload, ByReference: r.Payload == nil,
	}, err
}

// readHeaders reads an event's headers; none are nil.
func readHeaders(b []byte) (map[string]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var h map[string]string
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, fmt.Errorf("read an event's headers: %w", err)
	}
	return h, nil
}
