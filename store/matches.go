package store

import (
	"cmp"
	"context"
	"time"

	"github.com/millrace-dev/millrace"
)

// fanOutKey: an event is matched once per replay.
type fanOutKey struct{ event, replay millrace.ID }

func keyOfFanOut(f millrace.FanOut) fanOutKey {
	return fanOutKey{event: f.Event.ID, replay: f.Event.ReplayID}
}

// FanOut appends the outcome of matching an event: its matches row and all of
// its deliveries, at once or not at all. Whoever is first wins; it answers
// with the deliveries to publish, in turn 1. Run again, it answers with those
// that are still queued in turn 1 and that no one has claimed.
func (s *Store) FanOut(ctx context.Context, f millrace.FanOut) ([]millrace.Delivery, error) {
	return s.appends.fanOuts.do(ctx, f)
}

type fanOutCall = call[millrace.FanOut, []millrace.Delivery]

func (s *Store) fanOutAppends() appendKind[fanOutKey, millrace.FanOut, []millrace.Delivery] {
	return appendKind[fanOutKey, millrace.FanOut, []millrace.Delivery]{
		name: "fan events out",
		key:  keyOfFanOut,
		compare: func(a, b millrace.FanOut) int {
			return cmp.Or(compareIDs(a.Event.ID, b.Event.ID), compareIDs(a.Event.ReplayID, b.Event.ReplayID))
		},
		weight: func(f millrace.FanOut) int { return 1 + len(f.Targets) },
		write:  s.writeFanOuts,
	}
}

// newDelivery is a delivery that a fan-out makes.
type newDelivery struct {
	millrace.Delivery
	hold millrace.HoldReason
}

// deliveryOf is the delivery of an event to a target. An endpoint without a
// subscription takes the subscription's place in its id.
func deliveryOf(e millrace.StoredEvent, t millrace.Target) newDelivery {
	source := t.SubscriptionID
	if source == (millrace.ID{}) {
		source = t.EndpointID
	}
	return newDelivery{hold: t.Hold, Delivery: millrace.Delivery{
		ID:        millrace.DeliveryID(e.ID, source, e.ReplayID),
		ProjectID: e.ProjectID, EventID: e.ID, EndpointID: t.EndpointID, SubscriptionID: t.SubscriptionID, ReplayID: e.ReplayID,
		Turn: 1, EventType: e.Type, Headers: e.Headers, IdempotencyKey: e.IdempotencyKey, TraceParent: e.TraceParent, Payload: e.Payload,
	}}
}

// fanOutRows are the rows of one flush.
type fanOutRows struct {
	matches    []millrace.FanOut
	deliveries []newDelivery
	holds      bool
}

func fanOutRowsOf(calls []*fanOutCall) fanOutRows {
	rows := fanOutRows{matches: rowsOf(calls)}
	for _, f := range rows.matches {
		for _, t := range f.Targets {
			rows.deliveries = append(rows.deliveries, deliveryOf(f.Event, t))
			rows.holds = rows.holds || t.Hold != millrace.HoldNone
		}
	}
	return rows
}

