package main

import (
	"context"
	"time"

	"github.com/millrace-dev/millrace/app"
)

type key struct {
	Create createKey `cmd:"" help:"Create an API key of the project, or of the instance."`
	List   listKeys  `cmd:"" help:"List the API keys."`
	Revoke revokeKey `cmd:"" help:"Revoke an API key."`
}

type createKey struct {
	access
	Name     string        `arg:"" optional:"" default:"cli" help:"What it is called (default ${default})."`
	Instance bool          `help:"A key for all projects, made straight in PostgreSQL by the configuration."`
	Expires  time.Duration `placeholder:"DURATION" help:"End it after so long, such as 720h."`
}

// Help shows the command in use.
func (createKey) Help() string {
	return `The key is shown once. With --instance it works without a running server.

    millrace key create billing
    millrace key create operator --instance --config millrace.yml`
}

// Run creates a key.
func (k createKey) Run(ctx context.Context, s *screen, g *globals) error {
	asked := app.NewKey{Name: k.Name}
	if k.Expires > 0 {
		end := time.Now().Add(k.Expires)
		asked.ExpiresAt = &end
	}
	if k.Instance {
		return k.instance(ctx, s, g, asked)
	}
	c, err := k.client()
	if err != nil {
		return err
	}
	defer c.Close()
	made, err := c.CreateKey(ctx, asked)
	if err != nil {
		return err
	}
	return s.data(made, func() { s.pairs("id", made.Is.ID, "API key", made.Is.Key+"   (shown this once)") })
}

func (createKey) instance(ctx context.Context, s *screen, g *globals, asked app.NewKey) error {
	c, err := g.load()
	if err != nil {
		return err
	}
	made, err := app.CreateInstanceKey(ctx, c, asked)
	if err != nil {
		return err
	}
	return s.data(made, func() { s.pairs("id", made.KeyID, "instance key", made.APIKey+"   (shown this once)") })
}

type listKeys struct {
	access
	Instance bool `help:"The instance's keys (needs one)."`
}

// Help shows the command in use.
func (listKeys) Help() string { return `    millrace key list` }

// Run lists the keys.
func (k listKeys) Run(ctx context.Context, s *screen) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.Keys(ctx, k.Instance)
	if err != nil {
		return err
	}
	return s.data(found, func() {
		var rows [][]string
		for _, k := range found {
			rows = append(rows, []string{k.Is.ID, k.Is.Name, k.Is.Prefix + "…", keyState(k.Is), whenever(k.Is.LastUsed), when(k.Is.CreatedAt)})
		}
		s.table("There is no key.", "ID\tNAME\tKEY\tSTATE\tLAST USED\tCREATED", rows)
	})
}

func keyState(k app.KeyRow) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case k.ExpiresAt != nil && k.ExpiresAt.Before(time.Now()):
		return "expired"
	case k.ExpiresAt != nil:
		return "valid until " + when(*k.ExpiresAt)
	}
	return "valid"
}

type revokeKey struct {
	access
	ID       string `arg:"" help:"The key's id, from millrace key list."`
	Instance bool   `help:"It is one of the instance's keys (needs another)."`
}

// Help shows the command in use.
func (revokeKey) Help() string {
	return `    millrace key revoke 019e0b3c-7e80-7000-8000-000000000001`
}

// Run revokes a key.
func (k revokeKey) Run(ctx context.Context, s *screen) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.RevokeKey(ctx, k.ID, k.Instance); err != nil {
		return err
	}
	return s.data(map[string]string{"revoked": k.ID}, func() { s.say("Revoked; it opens nothing any more, within two seconds everywhere.") })
}
