package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/millrace-dev/millrace/app"
)

type migrate struct {
	Up     migrateUp     `cmd:"" help:"Bring the schema up to the newest version."`
	Down   migrateDown   `cmd:"" help:"Take the schema one version back."`
	Status migrateStatus `cmd:"" help:"List the steps of the schema."`
}

type migrateUp struct{}

// Help shows the command in use.
func (migrateUp) Help() string {
	return `It may be run by several at once, and again.

    millrace migrate up --config millrace.yml
    millrace migrate up --set postgres.url=postgres://millrace@127.0.0.1/millrace`
}

// Run migrates up.
func (migrateUp) Run(ctx context.Context, s *screen, g *globals) error {
	return migrated(ctx, s, g, func(c app.Config) ([]app.Migration, error) { return app.Migrate(ctx, c, app.Up) })
}

type migrateDown struct{}

// Help shows the command in use.
func (migrateDown) Help() string {
	return `The first version's way down removes everything, all events included.

    millrace migrate down --config millrace.yml`
}

// Run migrates down.
func (migrateDown) Run(ctx context.Context, s *screen, g *globals) error {
	return migrated(ctx, s, g, func(c app.Config) ([]app.Migration, error) { return app.Migrate(ctx, c, app.Down) })
}

type migrateStatus struct{}

// Help shows the command in use.
func (migrateStatus) Help() string { return `    millrace migrate status --config millrace.yml` }

// Run lists the steps.
func (migrateStatus) Run(ctx context.Context, s *screen, g *globals) error {
	return migrated(ctx, s, g, func(c app.Config) ([]app.Migration, error) { return app.MigrationStatus(ctx, c) })
}

// migrated needs no more of the configuration than postgres.
func migrated(ctx context.Context, s *screen, g *globals, work func(app.Config) ([]app.Migration, error)) error {
	c, err := app.Read(app.DefaultConfig(), g.origins())
	if err != nil {
		return err
	}
	steps, err := work(c)
	if err != nil {
		return err
	}
	return s.data(steps, func() {
		var rows [][]string
		for _, m := range steps {
			applied := "not applied"
			if m.Applied {
				applied = when(m.AppliedAt)
			}
			rows = append(rows, []string{fmt.Sprint(m.Version), m.Name, applied})
		}
		s.table("There are no steps.", "VERSION\tNAME\tAPPLIED", rows)
	})
}

type keyRing struct {
	New    newRingKey    `cmd:"" help:"Make a key for secrets.keys."`
	Rotate rotateKeyRing `cmd:"" help:"Seal all secrets anew under the first key of secrets.keys."`
}

type newRingKey struct{}

// Help shows the command in use.
func (newRingKey) Help() string { return `    MILLRACE_SECRETS_KEYS=$(millrace key-ring new)` }

// Run makes a key.
func (newRingKey) Run(s *screen) error {
	k := app.NewRingKey()
	return s.data(map[string]string{"key": k}, func() { s.say("%s", k) })
}

type rotateKeyRing struct{}

// Help shows the command in use.
func (rotateKeyRing) Help() string {
	return `To rotate: put a new key first in secrets.keys and keep the old one, restart server and agent, run this, and take the old key out when it is no longer needed. It may be run again.

    millrace key-ring rotate --config millrace.yml`
}

// Run rotates the key ring.
func (rotateKeyRing) Run(ctx context.Context, s *screen, g *globals) error {
	c, err := g.load()
	if err != nil {
		return err
	}
	r, err := app.RotateKeys(ctx, c)
	if err != nil {
		return err
	}
	return s.data(r, func() {
		s.say("%d secrets were sealed anew; the current key is %s.", r.Resealed, r.Current)
		for _, use := range r.InUse {
			if use.KeyID != r.Current {
				s.say("Key %s is still needed: by %d secrets, and by %d API keys until each is next used.", use.KeyID, use.Sealed, use.Hashed)
			}
		}
	})
}

type rebuild struct {
	Check bool `help:"Compare only, on one snapshot; a difference is exit code 1."`
}

// Help shows the command in use.
func (rebuild) Help() string {
	return `A delivery's state is what follows from its facts. This works it out again for all deliveries and repairs what differs.

    millrace rebuild --check --config millrace.yml`
}

// Run rebuilds or checks.
func (r rebuild) Run(ctx context.Context, s *screen, g *globals) error {
	c, err := g.load()
	if err != nil {
		return err
	}
	report, err := app.Rebuild(ctx, c, r.Check, func(done int) {
		if terminal(s.err) {
			fmt.Fprintf(s.err, "\r\x1b[K%d deliveries", done)
		}
	})
	if terminal(s.err) {
		fmt.Fprint(s.err, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	told := s.data(report, func() {
		for _, d := range report.Differences {
			s.say("%s", d)
		}
		done := "repaired"
		if r.Check {
			done = "found"
		}
		s.say("%d deliveries, %d facts: %d differences %s.", report.Deliveries, report.Facts, len(report.Differences), done)
	})
	if told == nil && r.Check && len(report.Differences) > 0 {
		return alreadySaid{}
	}
	return told
}

type showVersion struct{}

// Help shows the command in use.
func (showVersion) Help() string { return `    millrace version --json` }

// Run prints the version.
func (showVersion) Run(s *screen) error {
	v := map[string]string{"version": programVersion(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	return s.data(v, func() { s.say("millrace %s (%s %s)", v["version"], v["go"], v["platform"]) })
}
