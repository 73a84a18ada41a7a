package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

type projectRow struct {
	ID            millrace.ID `db:"id"`
	Name          string      `db:"name"`
	Type          string      `db:"type"`
	Config        string      `db:"config"`
	ConfigVersion int64       `db:"config_version"`
	CreatedAt     time.Time   `db:"created_at"`
	UpdatedAt     time.Time   `db:"updated_at"`
}

const selectProjects = `SELECT id, name, type, config, config_version, created_at, updated_at FROM projects WHERE deleted_at IS NULL`

// projectConfigJSON is what a project sets, as it lies in the database.
type projectConfigJSON struct {
	Strategy                      *strategyJSON              `json:"strategy,omitempty"`
	Signature                     millrace.SignatureConfig   `json:"signature"`
	Ack                           millrace.AckLevel          `json:"ack,omitempty"`
	DisableEndpoint               bool                       `json:"disable_endpoint"`
	MultipleEndpointSubscriptions bool                       `json:"multiple_endpoint_subscriptions"`
	Other                         map[string]json.RawMessage `json:"other,omitempty"`
}

// CreateProject adds a project. A zero id is given one; the type is outgoing
// and the settings are the defaults where none are given.
func (s *Store) CreateProject(ctx context.Context, p millrace.Project) (millrace.Project, error) {
	if p.ID == (millrace.ID{}) {
		p.ID = millrace.NewID(time.Now())
	}
	if p.Type == "" {
		p.Type = "outgoing"
	}
	if len(p.Config.Signature.Versions) == 0 && p.Config.Signature.Header == "" {
		p.Config.Signature = millrace.DefaultProjectConfig().Signature
	}
	row, err := projectToRow(p)
	if err != nil {
		return p, err
	}
	err = s.tx(ctx, func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &row, `
			INSERT INTO projects (id, name, type, config) VALUES ($1, $2, $3, $4)
			RETURNING id, name, type, config, config_version, created_at, updated_at`, row.ID, row.Name, row.Type, row.Config)
		if err != nil {
			return mapError(err, "create project")
		}
		return audit(ctx, tx, change{Project: p.ID, Noun: "project", ID: p.ID, Verb: "created"})
	})
	if err != nil {
		return p, err
	}
	if s.OnChange != nil {
		s.OnChange(p.ID)
	}
	return row.project()
}

// Project reads one project.
func (s *Store) Project(ctx context.Context, id millrace.ID) (millrace.Project, error) {
	return project(ctx, s.reads, id)
}

func project(ctx context.Context, q sqlx.QueryerContext, id millrace.ID) (millrace.Project, error) {
	var row projectRow
	if err := sqlx.GetContext(ctx, q, &row, selectProjects+` AND id = $1`, id); err != nil {
		return millrace.Project{}, orMissing(err, errNoProject(), "read project")
	}
	return row.project()
}

// Projects lists the projects of the instance.
func (s *Store) Projects(ctx context.Context, p millrace.Page) (millrace.List[millrace.Project], error) {
	var rows []projectRow
	p = bounded(p)
	k := keysetOf(p)
	if err := s.reads.SelectContext(ctx, &rows, selectProjects+k.order(), k.From, k.Limit); err != nil {
		return millrace.List[millrace.Project]{}, mapError(err, "list projects")
	}
	projects := make([]millrace.Project, len(rows))
	for i, row := range rows {
		var err error
		if projects[i], err = row.project(); err != nil {
			return millrace.List[millrace.Project]{}, err
		}
	}
	return listOf(projects, p), nil
}

// UpdateProject changes a project. The function sees it as it is and may run
// more than once.
func (s *Store) UpdateProject(ctx context.Context, id millrace.ID, alter func(*millrace.Project) error) (millrace.Project, error) {
	var p millrace.Project
	err := s.apply(ctx, &change{Project: id, Noun: "project", ID: id, Verb: "updated"}, func(tx *sqlx.Tx) error {
		var err error
		if p, err = project(ctx, tx, id); err != nil {
			return err
		}
		if err = alter(&p); err != nil {
			return err
		}
		p.ID = id
		row, err := projectToRow(p)
		if err != nil {
			return err
		}
		err = tx.GetContext(ctx, &row, `
			UPDATE projects SET name = $2, type = $3, config = $4, updated_at = now() WHERE id = $1
			RETURNING id, name, type, config, config_version, created_at, updated_at`, row.ID, row.Name, row.Type, row.Config)
		if err != nil {
			return mapError(err, "update project")
		}
		p, err = row.project()
		return err
	})
	return p, err
}

