package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

type endpointRow struct {
	ID          millrace.ID             `db:"id"`
	ProjectID   millrace.ID             `db:"project_id"`
	Name        string                  `db:"name"`
	URL         string                  `db:"url"`
	OwnerID     string                  `db:"owner_id"`
	Status      millrace.EndpointStatus `db:"status"`
	Settings    string                  `db:"settings"`
	Credentials []byte                  `db:"credentials"`
	CreatedAt   time.Time               `db:"created_at"`
	UpdatedAt   time.Time               `db:"updated_at"`
}

const selectEndpoints = `
	SELECT id, project_id, name, url, owner_id, status, settings, credentials, created_at, updated_at FROM endpoints
	WHERE deleted_at IS NULL`

// endpointJSON is what of an endpoint is neither searched nor secret, as it
// lies in the database. Durations are milliseconds.
type endpointJSON struct {
	Description        string        `json:"description,omitempty"`
	Method             string        `json:"method"`
	Timeout            int64         `json:"timeout_ms"`
	ContentType        string        `json:"content_type"`
	AdvancedSignatures bool          `json:"advanced_signatures"`
	SignatureSchemes   []string      `json:"signature_schemes"`
	CACert             string        `json:"ca_cert,omitempty"`
	Strategy           *strategyJSON `json:"strategy,omitempty"`
	RateLimit          int           `json:"rate_limit,omitempty"`
	RateLimitWindow    int64         `json:"rate_limit_window_ms,omitempty"`
	SupportEmail       string        `json:"support_email,omitempty"`
	// Kind is empty for a webhook. The sink's secret is with the credentials.
	Kind millrace.SinkKind `json:"kind,omitempty"`
	Sink millrace.Sink     `json:"sink,omitzero"`
}

// endpoints reads the endpoints that a query of selectEndpoints finds, with
// their secrets opened.
func (s *Store) endpoints(ctx context.Context, q sqlx.QueryerContext, query string, args ...any) ([]millrace.Endpoint, error) {
	var rows []endpointRow
	if err := sqlx.SelectContext(ctx, q, &rows, query, args...); err != nil {
		return nil, mapError(err, "read endpoints")
	}
	endpoints := make([]millrace.Endpoint, len(rows))
	for i, row := range rows {
		var err error
		if endpoints[i], err = s.endpointOf(row); err != nil {
			return nil, err
		}
	}
	return endpoints, s.attachSecrets(ctx, q, endpoints)
}

// endpoint reads the one endpoint that a query of selectEndpoints finds.
func (s *Store) endpoint(ctx context.Context, q sqlx.QueryerContext, query string, args ...any) (millrace.Endpoint, error) {
	found, err := s.endpoints(ctx, q, query, args...)
	if err != nil {
		return millrace.Endpoint{}, err
	}
	if len(found) == 0 {
		return millrace.Endpoint{}, millrace.NotFound("endpoint")
	}
	return found[0], nil
}

func (s *Store) endpointToRow(e millrace.Endpoint) (endpointRow, error) {
	settings, err := json.Marshal(endpointJSON{
		Kind: kindToJSON(e.Kind), Sink: e.Sink.WithSecret(""),
		Description: e.Description, Method: e.Method, Timeout: e.Timeout.Milliseconds(), ContentType: e.ContentType,
		AdvancedSignatures: e.AdvancedSignatures, SignatureSchemes: e.SignatureSchemes, CACert: e.CACert, Strategy: strategyToJSON(e.Strategy),
		RateLimit: e.RateLimit, RateLimitWindow: e.RateLimitWindow.Milliseconds(), SupportEmail: e.SupportEmail,
	})
	if err != nil {
		return endpointRow{}, fmt.Errorf("encode the settings of endpoint %s: %w", e.ID, err)
	}
	credentials, err := s.sealCredentials(e)
	if err != nil {
		return endpointRow{}, fmt.Errorf("seal the credentials of endpoint %s: %w", e.ID, err)
	}
	return endpointRow{
		ID: e.ID, ProjectID: e.ProjectID, Name: e.Name, URL: e.URL, OwnerID: e.OwnerID, Status: e.Status,
		Settings: string(settings), Credentials: credentials,
	}, nil
}

func (s *Store) endpointOf(r endpointRow) (millrace.Endpoint, error) {
	var j endpointJSON
	if err := json.Unmarshal([]byte(r.Settings), &j); err != nil {
		return millrace.Endpoint{}, fmt.Errorf("decode the settings of endpoint %s: %w", r.ID, err)
	}
	e := millrace.Endpoint{
		ID: r.ID, ProjectID: r.ProjectID, Name: r.Name, URL: r.URL, OwnerID: r.OwnerID, Status: r.Status,
		Description: j.Description, Method: j.Method, Timeout: fromMillis(j.Timeout), ContentType: j.ContentType,
		AdvancedSignatures: j.AdvancedSignatures, SignatureSchemes: j.SignatureSchemes, CACert: j.CACert, Strategy: j.Strategy.strategy(),
		RateLimit: j.RateLimit, RateLimitWindow: fromMillis(j.RateLimitWindow), SupportEmail: j.SupportEmail,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	e.Kind, e.Sink = cmp.Or(j.Kind, millrace.SinkWebhook), j.Sink
	return e, s.openCredentials(r.Credentials, &e)
}

// kindToJSON leaves out what most endpoints are.
func kindToJSON(k millrace.SinkKind) millrace.SinkKind {
	if k == millrace.SinkWebhook {
		return ""
	}
	return k
}
