package httpapi

import (
	"context"
	"net/http"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// Keys keeps the API keys. The zero project means the instance's keys.
type Keys interface {
	CreateAPIKey(ctx context.Context, k millrace.APIKey) (clear string, key millrace.APIKey, err error)
	APIKeys(ctx context.Context, project millrace.ID) ([]millrace.APIKey, error)
	RevokeAPIKey(ctx context.Context, id millrace.ID) error
}

// keyIn is an API key as it is asked for.
type keyIn struct {
	Name      member[string]    `json:"name"`
	ExpiresAt member[time.Time] `json:"expires_at"`
}

// keyOut is an API key as it is shown; the key itself only in the answer that
// makes it.
type keyOut struct {
	UID       string     `json:"uid"`
	Name      string     `json:"name"`
	ProjectID string     `json:"project_id,omitempty"`
	KeyType   string     `json:"key_type"`
	Prefix    string     `json:"prefix"`
	Key       string     `json:"key,omitempty"`
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	LastUsed  *time.Time `json:"last_used_at"`
	CreatedAt time.Time  `json:"created_at"`
}

func (s *Server) listKeys(c *call) error {
	keys, err := s.deps.Keys.APIKeys(c.ctx, c.project)
	if err != nil {
		return err
	}
	out := make([]keyOut, len(keys))
	for i, k := range keys {
		out[i] = newKeyOut(k, "")
	}
	return c.respond(http.StatusOK, "API keys fetched successfully", out)
}

func (s *Server) createKey(c *call) error {
	var in keyIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	k := millrace.APIKey{ProjectID: c.project, Name: in.Name.value, ExpiresAt: in.ExpiresAt.value}
	if k.Name == "" {
		return millrace.Missing("name")
	}
	if err := checkLine("name", k.Name, 255); err != nil {
		return err
	}
	if in.ExpiresAt.given && !k.ExpiresAt.After(s.deps.Now()) {
		return millrace.Invalid("expires_at", "must be in the future")
	}
	clear, k, err := s.deps.Keys.CreateAPIKey(c.ctx, k)
	if err != nil {
		return err
	}
	return c.respond(http.StatusCreated, "API key created successfully", newKeyOut(k, clear))
}

// revokeKey revokes a key of the project, or of the instance. Any other is
// unknown here.
func (s *Server) revokeKey(c *call) error {
	id, err := c.pathID("keyID", "API key")
	if err != nil {
		return err
	}
	keys, err := s.deps.Keys.APIKeys(c.ctx, c.project)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == id {
			if err := s.deps.Keys.RevokeAPIKey(c.ctx, id); err != nil {
				return err
			}
			return c.respond(http.StatusOK, "API key revoked successfully", nil)
		}
	}
	return millrace.NotFound("API key")
}

func newKeyOut(k millrace.APIKey, clear string) keyOut {
	out := keyOut{
		UID: k.ID.String(), Name: k.Name, ProjectID: idOrEmpty(k.ProjectID), KeyType: "project", Prefix: k.Prefix, Key: clear,
		ExpiresAt: orNull(k.ExpiresAt), RevokedAt: orNull(k.RevokedAt), LastUsed: orNull(k.LastUsed), CreatedAt: k.CreatedAt.UTC(),
	}
	if k.Instance() {
		out.KeyType = "instance"
	}
	return out
}
