package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// factRecordRow is a row of facts.
type factRecordRow struct {
	DeliveryID      millrace.ID             `db:"delivery_id"`
	ID              millrace.ID             `db:"id"`
	Turn            int                     `db:"turn"`
	Kind            millrace.FactKind       `db:"kind"`
	At              time.Time               `db:"at"`
	Decided         millrace.Status         `db:"decided"`
	NextAttemptAt   sql.Null[time.Time]     `db:"next_attempt_at"`
	Reason          sql.Null[string]        `db:"reason"`
	Counted         bool                    `db:"counted"`
	Number          sql.Null[int]           `db:"number"`
	Outcome         sql.Null[string]        `db:"outcome"`
	StatusCode      sql.Null[int]           `db:"status_code"`
	Error           sql.Null[string]        `db:"error"`
	URL             sql.Null[string]        `db:"url"`
	Method          sql.Null[string]        `db:"method"`
	IP              sql.Null[string]        `db:"ip"`
	RequestHeaders  sql.Null[[]byte]        `db:"request_headers"`
	ResponseHeaders sql.Null[[]byte]        `db:"response_headers"`
	Body            []byte                  `db:"body"`
	StartedAt       sql.Null[time.Time]     `db:"started_at"`
	Latency         sql.Null[time.Duration] `db:"latency"`
	RetryAfter      sql.Null[time.Duration] `db:"retry_after"`
	StoredAt        time.Time               `db:"stored_at"`
}

const factRecordColumns = `f.delivery_id, f.id, f.turn, f.kind, f.at, f.decided, f.next_attempt_at, f.reason, f.counted, f.number,
	f.outcome, f.status_code, f.error, f.url, f.method, f.ip, f.request_headers, f.response_headers, f.body,
	f.started_at, f.latency, f.retry_after, f.stored_at`

func (r factRecordRow) fact() (millrace.Fact, error) {
	f := millrace.Fact{
		ID: r.ID, DeliveryID: r.DeliveryID, Turn: r.Turn, Kind: r.Kind, At: r.At.UTC(), Decided: r.Decided,
		NextAttemptAt: utc(r.NextAttemptAt), Reason: r.Reason.V, Counted: r.Counted, Number: r.Number.V,
	}
	if r.Kind != millrace.FactAttempted {
		return f, nil
	}
	f.Attempt = &millrace.Attempt{
		Outcome: millrace.Outcome(r.Outcome.V), StatusCode: r.StatusCode.V, Error: r.Error.V, URL: r.URL.V, Method: r.Method.V, IP: r.IP.V,
		Body: r.Body, StartedAt: utc(r.StartedAt), Latency: r.Latency.V, RetryAfter: r.RetryAfter.V,
	}
	for _, h := range []struct {
		from []byte
		to   *http.Header
	}{{r.RequestHeaders.V, &f.Attempt.RequestHeader}, {r.ResponseHeaders.V, &f.Attempt.ResponseHeader}} {
		if len(h.from) == 0 {
			continue
		}
		if err := json.Unmarshal(h.from, h.to); err != nil {
			return f, fmt.Errorf("read the headers of fact %s: %w", r.ID, err)
		}
	}
	return f, nil
}

// factsOf lists the facts of a delivery that a query finds, if the project has
// the delivery.
func (s *Store) factsOf(ctx context.Context, project, delivery millrace.ID, query string, args ...any) (facts []millrace.Fact, err error) {
	err = s.read(ctx, func(from reader) error {
		if _, err := readDelivery(ctx, from, project, delivery); err != nil {
			return err
		}
		facts, err = readFacts(ctx, from, query, args...)
		return err
	})
	return facts, err
}

func readFacts(ctx context.Context, from reader, query string, args ...any) ([]millrace.Fact, error) {
	var rows []factRecordRow
	if err := sqlx.SelectContext(ctx, from, &rows, query, args...); err != nil {
		return nil, mapError(err, "list facts")
	}
	facts := make([]millrace.Fact, len(rows))
	for i, r := range rows {
		var err error
		if facts[i], err = r.fact(); err != nil {
			return nil, err
		}
	}
	return facts, nil
}

// Facts lists all that happened to a delivery, in the order of the log.
func (s *Store) Facts(ctx context.Context, project, delivery millrace.ID) ([]millrace.Fact, error) {
	return s.factsOf(ctx, project, delivery,
		`SELECT `+factRecordColumns+` FROM facts f WHERE f.delivery_id = $1 ORDER BY f.stored_at, f.number, f.id`, delivery)
}

// Attempts lists the tries at a delivery, in the order of the log.
func (s *Store) Attempts(ctx context.Context, project, delivery millrace.ID) ([]millrace.Fact, error) {
	return s.factsOf(ctx, project, delivery, `
		SELECT `+factRecordColumns+` FROM facts f WHERE f.delivery_id = $1 AND f.kind = 'attempted'
		ORDER BY f.stored_at, f.number, f.id`, delivery)
}

// Attempt reads one try at a delivery.
func (s *Store) Attempt(ctx context.Context, project, delivery, attempt millrace.ID) (millrace.Fact, error) {
	facts, err := s.factsOf(ctx, project, delivery,
		`SELECT `+factRecordColumns+` FROM facts f WHERE f.delivery_id = $1 AND f.id = $2 AND f.kind = 'attempted'`, delivery, attempt)
	if err == nil && len(facts) == 0 {
		return millrace.Fact{}, millrace.NotFound("attempt")
	}
	if err != nil {
		return millrace.Fact{}, err
	}
	return facts[0], nil
}
