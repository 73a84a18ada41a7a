package store

import (
	"context"
	"crypto/hmac"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

// useNoted is how old the note of a key's last use may be before the next use
// writes it anew.
const useNoted = time.Minute

type apiKeyRow struct {
	ID        millrace.ID  `db:"id"`
	ProjectID *millrace.ID `db:"project_id"`
	Name      string       `db:"name"`
	Prefix    string       `db:"prefix"`
	Hash      []byte       `db:"hash"`
	RingKey   string       `db:"ring_key"`
	CreatedAt time.Time    `db:"created_at"`
	ExpiresAt *time.Time   `db:"expires_at"`
	RevokedAt *time.Time   `db:"revoked_at"`
	LastUsed  *time.Time   `db:"last_used_at"`
	// ReadAt is PostgreSQL's clock at the reading.
	ReadAt time.Time `db:"read_at"`
}

const selectAPIKeys = `SELECT id, project_id, name, prefix, hash, ring_key, created_at, expires_at, revoked_at, last_used_at, now() AS read_at FROM api_keys`

// CreateAPIKey adds a key to a project, or to the instance where the project
// is zero. The clear key is answered here and never again: only a keyed hash
// of it is stored.
func (s *Store) CreateAPIKey(ctx context.Context, k millrace.APIKey) (clear string, made millrace.APIKey, err error) {
	if k.Name == "" {
		return "", k, millrace.Missing("name")
	}
	if k.ID == (millrace.ID{}) {
		k.ID = millrace.NewID(time.Now())
	}
	clear = newAPIKey(k.ProjectID)
	hash, err := s.ring.hash(s.ring.Current(), clear)
	if err != nil {
		return "", k, err
	}
	row := apiKeyRow{
		ID: k.ID, ProjectID: idOrNull(k.ProjectID), Name: k.Name, Prefix: clear[:prefixSize],
		Hash: hash, RingKey: s.ring.Current(), ExpiresAt: timeOrNull(k.ExpiresAt),
	}
	err = s.apply(ctx, &change{Project: k.ProjectID, Noun: "api key", ID: k.ID, Verb: "created", Detail: row.Prefix}, func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &row.CreatedAt, `
			INSERT INTO api_keys (id, project_id, name, prefix, hash, ring_key, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			RETURNING created_at`, row.ID, row.ProjectID, row.Name, row.Prefix, row.Hash, row.RingKey, row.ExpiresAt)
		return mapError(err, "create API key")
	})
	if err != nil {
		return "", k, err
	}
	return clear, row.apiKey(), nil
}

// APIKeys lists the keys of a project, revoked ones too, or the instance's
// where the project is zero.
func (s *Store) APIKeys(ctx context.Context, project millrace.ID) ([]millrace.APIKey, error) {
	var rows []apiKeyRow
	err := s.reads.SelectContext(ctx, &rows, selectAPIKeys+` WHERE project_id IS NOT DISTINCT FROM $1 ORDER BY id`, idOrNull(project))
	keys := make([]millrace.APIKey, len(rows))
	for i, row := range rows {
		keys[i] = row.apiKey()
	}
	return keys, mapError(err, "list API keys")
}

// RevokeAPIKey makes a key worthless: here at once, in other processes within
// two seconds. A key that is revoked already stays so.
func (s *Store) RevokeAPIKey(ctx context.Context, id millrace.ID) error {
	missing := millrace.Errorf(millrace.CodeNotFound, "there is no such API key")
	var row apiKeyRow
	if err := s.reads.GetContext(ctx, &row, selectAPIKeys+` WHERE id = $1`, id); err != nil {
		return orMissing(err, missing, "read API key")
	}
	if row.RevokedAt != nil {
		return nil
	}
	c := &change{Project: idOrZero(row.ProjectID), Noun: "api key", ID: id, Verb: "revoked", Detail: row.Prefix}
	err := s.apply(ctx, c, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1`, id)
		return oneRow(done, err, missing, "revoke API key")
	})
	s.keys.forget()
	return err
}

// Authenticate tells whose an API key is. Answers, refusals too, are believed
// for two seconds, so a stream of requests costs next to no statements. The
// note of a key's last use is written behind the request, once a minute.
func (s *Store) Authenticate(ctx context.Context, clear string) (millrace.APIKey, error) {
	prefix, ok := prefixOf(clear)
	if !ok {
		return millrace.APIKey{}, errKey("is not valid")
	}
	return s.keys.find(ctx, clear, func(ctx context.Context) (millrace.APIKey, error) {
		return s.lookUp(ctx, prefix, clear)
	})
}

func (s *Store) lookUp(ctx context.Context, prefix, clear string) (millrace.APIKey, error) {
	var row apiKeyRow
	if err := s.reads.GetContext(ctx, &row, selectAPIKeys+` WHERE prefix = $1`, prefix); err != nil {
		return millrace.APIKey{}, orMissing(err, errKey("is not valid"), "look up an API key")
	}
	hash, err := s.ring.hash(row.RingKey, clear)
	if err != nil {
		return millrace.APIKey{}, mapError(err, "verify API key "+prefix)
	}
	switch {
	case !hmac.Equal(hash, row.Hash):
		return millrace.APIKey{}, errKey("is not valid")
	case row.RevokedAt != nil:
		return millrace.APIKey{}, errKey("was revoked")
	case row.ExpiresAt != nil && !row.ExpiresAt.After(row.ReadAt):
		return millrace.APIKey{}, errKey("has expired")
	}
	if row.RingKey != s.ring.Current() || row.LastUsed == nil || row.ReadAt.Sub(*row.LastUsed) >= useNoted {
		s.noteUse(row, clear)
	}
	return row.apiKey(), nil
}

// noteUse writes when a key was last used, and its hash under the ring's
// current key. Failing does no harm: the next look does it again.
func (s *Store) noteUse(row apiKeyRow, clear string) {
	hash, err := s.ring.hash(s.ring.Current(), clear)
	if err != nil {
		return
	}
	s.keys.note(func(ctx context.Context) {
		_, _ = s.reads.ExecContext(ctx, `
			UPDATE api_keys SET last_used_at = now(), hash = $2, ring_key = $3 WHERE id = $1 AND hash = $4`,
			row.ID, hash, s.ring.Current(), row.Hash)
	})
}

func (r apiKeyRow) apiKey() millrace.APIKey {
	return millrace.APIKey{
		ID: r.ID, ProjectID: idOrZero(r.ProjectID), Name: r.Name, Prefix: r.Prefix, CreatedAt: r.CreatedAt.UTC(),
		RevokedAt: timeOrZero(r.RevokedAt), LastUsed: timeOrZero(r.LastUsed), ExpiresAt: timeOrZero(r.ExpiresAt),
	}
}

func errKey(how string) *millrace.Error {
	return millrace.Errorf(millrace.CodeUnauthenticated, "the API key %s", how)
}
