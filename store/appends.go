package store

import (
	"bytes"
	"cmp"

	"github.com/millrace-dev/millrace"
)

// appends are the batchers, one for each kind of append on the hot path.
type appends struct {
	events  *batcher[millrace.ID, eventRow, millrace.StoredEvent]
	keyed   *batcher[keyOf, eventRow, millrace.StoredEvent]
	fanOuts *batcher[fanOutKey, millrace.FanOut, []millrace.Delivery]
	claims  *batcher[millrace.ID, claim, bool]
	facts   *batcher[millrace.ID, millrace.Fact, bool]
	backs   *batcher[millrace.ID, back, backed]
}

const (
	// maxPayload bounds the bytes that one flush sends or reads.
	maxPayload = 8 << 20
	// maxTargets bounds the deliveries that one flush makes.
	maxTargets = 4096
	// maxBacks bounds the deliveries that are handed back at once, with all
	// their payloads in the answer.
	maxBacks = 128
)

// writers is how many connections the appends have in all, but for the claims,
// which have their own.
func (c Config) writers() int { return 5 * c.Writers }

func (s *Store) newAppends() appends {
	usual := limits{rows: s.config.FlushRows, weight: maxPayload, writers: s.config.Writers, interval: s.config.FlushInterval}
	few := usual
	few.rows = min(maxBacks, usual.rows)
	targets := usual
	targets.weight = maxTargets
	return appends{
		events:  newBatcher(s.eventAppends(), usual),
		keyed:   newBatcher(s.keyedAppends(), usual),
		fanOuts: newBatcher(s.fanOutAppends(), targets),
		claims:  newBatcher(s.claimAppends(), usual),
		facts:   newBatcher(s.factAppends(), usual),
		backs:   newBatcher(s.backAppends(), few),
	}
}

func (a appends) close() {
	a.events.close()
	a.keyed.close()
	a.fanOuts.close()
	a.claims.close()
	a.facts.close()
	a.backs.close()
}

// Stats is what the appends and the replicas have done since the start.
type Stats struct {
	Batches  []BatchStats
	Replicas []ReplicaStats
	// PrimaryReads is how many reads of the API the primary served although
	// there are replicas.
	PrimaryReads int64
}

// Stats counts what was done since the start, from memory.
func (s *Store) Stats() Stats {
	a := s.appends
	return Stats{
		Batches: []BatchStats{
			a.events.snapshot(), a.keyed.snapshot(), a.fanOuts.snapshot(), a.claims.snapshot(), a.facts.snapshot(), a.backs.snapshot(),
		},
		Replicas: s.replicas.stats(), PrimaryReads: s.replicas.primary.Load(),
	}
}

func compareIDs(a, b millrace.ID) int { return bytes.Compare(a[:], b[:]) }

// one is the weight of rows that are all alike.
func one[T any](T) int { return 1 }

// rowsOf are the rows of calls, for building columns.
func rowsOf[T, R any](calls []*call[T, R]) []T {
	rows := make([]T, len(calls))
	for i, c := range calls {
		rows[i] = c.row
	}
	return rows
}

// search finds the call of an id among calls sorted by it.
func search[T, R any](calls []*call[T, R], id millrace.ID, idOf func(T) millrace.ID) *call[T, R] {
	low, high := 0, len(calls)
	for low < high {
		middle := int(uint(low+high) >> 1)
		switch cmp.Compare(compareIDs(idOf(calls[middle].row), id), 0) {
		case 0:
			return calls[middle]
		case -1:
			low = middle + 1
		default:
			high = middle
		}
	}
	return nil
}
