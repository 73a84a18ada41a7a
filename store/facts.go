package store

import (
	"context"
	"strings"

	"github.com/millrace-dev/millrace"
)

// Settle ends a turn with a fact: it appends the fact and what follows from it
// in the delivery's projection, and tells whether the fact counted. It counts
// if its turn is the current one and still queued, or if it is a late 2xx
// (millrace.Fact.Late). A fact that does not count is kept and changes
// nothing. Settling can be repeated: the second time changes nothing and
// answers as the first did.
func (s *Store) Settle(ctx context.Context, f millrace.Fact) (counted bool, err error) {
	if err := f.Validate(); err != nil {
		return false, millrace.Permanent(err)
	}
	return s.appends.facts.do(ctx, f)
}

type factCall = call[millrace.Fact, bool]

func deliveryOfFact(f millrace.Fact) millrace.ID { return f.DeliveryID }

func (s *Store) factAppends() appendKind[millrace.ID, millrace.Fact, bool] {
	return appendKind[millrace.ID, millrace.Fact, bool]{
		name:    "settle turns",
		key:     deliveryOfFact,
		compare: func(a, b millrace.Fact) int { return compareIDs(a.DeliveryID, b.DeliveryID) },
		weight:  factWeight,
		write:   s.writeFacts,
	}
}

func factWeight(f millrace.Fact) int {
	if f.Attempt == nil {
		return 256
	}
	return 1024 + len(f.Attempt.Body)
}

