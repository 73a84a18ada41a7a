package main

import (
	"context"
	"os"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
)

type server struct{}

// Help shows the command in use.
func (server) Help() string {
	return `It refuses to start on a faulty configuration or an old schema, and says what to do. SIGTERM drains it.

    millrace server --config millrace.yml
    millrace server --set server.listen=0.0.0.0:5005 --set log.format=json`
}

// Run runs the role until it is told to end.
func (server) Run(ctx context.Context, g *globals) error {
	c, err := g.load()
	if err != nil {
		return err
	}
	return runRole(ctx, g, c, app.Options{Server: true})
}

type agent struct{}

// Help shows the command in use.
func (agent) Help() string {
	return `SIGTERM drains it. SIGHUP reads the configuration again and applies the tuning of the stages.

    millrace agent --config millrace.yml
    MILLRACE_STAGES_DELIVER_CONCURRENCY=1024 millrace agent`
}

// Run runs the role until it is told to end.
func (agent) Run(ctx context.Context, g *globals) error {
	c, err := g.load()
	if err != nil {
		return err
	}
	return runRole(ctx, g, c, app.Options{Agent: true})
}

type egress struct{}

// Help shows the command in use.
func (egress) Help() string {
	return `Of the configuration it needs the blocks egress, metrics and log alone.

    millrace egress --set egress.listen=0.0.0.0:4750 --set egress.token=change-me`
}

// Run runs the role until it is told to end.
func (egress) Run(ctx context.Context, g *globals) error {
	c, err := app.Read(app.DefaultConfig(), g.origins())
	if err != nil {
		return err
	}
	if len(c.Secrets.Keys) == 0 { // it seals nothing, so any key will do
		c.Secrets.Keys = []millrace.Sensitive{millrace.Sensitive(app.NewRingKey())}
	}
	return runRole(ctx, g, c, app.Options{Egress: true})
}

// runRole runs one role and logs when it serves and when it ends.
func runRole(ctx context.Context, g *globals, c app.Config, o app.Options) error {
	o.Version, o.Logger = programVersion(), app.NewLogger(c.Log, os.Stderr)
	app.LogRedis(o.Logger)
	reload, done := reloads(ctx, g, o.Logger)
	defer done()
	o.Reload = reload
	o.Ready = func(a app.Addresses) {
		args := []any{"version", o.Version}
		if a.URL != "" {
			args = append(args, "url", a.URL)
		}
		if a.Egress != "" {
			args = append(args, "egress", a.Egress)
		}
		o.Logger.Info("millrace serves", args...)
	}
	stopped := context.AfterFunc(ctx, func() { o.Logger.Info("millrace drains; a second signal ends it at once") })
	defer stopped()
	return app.Run(ctx, c, o)
}
