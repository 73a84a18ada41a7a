package store

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

// CreateEndpoint adds an endpoint to a project. A zero id is given one, what
// is empty gets its default, and where no secret is given one is generated;
// the answer has the secrets in the clear.
func (s *Store) CreateEndpoint(ctx context.Context, e millrace.Endpoint) (millrace.Endpoint, error) {
	if e.ID == (millrace.ID{}) {
		e.ID = millrace.NewID(time.Now())
	}
	e = e.WithDefaults()
	e.Secrets = slices.Clone(e.Secrets)
	if len(e.Secrets) == 0 {
		e.Secrets = []millrace.Secret{{Value: millrace.NewSecret()}}
	}
	withSigningKey(&e)
	if err := e.Validate(); err != nil {
		return e, err
	}
	row, err := s.endpointToRow(e)
	if err != nil {
		return e, err
	}
	made := e
	err = s.apply(ctx, &change{Project: e.ProjectID, Noun: "endpoint", ID: e.ID, Verb: "created"}, func(tx *sqlx.Tx) error {
		made = e
		made.Secrets = slices.Clone(e.Secrets)
		if err := insertEndpoint(ctx, tx, row, &made); err != nil {
			return err
		}
		if err := s.writeSecrets(ctx, tx, nil, &made); err != nil {
			return err
		}
		return s.writeSigningKey(ctx, tx, "", &made)
	})
	return made, err
}

func insertEndpoint(ctx context.Context, tx *sqlx.Tx, row endpointRow, e *millrace.Endpoint) error {
	err := tx.GetContext(ctx, &row.CreatedAt, `
		INSERT INTO endpoints (id, project_id, name, url, owner_id, status, settings, credentials) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		RETURNING created_at`, row.ID, row.ProjectID, row.Name, row.URL, row.OwnerID, row.Status, row.Settings, row.Credentials)
	e.CreatedAt, e.UpdatedAt = row.CreatedAt.UTC(), row.CreatedAt.UTC()
	return mapError(err, "create endpoint")
}

// Endpoint reads one endpoint of a project, with its secrets.
func (s *Store) Endpoint(ctx context.Context, project, id millrace.ID) (e millrace.Endpoint, err error) {
	err = s.view(ctx, func(tx *sqlx.Tx) error {
		e, err = s.endpoint(ctx, tx, selectEndpoints+` AND project_id = $1 AND id = $2`, project, id)
		return err
	})
	return e, err
}

// Endpoints lists the endpoints of a project, with their secrets.
func (s *Store) Endpoints(ctx context.Context, q millrace.EndpointQuery) (millrace.List[millrace.Endpoint], error) {
	q.Page = bounded(q.Page)
	k := keysetOf(q.Page)
	query := selectEndpoints + `
		AND project_id = $3 AND ($4 = '' OR owner_id = $4)
		AND ($5 = '' OR position(lower($5) IN lower(name)) > 0 OR position(lower($5) IN lower(url)) > 0)
		AND ($6::uuid[] IS NULL OR id = ANY($6))` + k.order()
	var found []millrace.Endpoint
	err := s.read(ctx, func(from reader) error {
		return viewOf(ctx, from, func(tx *sqlx.Tx) (err error) {
			found, err = s.endpoints(ctx, tx, query, k.From, k.Limit, q.ProjectID, q.OwnerID, q.Text, someOf(q.IDs))
			return err
		})
	})
	return listOf(found, q.Page), err
}

// UpdateEndpoint changes an endpoint. The function sees it as it is and may
// run more than once. Secrets without an id are added, those left out are
// deleted.
func (s *Store) UpdateEndpoint(ctx context.Context, project, id millrace.ID, alter func(*millrace.Endpoint) error) (millrace.Endpoint, error) {
	return s.alterEndpoint(ctx, &change{Project: project, Noun: "endpoint", ID: id, Verb: "updated"}, alter)
}

