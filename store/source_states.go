package store

import (
	"context"
	"time"

	"github.com/millrace-dev/millrace"
)

// stateTTL is how long an agent's report is believed: one that says nothing
// for longer is gone.
const stateTTL = 30 * time.Second

const reportSources = `
	WITH x AS (
		SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[]) AS x(source_id, health, error, lag)
	), ended AS (
		DELETE FROM source_states WHERE agent = $1 AND NOT source_id = ANY ($2::uuid[])
	), gone AS (
		DELETE FROM source_states WHERE (source_id, agent) IN (
			SELECT source_id, agent FROM source_states
			WHERE source_id = ANY ($2::uuid[]) AND agent <> $1 AND at < now() - $6::bigint * interval '1 microsecond' FOR UPDATE SKIP LOCKED)
	)
	INSERT INTO source_states (source_id, agent, health, error, lag, at)
	SELECT source_id, $1, health, error, lag, now() FROM x ON CONFLICT (source_id, agent)
	DO UPDATE SET health = excluded.health, error = excluded.error, lag = excluded.lag, at = excluded.at`

// ReportSources writes how an agent sees all the sources that it reads, in one
// statement; of those that it reads no longer its reports are removed, and of
// the others those of agents that are gone. The time is PostgreSQL's.
func (s *Store) ReportSources(ctx context.Context, agent string, states []millrace.SourceState) error {
	_, err := s.reads.ExecContext(ctx, reportSources, agent,
		column(states, oidUUID, func(b []byte, x millrace.SourceState) []byte { return putID(b, x.SourceID) }),
		column(states, oidText, func(b []byte, x millrace.SourceState) []byte { return putText(b, string(x.Health)) }),
		column(states, oidText, func(b []byte, x millrace.SourceState) []byte { return putText(b, x.Error) }),
		column(states, oidInt8, func(b []byte, x millrace.SourceState) []byte { return putInt8(b, x.Lag) }),
		stateTTL.Microseconds())
	return mapError(err, "report sources")
}

const selectSourceStates = `
	SELECT source_id, health, error, lag, at FROM source_states
	WHERE source_id = ANY ($1::uuid[]) AND at > now() - $2::bigint * interval '1 microsecond'`

// SourceStates tells how sources stand, as all agents that read them see it: a
// source is as its worst report says, and connecting where there is none. Its
// lag is the largest that is known.
func (s *Store) SourceStates(ctx context.Context, sources []millrace.ID) (map[millrace.ID]millrace.SourceState, error) {
	var rows []struct {
		SourceID millrace.ID           `db:"source_id"`
		Health   millrace.SourceHealth `db:"health"`
		Error    string                `db:"error"`
		Lag      int64                 `db:"lag"`
		At       time.Time             `db:"at"`
	}
	if err := s.reads.SelectContext(ctx, &rows, selectSourceStates, ids(sources), stateTTL.Microseconds()); err != nil {
		return nil, mapError(err, "read the states of sources")
	}
	states := make(map[millrace.ID]millrace.SourceState, len(sources))
	for _, row := range rows {
		reported := millrace.SourceState{SourceID: row.SourceID, Health: row.Health, Error: row.Error, Lag: row.Lag, At: row.At.UTC()}
		if had, known := states[row.SourceID]; known {
			reported = worse(had, reported)
		}
		states[row.SourceID] = reported
	}
	for _, id := range sources {
		if _, known := states[id]; !known {
			states[id] = millrace.SourceState{SourceID: id, Health: millrace.SourceConnecting, Lag: -1}
		}
	}
	return states, nil
}

// worse merges two reports of a source: the worse one, the newer of two that
// say the same, with the larger lag.
func worse(a, b millrace.SourceState) millrace.SourceState {
	lag := max(a.Lag, b.Lag)
	if rank := badness(b.Health) - badness(a.Health); rank > 0 || rank == 0 && b.At.After(a.At) {
		a = b
	}
	a.Lag = lag
	return a
}

func badness(h millrace.SourceHealth) int {
	switch h {
	case millrace.SourceUnhealthy:
		return 2
	case millrace.SourceConnecting:
		return 1
	}
	return 0
}