func (s *Store) writeFanOuts(ctx context.Context, calls []*fanOutCall) error {
	won, err := s.insertFanOuts(ctx, fanOutRowsOf(calls))
	if err != nil {
		return err
	}
	var lost []*fanOutCall
	for _, c := range calls {
		if !won[keyOfFanOut(c.row)] {
			lost = append(lost, c)
			continue
		}
		c.result = nil
		for _, t := range c.row.Targets {
			if d := deliveryOf(c.row.Event, t); d.hold == millrace.HoldNone {
				c.result = append(c.result, d.Delivery)
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return s.readUnclaimed(ctx, lost)
}

// The deliveries of the events whose matches row was inserted here. IS TRUE
// keeps the planner from making a join of it, which without hash joins would
// compare each row with each; as it stands, it looks into a hash table.
const insertFanOut = `
	WITH won AS (
		INSERT INTO matches (event_id, replay_id, matched, config_version)
		SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[])
		ON CONFLICT (event_id, replay_id) DO NOTHING
		RETURNING event_id, replay_id
	), x AS (
		SELECT * FROM unnest($5::uuid[], $6::uuid[], $7::uuid[], $8::uuid[], $9::uuid[], $10::uuid[], $11::text[], $12::text[])
			AS x(id, project_id, event_id, endpoint_id, subscription_id, replay_id, event_type, hold)
	), made AS (
		INSERT INTO deliveries (id, project_id, event_id, endpoint_id, subscription_id, replay_id, event_type, turn, status, facts, held_for, queued_at)
		SELECT x.id, x.project_id, x.event_id, x.endpoint_id, x.subscription_id, x.replay_id, x.event_type, 1,
			CASE WHEN x.hold IS NULL THEN 'queued' ELSE 'held' END,
			CASE WHEN x.hold IS NULL THEN 0 ELSE 1 END,
			x.hold,
			CASE WHEN x.hold IS NULL THEN now() END
		FROM x WHERE ((x.event_id, x.replay_id) IN (SELECT event_id, replay_id FROM won)) IS TRUE
		RETURNING id, endpoint_id, project_id, held_for
	)`

// With held ones: their facts, and their endpoints to be looked at. The fact's
// id follows from the delivery's, so that it is minted once.
const insertFanOutHeld = insertFanOut + `, noted AS (
		INSERT INTO facts (delivery_id, id, turn, kind, at, decided, reason, counted, number)
		SELECT id, id, 1, 'held', now(), 'held', held_for, true, 1 FROM made WHERE held_for IS NOT NULL
	), looked AS (
		INSERT INTO held_endpoints AS h (endpoint_id, project_id, look_at)
		SELECT DISTINCT endpoint_id, project_id, now() FROM made WHERE held_for IS NOT NULL ORDER BY endpoint_id
		ON CONFLICT (endpoint_id) DO UPDATE SET look_at = least(h.look_at, excluded.look_at)
	)`

func (s *Store) insertFanOuts(ctx context.Context, rows fanOutRows) (won map[fanOutKey]bool, err error) {
	statement := insertFanOut
	if rows.holds {
		statement = insertFanOutHeld
	}
	m, d := rows.matches, rows.deliveries
	inserted, err := s.writes.query(ctx, statement+` SELECT event_id, replay_id FROM won`,
		column(m, oidUUID, func(b []byte, f millrace.FanOut) []byte { return putID(b, f.Event.ID) }),
		column(m, oidUUID, func(b []byte, f millrace.FanOut) []byte { return putID(b, f.Event.ReplayID) }),
		column(m, oidInt4, func(b []byte, f millrace.FanOut) []byte { return putInt4(b, len(f.Targets)) }),
		column(m, oidInt8, func(b []byte, f millrace.FanOut) []byte { return putInt8(b, f.ConfigVersion) }),
		column(d, oidUUID, func(b []byte, d newDelivery) []byte { return putID(b, d.ID) }),
		column(d, oidUUID, func(b []byte, d newDelivery) []byte { return putID(b, d.ProjectID) }),
		column(d, oidUUID, func(b []byte, d newDelivery) []byte { return putID(b, d.EventID) }),
		column(d, oidUUID, func(b []byte, d newDelivery) []byte { return putID(b, d.EndpointID) }),
		column(d, oidUUID, func(b []byte, d newDelivery) []byte { return putSomeID(b, d.SubscriptionID) }),
		column(d, oidUUID, func(b []byte, d newDelivery) []byte { return putID(b, d.ReplayID) }),
		column(d, oidText, func(b []byte, d newDelivery) []byte { return putText(b, d.EventType) }),
		column(d, oidText, func(b []byte, d newDelivery) []byte { return putSomeText(b, string(d.hold)) }),
	)
	if err != nil {
		return nil, err
	}
	defer func() { _ = inserted.Close() }() // Err says what there is to say
	won = make(map[fanOutKey]bool, len(m))
	for inserted.Next() {
		var key fanOutKey
		if err := inserted.Scan(&key.event, &key.replay); err != nil {
			return nil, err
		}
		won[key] = true
	}
	return won, inserted.Err()
}

// bearer is the id whose time the deliveries of a fan-out bear.
func bearer(f millrace.FanOut) millrace.ID {
	if f.Event.ReplayID != (millrace.ID{}) {
		return f.Event.ReplayID
	}
	return f.Event.ID
}

// sameTime is the range of all ids of the millisecond of an id: where the
// deliveries of an event (or of a replay) are.
func sameTime(id millrace.ID) (first, past millrace.ID) {
	at := millrace.TimeOf(id)
	return millrace.FloorID(at), millrace.FloorID(at.Add(time.Millisecond))
}

// readUnclaimed sets the results of fan-outs that were made before: what of
// them is still queued in turn 1 and claimed by no one. The rows are those
// that were made, which need not be what is matched now.
func (s *Store) readUnclaimed(ctx context.Context, calls []*fanOutCall) error {
	byKey := make(map[fanOutKey]*fanOutCall, len(calls))
	for _, c := range calls {
		c.result = nil
		byKey[keyOfFanOut(c.row)] = c
	}
	rows := rowsOf(calls)
	found, err := s.writes.query(ctx, `
		SELECT d.id, d.event_id, d.endpoint_id, d.subscription_id, d.replay_id
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[]) AS x(event_id, replay_id, first, past)
		JOIN deliveries d ON d.id >= x.first AND d.id < x.past AND d.event_id = x.event_id AND d.replay_id = x.replay_id
		WHERE d.status || '' = 'queued' AND d.turn = 1 AND d.claimed_by IS NULL -- by their key, see claimTurns
		ORDER BY d.id`,
		column(rows, oidUUID, func(b []byte, f millrace.FanOut) []byte { return putID(b, f.Event.ID) }),
		column(rows, oidUUID, func(b []byte, f millrace.FanOut) []byte { return putID(b, f.Event.ReplayID) }),
		column(rows, oidUUID, func(b []byte, f millrace.FanOut) []byte { first, _ := sameTime(bearer(f)); return putID(b, first) }),
		column(rows, oidUUID, func(b []byte, f millrace.FanOut) []byte { _, past := sameTime(bearer(f)); return putID(b, past) }),
	)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }() // Err says what there is to say
	for found.Next() {
		var id, event, replay millrace.ID
		var t millrace.Target
		var subscription uuidOrNull
		if err := found.Scan(&id, &event, &t.EndpointID, &subscription, &replay); err != nil {
			return err
		}
		t.SubscriptionID = subscription.V
		c := byKey[fanOutKey{event: event, replay: replay}]
		c.result = append(c.result, deliveryOf(c.row.Event, t).Delivery)
	}
	return found.Err()
}