// DisableEndpoint stops an endpoint from taking deliveries: they are held. One
// that is disabled already stays so.
func (s *Store) DisableEndpoint(ctx context.Context, project, id millrace.ID, why string) error {
	c := &change{Project: project, Noun: "endpoint", ID: id, Verb: "disabled", Detail: why}
	return s.apply(ctx, c, func(tx *sqlx.Tx) error {
		var status millrace.EndpointStatus
		err := tx.GetContext(ctx, &status, `SELECT status FROM endpoints WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL`, project, id)
		if err != nil {
			return orMissing(err, millrace.NotFound("endpoint"), "read endpoint")
		}
		if status == millrace.EndpointInactive {
			return errUnchanged
		}
		_, err = tx.ExecContext(ctx, `UPDATE endpoints SET status = 'inactive', updated_at = now() WHERE id = $1`, id)
		if err != nil {
			return mapError(err, "disable endpoint")
		}
		return lookNow(ctx, tx, id)
	})
}

// DeleteEndpoint ends an endpoint with its secrets and its subscriptions, and
// cancels its open deliveries. Events and facts stay.
func (s *Store) DeleteEndpoint(ctx context.Context, project, id millrace.ID) error {
	return s.apply(ctx, &change{Project: project, Noun: "endpoint", ID: id, Verb: "deleted"}, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `
			UPDATE endpoints SET deleted_at = now(), credentials = NULL WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL`, project, id)
		if err := oneRow(done, err, millrace.NotFound("endpoint"), "delete endpoint"); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM endpoint_secrets WHERE endpoint_id = $1`, id); err != nil {
			return mapError(err, "delete the endpoint's secrets")
		}
		if _, err := tx.ExecContext(ctx, `UPDATE subscriptions SET deleted_at = now() WHERE endpoint_id = $1 AND deleted_at IS NULL`, id); err != nil {
			return mapError(err, "delete the endpoint's subscriptions")
		}
		_, err = cancelOpen(ctx, tx, openOf{EndpointID: id}, "the endpoint was deleted")
		return err
	})
}

func (s *Store) alterEndpoint(ctx context.Context, c *change, alter func(*millrace.Endpoint) error) (millrace.Endpoint, error) {
	var e millrace.Endpoint
	err := s.apply(ctx, c, func(tx *sqlx.Tx) error {
		had, err := s.endpoint(ctx, tx, selectEndpoints+` AND project_id = $1 AND id = $2 FOR UPDATE`, c.Project, c.ID)
		if err != nil {
			return err
		}
		e = had
		e.Secrets = slices.Clone(had.Secrets)
		if err := alter(&e); err != nil {
			return err
		}
		e = e.WithDefaults()
		e.ID, e.ProjectID, e.CreatedAt = had.ID, had.ProjectID, had.CreatedAt
		withSigningKey(&e)
		if len(e.Secrets) == 0 {
			return millrace.Invalid("secret", "must be there: deliveries are always signed")
		}
		if err := e.Validate(); err != nil {
			return err
		}
		if e.Status != had.Status {
			c.Detail = string(had.Status) + " to " + string(e.Status)
		}
		return s.writeEndpoint(ctx, tx, had, &e)
	})
	return e, err
}

// writeEndpoint brings an endpoint's rows from what it had to what it is.
func (s *Store) writeEndpoint(ctx context.Context, tx *sqlx.Tx, had millrace.Endpoint, e *millrace.Endpoint) error {
	row, err := s.endpointToRow(*e)
	if err != nil {
		return err
	}
	err = tx.GetContext(ctx, &e.UpdatedAt, `
		UPDATE endpoints SET name = $2, url = $3, owner_id = $4, status = $5, settings = $6, credentials = $7, updated_at = now() WHERE id = $1
		RETURNING updated_at`, row.ID, row.Name, row.URL, row.OwnerID, row.Status, row.Settings, row.Credentials)
	if err != nil {
		return mapError(err, "update endpoint")
	}
	e.UpdatedAt = e.UpdatedAt.UTC()
	if err := s.writeSecrets(ctx, tx, had.Secrets, e); err != nil {
		return err
	}
	if err := s.writeSigningKey(ctx, tx, had.SigningKey, e); err != nil {
		return err
	}
	if e.Status == had.Status {
		return nil
	}
	return lookNow(ctx, tx, e.ID)
}

// withSigningKey makes a key where deliveries shall be signed with one.
func withSigningKey(e *millrace.Endpoint) {
	if e.Asymmetric() && e.SigningKey == "" {
		e.SigningKey = millrace.NewSigningKey()
	}
}

// someOf is a list of ids as a parameter; NULL where it is empty, for "all".
func someOf(ids []millrace.ID) any {
	if len(ids) == 0 {
		return nil
	}
	return pq.Array(ids)
}
