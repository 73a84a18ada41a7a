package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

// What an endpoint's secret is for, as in the column kind.
const (
	kindSecret     = "secret"      // signs by HMAC
	kindSigningKey = "signing_key" // signs by ed25519
)

type secretRow struct {
	ID         millrace.ID `db:"id"`
	EndpointID millrace.ID `db:"endpoint_id"`
	Kind       string      `db:"kind"`
	Sealed     []byte      `db:"sealed"`
	CreatedAt  time.Time   `db:"created_at"`
	ExpiresAt  *time.Time  `db:"expires_at"`
}

// ExpireSecret gives an endpoint a new secret (a generated one where it is
// empty) and the older ones an end; until then all of them sign. What has
// ended is deleted.
func (s *Store) ExpireSecret(ctx context.Context, project, id millrace.ID, secret millrace.Sensitive, expires time.Time) (millrace.Endpoint, error) {
	if secret == "" {
		secret = millrace.NewSecret()
	}
	now, err := s.Now(ctx)
	if err != nil {
		return millrace.Endpoint{}, err
	}
	c := &change{Project: project, Noun: "endpoint", ID: id, Verb: "secret expired", Detail: "at " + expires.UTC().Format(time.RFC3339)}
	return s.alterEndpoint(ctx, c, func(e *millrace.Endpoint) error {
		older := e.Secrets
		e.Secrets = nil
		for _, o := range older {
			if o.ExpiresAt.IsZero() || o.ExpiresAt.After(expires) {
				o.ExpiresAt = expires
			}
			if o.ExpiresAt.After(now) {
				e.Secrets = append(e.Secrets, o)
			}
		}
		e.Secrets = append(e.Secrets, millrace.Secret{Value: secret})
		return nil
	})
}

// attachSecrets reads the secrets of endpoints, oldest first, and opens them.
func (s *Store) attachSecrets(ctx context.Context, q sqlx.QueryerContext, endpoints []millrace.Endpoint) error {
	if len(endpoints) == 0 {
		return nil
	}
	place := make(map[millrace.ID]*millrace.Endpoint, len(endpoints))
	wanted := make([]millrace.ID, len(endpoints))
	for i := range endpoints {
		wanted[i] = endpoints[i].ID
		place[endpoints[i].ID] = &endpoints[i]
	}
	var rows []secretRow
	err := sqlx.SelectContext(ctx, q, &rows, `
		SELECT id, endpoint_id, kind, sealed, created_at, expires_at FROM endpoint_secrets
		WHERE endpoint_id = ANY($1) ORDER BY created_at, id`, pq.Array(wanted))
	if err != nil {
		return mapError(err, "read the endpoints' secrets")
	}
	for _, row := range rows {
		clear, err := s.open(row.Sealed, row.place())
		if err != nil {
			return err
		}
		e := place[row.EndpointID]
		if row.Kind == kindSigningKey {
			e.SigningKey = millrace.Sensitive(clear)
			continue
		}
		e.Secrets = append(e.Secrets, millrace.Secret{
			ID: row.ID, Value: millrace.Sensitive(clear), CreatedAt: row.CreatedAt.UTC(), ExpiresAt: timeOrZero(row.ExpiresAt),
		})
	}
	return nil
}

// writeSecrets brings the table from the secrets that an endpoint had to those
// it has now. New ones have no id yet; one whose value was changed is a new
// one.
func (s *Store) writeSecrets(ctx context.Context, tx *sqlx.Tx, had []millrace.Secret, e *millrace.Endpoint) error {
	before := make(map[millrace.ID]millrace.Secret, len(had))
	for _, secret := range had {
		before[secret.ID] = secret
	}
	for i := range e.Secrets {
		secret := &e.Secrets[i]
		old, known := before[secret.ID]
		if !known || old.Value != secret.Value {
			if err := s.addSecret(ctx, tx, e.ID, kindSecret, secret); err != nil {
				return err
			}
			continue
		}
		delete(before, secret.ID)
		if old.ExpiresAt.Equal(secret.ExpiresAt) {
			continue
		}
		if _, err := tx.ExecContext(ctx, `UPDATE endpoint_secrets SET expires_at = $2 WHERE id = $1`, secret.ID, timeOrNull(secret.ExpiresAt)); err != nil {
			return mapError(err, "expire secret")
		}
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM endpoint_secrets WHERE endpoint_id = $1 AND kind = 'secret' AND id = ANY($2)`,
		e.ID, pq.Array(slices.Collect(maps.Keys(before))))
	return mapError(err, "delete secrets")
}

// writeSigningKey replaces the ed25519 key of an endpoint where it is another
// than it had. A key is kept where the scheme is no longer asked for, so that
// it is the same one when it is asked for again.
func (s *Store) writeSigningKey(ctx context.Context, tx *sqlx.Tx, had millrace.Sensitive, e *millrace.Endpoint) error {
	if e.SigningKey == had {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM endpoint_secrets WHERE endpoint_id = $1 AND kind = 'signing_key'`, e.ID); err != nil {
		return mapError(err, "replace signing key")
	}
	if e.SigningKey == "" {
		return nil
	}
	return s.addSecret(ctx, tx, e.ID, kindSigningKey, &millrace.Secret{Value: e.SigningKey})
}

func (s *Store) addSecret(ctx context.Context, tx *sqlx.Tx, endpoint millrace.ID, kind string, secret *millrace.Secret) error {
	secret.ID = millrace.NewID(time.Now())
	row := secretRow{ID: secret.ID, EndpointID: endpoint, Kind: kind, ExpiresAt: timeOrNull(secret.ExpiresAt)}
	var err error
	if row.Sealed, err = s.ring.Seal([]byte(secret.Value.Reveal()), row.place()); err != nil {
		return fmt.Errorf("seal a secret of endpoint %s: %w", endpoint, err)
	}
	// clock_timestamp: several of one transaction keep their order.
	err = tx.GetContext(ctx, &secret.CreatedAt, `
		INSERT INTO endpoint_secrets (id, endpoint_id, kind, sealed, created_at, expires_at) VALUES ($1, $2, $3, $4, clock_timestamp(), $5)
		RETURNING created_at`, row.ID, row.EndpointID, row.Kind, row.Sealed, row.ExpiresAt)
	secret.CreatedAt = secret.CreatedAt.UTC()
	return mapError(err, "add secret")
}

// place is what a sealed secret is bound to: its row, its endpoint and what it
// is for.
func (r secretRow) place() string {
	return "endpoint_secrets/" + r.ID.String() + "/" + r.EndpointID.String() + "/" + r.Kind
}

func credentialsPlace(endpoint, project millrace.ID) string {
	return "endpoints/" + endpoint.String() + "/" + project.String() + "/credentials"
}

// open opens what was sealed. A key that the ring lacks is for the operator to
// put back: until then the store is as good as away.
func (s *Store) open(sealed []byte, place string) ([]byte, error) {
	clear, err := s.ring.Open(sealed, place)
	if errors.Is(err, ErrUnknownKey) {
		return nil, millrace.Unavailable(err)
	}
	return clear, err
}
