package store

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// maskTTL is how long an answer about a mask id is believed: a source that was
// changed or deleted is so for every process within this time.
const maskTTL = time.Second

// cachedMasks bounds how many answers are remembered.
const cachedMasks = 10_000

// maskSize is the length of a mask id, of crypto/rand's text.
const maskSize = 26

// CreateSource adds a source to a project and gives it its mask id. A zero id
// is given one; the answer has the secrets in the clear.
func (s *Store) CreateSource(ctx context.Context, source millrace.Source) (millrace.Source, error) {
	if source.ID == (millrace.ID{}) {
		source.ID = millrace.NewID(time.Now())
	}
	source.MaskID = rand.Text()
	row, err := s.sourceToRow(source)
	if err != nil {
		return source, err
	}
	err = s.apply(ctx, &change{Project: source.ProjectID, Noun: "source", ID: source.ID, Verb: "created"}, func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &row, `
			INSERT INTO sources (id, project_id, name, type, mask_id, provider, settings, credentials, disabled) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			RETURNING `+sourceColumns,
			row.ID, row.ProjectID, row.Name, row.Type, row.MaskID, row.Provider, row.Settings, row.Credentials, row.Disabled)
		return mapError(err, "create source")
	})
	if err != nil {
		return source, err
	}
	return s.sourceOf(row)
}

// Source reads one source of a project, with its secrets.
func (s *Store) Source(ctx context.Context, project, id millrace.ID) (millrace.Source, error) {
	return s.source(ctx, s.reads, selectSources+` AND project_id = $1 AND id = $2`, project, id)
}

// Sources lists the sources of a project, with their secrets.
func (s *Store) Sources(ctx context.Context, q millrace.SourceQuery) (millrace.List[millrace.Source], error) {
	q.Page = bounded(q.Page)
	k := keysetOf(q.Page)
	found, err := s.sources(ctx, s.reads, selectSources+`
		AND project_id = $3 AND ($4 = '' OR type = $4) AND ($5 = '' OR provider = $5)
		AND ($6 = '' OR position(lower($6) IN lower(name)) > 0)`+k.order(),
		k.From, k.Limit, q.ProjectID, q.Type, q.Provider, q.Name)
	if err != nil {
		return millrace.List[millrace.Source]{}, err
	}
	return listOf(found, q.Page), nil
}

// UpdateSource changes a source. The function sees it as it is, secrets in the
// clear, and may run more than once. Its id, its mask id, its revision and its
// version are the store's to set.
func (s *Store) UpdateSource(ctx context.Context, project, id millrace.ID, alter func(*millrace.Source) error) (millrace.Source, error) {
	var changed millrace.Source
	err := s.apply(ctx, &change{Project: project, Noun: "source", ID: id, Verb: "updated"}, func(tx *sqlx.Tx) error {
		source, err := s.source(ctx, tx, selectSources+` AND project_id = $1 AND id = $2 FOR UPDATE`, project, id)
		if err != nil {
			return err
		}
		had, origin := source, source.PubSub.Origin()
		if err := alter(&source); err != nil {
			return err
		}
		source.ID, source.ProjectID, source.MaskID = had.ID, had.ProjectID, had.MaskID
		source.Revision, source.Version = had.Revision, had.Version+1
		if source.PubSub.Origin() != origin {
			source.Revision++
		}
		changed, err = s.writeSource(ctx, tx, source)
		return err
	})
	s.masks.forget()
	return changed, err
}

func (s *Store) writeSource(ctx context.Context, tx *sqlx.Tx, source millrace.Source) (millrace.Source, error) {
	row, err := s.sourceToRow(source)
	if err != nil {
		return source, err
	}
	err = tx.GetContext(ctx, &row, `
		UPDATE sources SET name = $2, type = $3, provider = $4, settings = $5, credentials = $6, disabled = $7, revision = $8, version = $9, updated_at = now()
		WHERE id = $1 RETURNING `+sourceColumns,
		row.ID, row.Name, row.Type, row.Provider, row.Settings, row.Credentials, row.Disabled, row.Revision, row.Version)
	if err != nil {
		return source, mapError(err, "update source")
	}
	return s.sourceOf(row)
}

// DeleteSource ends a source with its secrets and, as Convoy does, with the
// subscriptions that name it: they could match nothing any more. Events stay.
func (s *Store) DeleteSource(ctx context.Context, project, id millrace.ID) error {
	err := s.apply(ctx, &change{Project: project, Noun: "source", ID: id, Verb: "deleted"}, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `
			UPDATE sources SET deleted_at = now(), credentials = NULL WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL`, project, id)
		if err := oneRow(done, err, millrace.NotFound("source"), "delete source"); err != nil {
			return err
		}
		for _, statement := range []string{
			`UPDATE subscriptions SET deleted_at = now() WHERE source_id = $1 AND deleted_at IS NULL`,
			`DELETE FROM source_states WHERE source_id = $1`,
		} {
			if _, err := tx.ExecContext(ctx, statement, id); err != nil {
				return mapError(err, "delete what belongs to the source")
			}
		}
		return nil
	})
	s.masks.forget()
	return err
}

// What is deleted is told in a way that does not lure the planner to the
// indexes of live sources: see docs/adr/0010.
const selectSourceByMask = `SELECT ` + sourceColumns + ` FROM sources WHERE mask_id = $1 AND coalesce(deleted_at, 'infinity') = 'infinity'`

// SourceByMask finds a source by its mask id, a disabled one too. Answers, that
// there is none too, are believed for a second, and must not be altered: they
// are shared.
func (s *Store) SourceByMask(ctx context.Context, mask string) (millrace.Source, error) {
	if len(mask) != maskSize {
		return millrace.Source{}, millrace.NotFound("source")
	}
	return s.masks.find(ctx, mask, func(ctx context.Context) (millrace.Source, error) {
		return s.source(ctx, s.reads, selectSourceByMask, mask)
	})
}

// readByAgents are the sources that agents are to read.
const readByAgents = ` type = 'pub_sub' AND NOT disabled AND deleted_at IS NULL`

const selectSourceVersions = `SELECT id, version FROM sources WHERE` + readByAgents

// SourceVersions are the versions of all sources that agents are to read: those
// of brokers that are neither disabled nor deleted, of all projects. It is
// answered from an index and may be asked once a second.
func (s *Store) SourceVersions(ctx context.Context) (map[millrace.ID]int64, error) {
	var rows []struct {
		ID      millrace.ID `db:"id"`
		Version int64       `db:"version"`
	}
	if err := s.reads.SelectContext(ctx, &rows, selectSourceVersions); err != nil {
		return nil, mapError(err, "read the versions of sources")
	}
	versions := make(map[millrace.ID]int64, len(rows))
	for _, row := range rows {
		versions[row.ID] = row.Version
	}
	return versions, nil
}

// BrokerSources are the sources whose versions SourceVersions tells, with their
// secrets. Those that cannot be read, as a key is missing from the ring, are
// left out and named in the error: the others are answered all the same.
func (s *Store) BrokerSources(ctx context.Context) ([]millrace.Source, error) {
	return s.sources(ctx, s.reads, `SELECT `+sourceColumns+` FROM sources WHERE`+readByAgents+` ORDER BY id`)
}
