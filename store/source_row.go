package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

type sourceRow struct {
	ID          millrace.ID         `db:"id"`
	ProjectID   millrace.ID         `db:"project_id"`
	Name        string              `db:"name"`
	Type        millrace.SourceType `db:"type"`
	MaskID      string              `db:"mask_id"`
	Provider    millrace.Provider   `db:"provider"`
	Settings    string              `db:"settings"`
	Credentials []byte              `db:"credentials"`
	Disabled    bool                `db:"disabled"`
	Revision    int                 `db:"revision"`
	Version     int64               `db:"version"`
	CreatedAt   time.Time           `db:"created_at"`
	UpdatedAt   time.Time           `db:"updated_at"`
}

const sourceColumns = `id, project_id, name, type, mask_id, provider, settings, credentials, disabled, revision, version, created_at, updated_at`

const selectSources = `SELECT ` + sourceColumns + ` FROM sources WHERE deleted_at IS NULL`

// sourceJSON is what of a source is neither searched nor secret, as it lies in
// the database. Where a secret is it says so, and no more: see
// millrace.Sensitive.
type sourceJSON struct {
	Verifier          millrace.Verifier       `json:"verifier"`
	PubSub            *millrace.PubSub        `json:"pub_sub,omitempty"`
	EventTypeLocation millrace.Location       `json:"event_type_location,omitempty"`
	IdempotencyKeys   []millrace.Location     `json:"idempotency_keys,omitempty"`
	ForwardHeaders    []string                `json:"forward_headers,omitempty"`
	CustomResponse    millrace.CustomResponse `json:"custom_response"`
}

// sources reads the sources that a query of selectSources finds, with their
// secrets opened. Those that cannot be are left out, and named in the error
// beside the others.
func (s *Store) sources(ctx context.Context, q sqlx.QueryerContext, query string, args ...any) ([]millrace.Source, error) {
	var rows []sourceRow
	if err := sqlx.SelectContext(ctx, q, &rows, query, args...); err != nil {
		return nil, mapError(err, "read sources")
	}
	found := make([]millrace.Source, 0, len(rows))
	var faults []error
	for _, row := range rows {
		source, err := s.sourceOf(row)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		found = append(found, source)
	}
	return found, errors.Join(faults...)
}

// source reads the one source that a query of selectSources finds.
func (s *Store) source(ctx context.Context, q sqlx.QueryerContext, query string, args ...any) (millrace.Source, error) {
	var row sourceRow
	if err := sqlx.GetContext(ctx, q, &row, query, args...); err != nil {
		return millrace.Source{}, orMissing(err, millrace.NotFound("source"), "read source")
	}
	return s.sourceOf(row)
}

func (s *Store) sourceToRow(source millrace.Source) (sourceRow, error) {
	if err := source.Validate(); err != nil {
		return sourceRow{}, err
	}
	settings, err := json.Marshal(sourceJSON{
		Verifier: source.Verifier, PubSub: source.PubSub, EventTypeLocation: source.EventTypeLocation,
		IdempotencyKeys: source.IdempotencyKeys, ForwardHeaders: source.ForwardHeaders, CustomResponse: source.CustomResponse,
	})
	if err != nil {
		return sourceRow{}, fmt.Errorf("encode the settings of source %s: %w", source.ID, err)
	}
	credentials, err := s.sealSource(source)
	return sourceRow{
		ID: source.ID, ProjectID: source.ProjectID, Name: source.Name, Type: source.Type, MaskID: source.MaskID, Provider: source.Provider,
		Settings: string(settings), Credentials: credentials, Disabled: source.Disabled, Revision: source.Revision, Version: source.Version,
	}, err
}

func (s *Store) sourceOf(r sourceRow) (millrace.Source, error) {
	var j sourceJSON
	if err := json.Unmarshal([]byte(r.Settings), &j); err != nil {
		return millrace.Source{}, fmt.Errorf("decode the settings of source %s: %w", r.ID, err)
	}
	source := millrace.Source{
		ID: r.ID, ProjectID: r.ProjectID, Name: r.Name, Type: r.Type, MaskID: r.MaskID, Provider: r.Provider, Verifier: j.Verifier, PubSub: j.PubSub,
		EventTypeLocation: j.EventTypeLocation, IdempotencyKeys: j.IdempotencyKeys, ForwardHeaders: j.ForwardHeaders, CustomResponse: j.CustomResponse,
		Disabled: r.Disabled, Revision: r.Revision, Version: r.Version, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	return source, s.openSource(r.Credentials, source)
}

// sealSource seals the secrets of a source; nil where it has none.
func (s *Store) sealSource(source millrace.Source) ([]byte, error) {
	secrets := map[string]string{} // millrace.Sensitive would hide them from JSON
	for name, secret := range source.Secrets() {
		if *secret != "" {
			secrets[name] = secret.Reveal()
		}
	}
	if len(secrets) == 0 {
		return nil, nil
	}
	clear, err := json.Marshal(secrets)
	if err != nil {
		return nil, fmt.Errorf("encode the secrets of source %s: %w", source.ID, err)
	}
	sealed, err := s.ring.Seal(clear, sourcePlace(source.ID, source.ProjectID))
	if err != nil {
		return nil, fmt.Errorf("seal the secrets of source %s: %w", source.ID, err)
	}
	return sealed, nil
}

// openSource puts what was sealed into the source.
func (s *Store) openSource(sealed []byte, source millrace.Source) error {
	secrets := map[string]string{}
	if sealed != nil {
		clear, err := s.open(sealed, sourcePlace(source.ID, source.ProjectID))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(clear, &secrets); err != nil {
			return fmt.Errorf("decode the secrets of source %s: %w", source.ID, err)
		}
	}
	for name, secret := range source.Secrets() {
		*secret = millrace.Sensitive(secrets[name])
	}
	return nil
}

// sourcePlace is what the secrets of a source are bound to.
func sourcePlace(source, project millrace.ID) string {
	return "sources/" + source.String() + "/" + project.String() + "/credentials"
}