// DeleteProject ends a project with all that is configured in it, and cancels
// its open deliveries. Events and facts stay.
func (s *Store) DeleteProject(ctx context.Context, id millrace.ID) error {
	err := s.apply(ctx, &change{Project: id, Noun: "project", ID: id, Verb: "deleted"}, func(tx *sqlx.Tx) error {
		for _, statement := range []string{
			`UPDATE projects SET deleted_at = now() WHERE id = $1`,
			`UPDATE api_keys SET revoked_at = now() WHERE project_id = $1 AND revoked_at IS NULL`,
			`DELETE FROM endpoint_secrets WHERE endpoint_id IN (SELECT id FROM endpoints WHERE project_id = $1)`,
			`UPDATE endpoints SET deleted_at = now(), credentials = NULL WHERE project_id = $1 AND deleted_at IS NULL`,
			`UPDATE subscriptions SET deleted_at = now() WHERE project_id = $1 AND deleted_at IS NULL`,
			`DELETE FROM source_states WHERE source_id IN (SELECT id FROM sources WHERE project_id = $1)`,
			`UPDATE sources SET deleted_at = now(), credentials = NULL WHERE project_id = $1 AND deleted_at IS NULL`,
		} {
			if _, err := tx.ExecContext(ctx, statement, id); err != nil {
				return mapError(err, "delete project")
			}
		}
		_, err := cancelOpen(ctx, tx, openOf{ProjectID: id}, "the project was deleted")
		return err
	})
	if err == nil {
		s.keys.forget()
		s.masks.forget()
	}
	return err
}

// ConfigVersions reads the config versions of those projects that are there.
func (s *Store) ConfigVersions(ctx context.Context, projects []millrace.ID) (map[millrace.ID]int64, error) {
	var rows []struct {
		ID      millrace.ID `db:"id"`
		Version int64       `db:"config_version"`
	}
	err := s.reads.SelectContext(ctx, &rows, `SELECT id, config_version FROM projects WHERE id = ANY($1) AND deleted_at IS NULL`, pq.Array(projects))
	versions := make(map[millrace.ID]int64, len(rows))
	for _, row := range rows {
		versions[row.ID] = row.Version
	}
	return versions, mapError(err, "read config versions")
}

func projectToRow(p millrace.Project) (projectRow, error) {
	if err := p.Validate(); err != nil {
		return projectRow{}, err
	}
	config, err := json.Marshal(projectConfigJSON{
		Strategy: strategyToJSON(p.Config.Strategy), Signature: p.Config.Signature, Ack: p.Config.Ack,
		DisableEndpoint: p.Config.DisableEndpoint, MultipleEndpointSubscriptions: p.Config.MultipleEndpointSubscriptions, Other: p.Config.Other,
	})
	if err != nil {
		return projectRow{}, fmt.Errorf("encode the settings of project %s: %w", p.ID, err)
	}
	return projectRow{ID: p.ID, Name: p.Name, Type: p.Type, Config: string(config)}, nil
}

func (r projectRow) project() (millrace.Project, error) {
	var c projectConfigJSON
	if err := json.Unmarshal([]byte(r.Config), &c); err != nil {
		return millrace.Project{}, fmt.Errorf("decode the settings of project %s: %w", r.ID, err)
	}
	return millrace.Project{
		ID: r.ID, Name: r.Name, Type: r.Type, ConfigVersion: r.ConfigVersion, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
		Config: millrace.ProjectConfig{
			Strategy: c.Strategy.strategy(), Signature: c.Signature, Ack: c.Ack,
			DisableEndpoint: c.DisableEndpoint, MultipleEndpointSubscriptions: c.MultipleEndpointSubscriptions, Other: c.Other,
		},
	}, nil
}