func (s *Store) writeFacts(ctx context.Context, calls []*factCall) error {
	counted, err := s.settle(ctx, rowsOf(calls))
	if err != nil {
		return err
	}
	var left []*factCall
	for _, c := range calls {
		c.result = counted[c.row.DeliveryID]
		if !c.result {
			left = append(left, c)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return s.writeUncounted(ctx, left)
}

// A fact in the columns of unnest, and in those of the table.
const (
	factInput = `unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::timestamptz[], $6::text[], $7::timestamptz[], $8::text[], $9::text[],
			$10::int[], $11::text[], $12::text[], $13::text[], $14::text[], $15::json[], $16::json[], $17::bytea[], $18::timestamptz[], $19::bigint[], $20::bigint[])
		AS x(delivery_id, id, turn, kind, at, decided, next_attempt_at, reason, outcome,
			status_code, error, url, method, ip, request_headers, response_headers, body, started_at, latency, retry_after)`
	factColumns = `delivery_id, id, turn, kind, at, decided, next_attempt_at, reason, outcome,
			status_code, error, url, method, ip, request_headers, response_headers, body, started_at, latency, retry_after`
)

// One step of millrace.Fold in SQL, for the facts that count: see
// millrace.State.After. That none counts twice follows from the condition: a
// turn leaves queued once, and a late 2xx finds its delivery delivered unless
// it was resent since.
const settleTurns = `
	WITH counted AS (
		UPDATE deliveries d SET
			status = x.decided,
			facts = d.facts + 1,
			attempts = CASE WHEN x.kind = 'attempted' THEN d.attempts + 1 ELSE d.attempts END,
			next_attempt_at = CASE WHEN x.decided = 'waiting' THEN x.next_attempt_at END,
			held_for = CASE WHEN x.decided = 'held' THEN x.reason END,
			last_outcome = CASE WHEN x.kind = 'attempted' THEN x.outcome ELSE d.last_outcome END,
			last_code = CASE WHEN x.kind = 'attempted' THEN x.status_code ELSE d.last_code END,
			last_latency = CASE WHEN x.kind = 'attempted' THEN x.latency ELSE d.last_latency END,
			updated_at = now()
		FROM ` + factInput + `
		WHERE d.id = x.delivery_id AND d.id BETWEEN $21 AND $22
			AND ((d.turn = x.turn AND d.status = 'queued')
				OR (x.kind = 'attempted' AND x.decided = 'delivered' AND x.turn >= d.resent_turn AND d.status <> 'delivered'))
		RETURNING x.*, d.facts AS number, d.endpoint_id, d.project_id
	), appended AS (
		INSERT INTO facts (` + factColumns + `, counted, number)
		SELECT ` + factColumns + `, true, number FROM counted
	)`

const settleTurnsHeld = settleTurns + `, looked AS (
		INSERT INTO held_endpoints AS h (endpoint_id, project_id, look_at)
		SELECT DISTINCT endpoint_id, project_id, now() FROM counted WHERE decided = 'held' ORDER BY endpoint_id
		ON CONFLICT (endpoint_id) DO UPDATE SET look_at = least(h.look_at, excluded.look_at)
	)`

// settle appends the facts that count and answers which deliveries' did. The
// facts are in the order of their deliveries.
func (s *Store) settle(ctx context.Context, facts []millrace.Fact) (map[millrace.ID]bool, error) {
	statement := settleTurns
	for _, f := range facts {
		if f.Decided == millrace.Held {
			statement = settleTurnsHeld
			break
		}
	}
	args, err := factArguments(facts)
	if err != nil {
		return nil, err
	}
	args = append(args, facts[0].DeliveryID, facts[len(facts)-1].DeliveryID)
	settled, err := s.writes.query(ctx, statement+` SELECT delivery_id FROM counted`, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = settled.Close() }() // Err says what there is to say
	counted := make(map[millrace.ID]bool, len(facts))
	for settled.Next() {
		var id millrace.ID
		if err := settled.Scan(&id); err != nil {
			return nil, err
		}
		counted[id] = true
	}
	return counted, settled.Err()
}

// writeUncounted keeps facts that did not count, and sets the results of those
// that were there before: they are repeated.
func (s *Store) writeUncounted(ctx context.Context, calls []*factCall) error {
	facts := rowsOf(calls)
	args, err := factArguments(facts)
	if err != nil {
		return err
	}
	if err := s.writes.exec(ctx, `
		INSERT INTO facts (`+factColumns+`, counted)
		SELECT `+factColumns+`, false FROM `+factInput+`
		ON CONFLICT (delivery_id, id) DO NOTHING`, args...); err != nil {
		return err
	}
	before, err := s.writes.query(ctx, `
		SELECT f.delivery_id FROM unnest($1::uuid[], $2::uuid[]) AS x(delivery_id, id)
		JOIN facts f ON f.delivery_id = x.delivery_id AND f.id = x.id
		WHERE f.counted AND f.delivery_id BETWEEN $3 AND $4`,
		args[0], args[1], facts[0].DeliveryID, facts[len(facts)-1].DeliveryID)
	if err != nil {
		return err
	}
	defer func() { _ = before.Close() }() // Err says what there is to say
	for before.Next() {
		var id millrace.ID
		if err := before.Scan(&id); err != nil {
			return err
		}
		search(calls, id, deliveryOfFact).result = true
	}
	return before.Err()
}

// factArguments are the parameters $1 to $20 of factInput.
func factArguments(facts []millrace.Fact) ([]any, error) {
	rows := make([]factRow, len(facts))
	for i, f := range facts {
		row, err := factRowOf(f)
		if err != nil {
			return nil, err
		}
		rows[i] = row
	}
	text := func(of func(factRow) string) []byte {
		return column(rows, oidText, func(b []byte, r factRow) []byte { return putSomeText(b, clean(of(r))) })
	}
	return []any{
		column(rows, oidUUID, func(b []byte, r factRow) []byte { return putID(b, r.DeliveryID) }),
		column(rows, oidUUID, func(b []byte, r factRow) []byte { return putID(b, r.ID) }),
		column(rows, oidInt4, func(b []byte, r factRow) []byte { return putInt4(b, r.Turn) }),
		text(func(r factRow) string { return string(r.Kind) }),
		column(rows, oidTimestamptz, func(b []byte, r factRow) []byte { return putTime(b, r.At) }),
		text(func(r factRow) string { return string(r.Decided) }),
		column(rows, oidTimestamptz, func(b []byte, r factRow) []byte { return putTime(b, r.NextAttemptAt) }),
		text(func(r factRow) string { return r.Reason }),
		text(func(r factRow) string { return string(r.attempt.Outcome) }),
		column(rows, oidInt4, func(b []byte, r factRow) []byte { return putSomeInt4(b, r.attempt.StatusCode) }),
		text(func(r factRow) string { return r.attempt.Error }),
		text(func(r factRow) string { return r.attempt.URL }),
		text(func(r factRow) string { return r.attempt.Method }),
		text(func(r factRow) string { return r.attempt.IP }),
		column(rows, oidJSON, func(b []byte, r factRow) []byte { return putBytes(b, r.requestHeader) }),
		column(rows, oidJSON, func(b []byte, r factRow) []byte { return putBytes(b, r.responseHeader) }),
		column(rows, oidBytea, func(b []byte, r factRow) []byte { return putBytes(b, r.attempt.Body) }),
		column(rows, oidTimestamptz, func(b []byte, r factRow) []byte { return putTime(b, r.attempt.StartedAt) }),
		column(rows, oidInt8, func(b []byte, r factRow) []byte { return putInt8(b, int64(r.attempt.Latency)) }),
		column(rows, oidInt8, func(b []byte, r factRow) []byte { return putInt8(b, int64(r.attempt.RetryAfter)) }),
	}, nil
}

// factRow is a fact on its way into the table.
type factRow struct {
	millrace.Fact
	attempt                       millrace.Attempt // zero where there is none
	requestHeader, responseHeader []byte           // JSON
}

func factRowOf(f millrace.Fact) (factRow, error) {
	row := factRow{Fact: f}
	if f.Attempt == nil {
		return row, nil
	}
	row.attempt = *f.Attempt
	var err error
	if row.requestHeader, err = headerJSON(f.Attempt.RequestHeader); err != nil {
		return row, err
	}
	row.responseHeader, err = headerJSON(f.Attempt.ResponseHeader)
	return row, err
}

// clean makes storable what strangers sent: PostgreSQL's text has no NUL and
// is UTF-8. A fact must never be refused for the words in it.
func clean(s string) string {
	if !strings.ContainsRune(s, 0) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
}
