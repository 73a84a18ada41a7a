package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/millrace-dev/millrace/app"
)

type configure struct {
	Check checkConfig `cmd:"" help:"Say all that is wrong with the configuration."`
	Print printConfig `cmd:"" help:"Print the configuration as it takes effect."`
}

type checkConfig struct{}

// Help shows the command in use.
func (checkConfig) Help() string {
	return `Where the stores answer, it asks them too: for the schema, the connections they grant, the keys, and what Redis does when it is full.

    millrace config check --config millrace.yml`
}

// Run checks the configuration.
func (checkConfig) Run(ctx context.Context, s *screen, g *globals) error {
	c, err := g.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	app.LogRedis(slog.New(slog.DiscardHandler)) // the notes say it
	notes, faults := app.Check(ctx, c)
	if s.json {
		return errors.Join(faults, s.data(map[string]any{"ok": faults == nil, "notes": notes}, nil))
	}
	for _, note := range notes {
		s.say("%s", note)
	}
	if faults != nil {
		return faults
	}
	s.say("The configuration is good.")
	return nil
}

type printConfig struct{}

// Help shows the command in use.
func (printConfig) Help() string {
	return `From the defaults, the file, the environment and --set, in this order; secrets are hidden.

    millrace config print --config millrace.yml`
}

// Run prints the configuration.
func (printConfig) Run(s *screen, g *globals) error {
	c, err := app.Read(app.DefaultConfig(), g.origins())
	if err != nil {
		return err
	}
	return s.data(c.Tree(), func() { fmt.Fprint(s.out, c.YAML()) })
}
