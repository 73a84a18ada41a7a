package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

// Created is what an operator made straight in PostgreSQL. The key is shown
// here and never again.
type Created struct {
	ProjectID string `json:"project_id,omitempty"`
	Name      string `json:"name"`
	KeyID     string `json:"key_id"`
	APIKey    string `json:"api_key"`
}

// CreateProject makes a project with an API key, straight in PostgreSQL.
func CreateProject(ctx context.Context, c Config, name string) (Created, error) {
	var made Created
	err := withStore(ctx, c, func(ctx context.Context, s *store.Store) error {
		p, err := s.CreateProject(ctx, millrace.Project{Name: name, Type: "outgoing", Config: millrace.DefaultProjectConfig()})
		if err != nil {
			return err
		}
		clear, key, err := s.CreateAPIKey(ctx, millrace.APIKey{ProjectID: p.ID, Name: name + "'s default key"})
		made = Created{ProjectID: p.ID.String(), Name: p.Name, KeyID: key.ID.String(), APIKey: clear}
		return err
	})
	return made, err
}

// CreateInstanceKey makes an API key that is good for every project, straight
// in PostgreSQL.
func CreateInstanceKey(ctx context.Context, c Config, k NewKey) (Created, error) {
	var made Created
	err := withStore(ctx, c, func(ctx context.Context, s *store.Store) error {
		asked := millrace.APIKey{Name: k.Name}
		if k.ExpiresAt != nil {
			asked.ExpiresAt = *k.ExpiresAt
		}
		clear, key, err := s.CreateAPIKey(ctx, asked)
		made = Created{Name: key.Name, KeyID: key.ID.String(), APIKey: clear}
		return err
	})
	return made, err
}

// withStore works on PostgreSQL as the operator of this machine.
func withStore(ctx context.Context, c Config, work func(ctx context.Context, s *store.Store) error) error {
	ring, err := c.Secrets.ring()
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, c.Postgres, ring)
	if err != nil {
		return unanswered(err)
	}
	who := "operator"
	if user := os.Getenv("USER"); user != "" {
		who += " " + user
	}
	return errors.Join(work(millrace.WithActor(ctx, who), s), s.Close())
}

// Migration is one step of the schema.
type Migration = store.Migration

// Migrate brings the schema up to the newest version (Up), or takes one
// version back (Down), and lists its steps then.
func Migrate(ctx context.Context, c Config, way store.Direction) ([]Migration, error) {
	if err := c.Postgres.Validate(); err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx, c.Postgres.URL, way); err != nil {
		return nil, unanswered(err)
	}
	return MigrationStatus(ctx, c)
}

// unanswered says of a PostgreSQL that is away that it is.
func unanswered(err error) error {
	if !millrace.IsUnavailable(err) {
		return err
	}
	return fmt.Errorf("PostgreSQL does not answer by postgres.url: %w", err)
}

// The ways to migrate.
const (
	Up   = store.Up
	Down = store.Down
)

// MigrationStatus lists the steps of the schema.
func MigrationStatus(ctx context.Context, c Config) ([]Migration, error) {
	if err := c.Postgres.Validate(); err != nil {
		return nil, err
	}
	steps, err := store.MigrationStatus(ctx, c.Postgres.URL)
	return steps, unanswered(err)
}

// NewRingKey makes a key for secrets.keys.
func NewRingKey() string { return store.NewKey() }

// Rotation is what a rotation of the key ring did, and which keys are still
// needed.
type Rotation struct {
	Current  string         `json:"current"`
	Resealed int            `json:"resealed"`
	InUse    []store.KeyUse `json:"in_use"`
}

// RotateKeys seals all secrets anew under the ring's first key.
func RotateKeys(ctx context.Context, c Config) (Rotation, error) {
	var r Rotation
	ring, err := c.Secrets.ring()
	if err != nil {
		return r, err
	}
	r.Current = ring.Current()
	err = withStore(ctx, c, func(ctx context.Context, s *store.Store) error {
		if err := s.CheckKeys(ctx); err != nil {
			return err
		}
		var err error
		if r.Resealed, err = s.RotateKeys(ctx); err != nil {
			return err
		}
		r.InUse, err = s.KeysInUse(ctx)
		return err
	})
	return r, err
}

// Rebuild folds the facts of all deliveries once more; with check it only
// compares.
func Rebuild(ctx context.Context, c Config, check bool, progress func(done int)) (store.Report, error) {
	var r store.Report
	err := withStore(ctx, c, func(ctx context.Context, s *store.Store) error {
		var err error
		if r, err = s.Rebuild(ctx, check, progress); err != nil {
			return fmt.Errorf("rebuild: %w", err)
		}
		return nil
	})
	return r, err
}
