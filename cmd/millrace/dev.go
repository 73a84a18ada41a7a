package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace-dev/millrace/app"
)

// defaultData is where dev keeps everything.
const defaultData = ".millrace"

type dev struct {
	Listen  string `default:"${listen}" placeholder:"ADDRESS" help:"The API's address (default ${default})."`
	Data    string `default:"${data}" env:"MILLRACE_DATA" placeholder:"FOLDER" help:"The folder that keeps everything between two starts (default ${default})."`
	Verbose bool   `help:"Log each attempt, not only warnings."`
}

// Help shows the command in use.
func (dev) Help() string {
	return `The first start makes a project and an API key; a second one with the same folder finds everything as it was. Everything stops with the process.

    millrace dev
    millrace dev --listen 127.0.0.1:5006 --data /tmp/try`
}

// Run runs the whole gateway until it is told to end.
func (d dev) Run(ctx context.Context, s *screen, g *globals) error {
	base := app.DefaultConfig()
	base.Log.Level = "warn"
	if d.Verbose {
		base.Log.Level = "info"
	}
	c, err := app.Read(base, g.origins())
	if err != nil {
		return err
	}
	ctx, done := untilHangUp(ctx)
	defer done()
	o := app.Options{Version: programVersion(), Logger: app.NewLogger(c.Log, os.Stderr)}
	app.LogRedis(o.Logger)
	return app.RunDev(ctx, c, app.Dev{
		Data: d.Data, Listen: d.Listen,
		Notes: func(sentence string) { s.note("%s", sentence) },
		Ready: func(a app.DevAccess) { d.welcome(s, a) },
	}, o)
}

// welcome says all that a newcomer needs to send an event and see it arrive.
func (d dev) welcome(s *screen, a app.DevAccess) {
	if s.json {
		_ = s.data(a, nil)
		return
	}
	fmt.Fprintf(s.out, `Endpoints on this machine (loopback) may be called here; elsewhere the egress refuses them.

Millrace is ready.

  URL      %s
  project  %s
  API key  %s

These three stand in %s, too. See a delivery arrive, in another terminal:

  %s

and send an event:

%s

Ctrl-C ends it; everything is kept in %s.
`, a.URL, a.ProjectID, a.APIKey, filepath.Join(d.Data, app.DevFile), listenLine(d.Data), curl(a), d.Data)
}

// listenLine is the command that shows deliveries, as this program was called.
func listenLine(data string) string {
	line := "millrace listen --port 9000"
	if strings.Contains(os.Args[0], "/") {
		line = os.Args[0] + " listen --port 9000"
	}
	if data != defaultData {
		line += " --data " + data
	}
	return line
}

// curl is a call of the API, ready to be pasted.
func curl(a app.DevAccess) string {
	return fmt.Sprintf(`  curl %s/api/v1/projects/%s/events \
    -H 'Authorization: Bearer %s' \
    -H 'Content-Type: application/json' \
    -d '{"event_type": "order.paid", "data": {"id": 42}}'`, a.URL, a.ProjectID, a.APIKey)
}
