package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// Tx runs a function in one transaction.
func (s *Store) Tx(ctx context.Context, run func(tx *sqlx.Tx) error) error { return s.tx(ctx, run) }

// CancelEndpointIn cancels an endpoint's open deliveries in a transaction.
func (s *Store) CancelEndpointIn(ctx context.Context, tx *sqlx.Tx, endpoint millrace.ID, why string) (int, error) {
	return cancelOpen(ctx, tx, openOf{EndpointID: endpoint}, why)
}

// CancelBatch is how many deliveries one statement ends.
const CancelBatch = cancelBatch

// DropUnder drops a table's partition of a day that had nothing open at the
// moment it was looked at.
func (s *Store) DropUnder(ctx context.Context, table string, day, looked time.Time) (bool, error) {
	for _, t := range partitionedTables() {
		if t.table == table {
			_, dropped, err := s.erase(ctx, partition{t, day.UTC().Truncate(24 * time.Hour)}.drop(looked))
			return dropped, err
		}
	}
	return false, fmt.Errorf("no table %s", table)
}

// Appending is the pool of the appends' connections.
func (s *Store) Appending() *sqlx.DB { return s.writes.DB }

// ClaimPlan is the statement of a flush of two claims, with its arguments.
func (s *Store) ClaimPlan(a, b millrace.ID) (string, []any) {
	return claimTurns, []any{ids([]millrace.ID{a, b}), `{1,1}`, `{x,y}`, a, b}
}

// SettlePlan is the statement of a flush of two facts, with its arguments.
func (s *Store) SettlePlan(a, b millrace.ID) (string, []any) {
	args, err := factArguments([]millrace.Fact{{ID: a, DeliveryID: a, Decided: millrace.Held}, {ID: b, DeliveryID: b}})
	if err != nil {
		panic(err)
	}
	return settleTurnsHeld + ` SELECT delivery_id FROM counted`, append(args, a, b)
}

// BackPlan is the statement of a flush of two deliveries handed back, with its
// arguments.
func (s *Store) BackPlan(a, b millrace.ID) (string, []any) {
	return handBack, []any{ids([]millrace.ID{a, b}), `{1,1}`, `{held,waiting}`, ids([]millrace.ID{a, b}), a, b, 100, 60}
}

// LookNow makes an endpoint that holds deliveries due to be looked at.
func (s *Store) LookNow(ctx context.Context, endpoint millrace.ID) error {
	return lookNow(ctx, s.reads, endpoint)
}

// Claiming is the pool of the claims' connections.
func (s *Store) Claiming() *sqlx.DB { return s.claims.DB }

// Reading is the pool of the reads' connections.
func (s *Store) Reading() *sqlx.DB { return s.reads }

// SetMaskClock makes the answers about mask ids age by a clock of the test's.
func (s *Store) SetMaskClock(now func() time.Time) { s.masks.now = now }

// Poll is a statement that is run again and again, whatever there is to do.
type Poll struct {
	Name, SQL string
	Args      []any
	// Rows is how many rows it may look at where there are as many queued,
	// waiting and held as Polls was told.
	Rows int
}

// SourcePolls are those of sources: so many that agents read, one of them by
// its mask.
func SourcePolls(mask string, read int) []Poll {
	return []Poll{
		{"versions of sources", selectSourceVersions, nil, 2 * read}, // by a bitmap each counts twice
		{"a source by its mask", selectSourceByMask, []any{mask}, 1},
	}
}

// Polls are those of a gateway with so many deliveries queued, waiting and
// held in all, with so few of each of an endpoint's, and with as few events
// since the last sweep.
func Polls(endpoint millrace.ID, since time.Time, open, few int) []Poll {
	const limit = 100
	now := time.Now()
	past := millrace.FloorID(now.Add(48 * time.Hour))
	yesterday, today := dayOf(now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -1))
	polls := []Poll{
		{"due", listDue, []any{limit}, limit},
		{"lost", listLost, []any{now, now.Add(-longestTurn), limit}, open},
		{"held to look at", listToLookAt, []any{limit}, limit},
		{"held of an endpoint", listHeld, []any{endpoint, few / 2}, few},
		{"queued of an endpoint", countQueued, []any{endpoint, few}, few},
		{"whether an endpoint holds", endpointHolds, []any{endpoint}, few},
		{"held ones without a row", findHeld, nil, open},
		{"the end of a page", pageEnd, []any{since, now, past, sweepPage}, 2 * few},          // by a bitmap each counts twice
		{"unmatched", listUnmatched, []any{since, now, past, millrace.ID{}, limit}, 4 * few}, // and its match and its dead letter once
	}
	for _, condition := range expiring() {
		polls = append(polls, Poll{"expiring: " + condition, pickOpen(condition), []any{today, limit}, open})
	}
	for _, query := range openOfDay() {
		polls = append(polls, Poll{"open of a day: " + query, query, []any{yesterday, today}, open})
	}
	return polls
}

// Session is the connection that has the lock.
func (l *Leadership) Session() *sqlx.Conn { return l.conn }

// KeyPlans are the statements of a flush of events with two keys each: taking
// them, reading what they stand for, and forgetting coordinates.
func (s *Store) KeyPlans(events []millrace.Event) []Poll {
	rows := make([]eventRow, len(events))
	projects, first, second := make([]millrace.ID, len(events)), make([]string, len(events)), make([]string, len(events))
	for i, e := range events {
		keys, err := keysOf(e)
		if err != nil {
			panic(err)
		}
		rows[i] = eventRow{Event: e, keys: keys}
		projects[i], first[i], second[i] = e.ProjectID, keys.broker.text, keys.client.text
	}
	return []Poll{
		{"take", insertKeyed, s.keyedParameters(rows), 20 * len(rows)}, // rows and keys are looked at again and again, from memory
		{"read", readKnown, []any{ids(projects), texts(second), texts(first)}, 10 * len(rows)},
		{"forget", forgetKeys, []any{ids(projects), texts(first), ids(projects)}, 5 * len(rows)},
	}
}

// ForgetCoordinates frees the coordinates of an event that stand for first.
func (s *Store) ForgetCoordinates(ctx context.Context, e millrace.Event, first millrace.ID) error {
	keys, err := keysOf(e)
	if err != nil {
		return err
	}
	return s.forgetCoordinates(ctx, []*eventCall{{row: eventRow{Event: e, keys: keys}}}, []millrace.ID{first})
}

// TurnReplicas turns all read replicas to a state, as if they had been found
// in it.
func (s *Store) TurnReplicas(to ReplicaState) {
	for _, r := range s.replicas.all {
		r.turn(to)
	}
}

// Read runs a query for one text where the API's reads go. It is asked anew
// for each try.
func (s *Store) Read(ctx context.Context, query func() string) (text string, err error) {
	err = s.read(ctx, func(from reader) error {
		return mapError(sqlx.GetContext(ctx, from, &text, query()), "read")
	})
	return text, err
}

// Line is how far the primary's log goes.
func (s *Store) Line(ctx context.Context) (int64, error) {
	line, err := s.replicas.line.draw(ctx)
	return int64(line), err
}
