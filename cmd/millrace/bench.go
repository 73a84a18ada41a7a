package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/millrace-dev/millrace/bench"
)

type benchmark struct {
	Quick     bool          `help:"A run of under 40 seconds: everything once, and less of it."`
	Events    int           `placeholder:"N" help:"How many events a closed loop sends (default 20000)."`
	Duration  time.Duration `placeholder:"DURATION" help:"How long a steady load lasts, and a closed loop at most (default 10s)."`
	Clients   int           `placeholder:"N" help:"How many connections send at once (default 128)."`
	Window    int           `placeholder:"N" help:"How many deliveries are on their way in a closed loop (default 1024)."`
	Stored    int           `placeholder:"N" help:"How many events the log holds in the scenario growth (default 10000000)."`
	Limit     time.Duration `placeholder:"DURATION" help:"End a run that takes longer; it has no figures then (default 10m)."`
	Scenarios []string      `placeholder:"NAME,..." help:"Run these alone; all are run but growth, which takes long."`

	Target         string `placeholder:"KIND" help:"Drive a running gateway through its API: convoy or millrace."`
	URL            string `placeholder:"URL" help:"The target's API."`
	APIKey         string `name:"api-key" placeholder:"KEY" help:"A key of the target's project."`
	Project        string `placeholder:"ID" help:"The target's project; endpoints are made in it."`
	ReceiverListen string `default:"127.0.0.1:0" placeholder:"ADDRESS" help:"Where deliveries are received (default ${default})."`
	ReceiverURL    string `name:"receiver-url" placeholder:"URL" help:"How the target reaches that, if not by http://<address>."`
}

// Help shows the command in use.
func (benchmark) Help() string {
	return `It starts server, agent and egress with a PostgreSQL and a Redis of their own, and a gateway that keeps nothing to compare with, loads them, and stops them. The last line is JSON. A run that lost or repeated an event fails. Nothing else should run on the machine.

    millrace bench
    millrace bench --quick --set log.level=warn
    millrace bench --scenarios fanout-1,steady-50 --events 50000
    millrace bench --scenarios growth --limit 2h
    millrace bench --target convoy --url http://10.0.0.1:5005 --api-key KEY --project ID --receiver-listen 10.0.0.2:9000`
}

// Run measures and prints.
func (b benchmark) Run(ctx context.Context, s *screen, g *globals) error {
	o, err := b.options(s, g)
	if err != nil {
		return err
	}
	report, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	if s.json {
		return s.line(report, nil)
	}
	line, err := json.Marshal(report.Headline)
	if err != nil {
		return err
	}
	if err := report.Write(s.out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "\n%s\n", line)
	return err
}

func (b benchmark) options(s *screen, g *globals) (bench.Options, error) {
	o := bench.DefaultOptions()
	if b.Quick {
		o = o.Quick()
	}
	if b.Events != 0 {
		o.Events = b.Events
	}
	if b.Duration != 0 {
		o.Duration = b.Duration
	}
	if b.Clients != 0 {
		o.Clients = b.Clients
	}
	if b.Window != 0 {
		o.Window = b.Window
	}
	if b.Stored != 0 {
		o.Stored = b.Stored
	}
	if b.Limit != 0 {
		o.Limit = b.Limit
	}
	o.Scenarios, o.Listen = b.Scenarios, b.ReceiverListen
	o.Target = bench.Target{Kind: b.Target, URL: b.URL, Key: b.APIKey, Project: b.Project, Reached: b.ReceiverURL}
	for _, one := range g.Set {
		o.Args = append(o.Args, "--set", one)
	}
	if g.Config != "" {
		o.Args = append(o.Args, "--config", g.Config)
	}
	begun := time.Now()
	o.Told = func(sentence string) { s.note("%4.0fs  %s", time.Since(begun).Seconds(), sentence) }
	var err error
	if o.Binary, err = os.Executable(); err != nil {
		return o, err
	}
	if err := o.Validate(); err != nil {
		return o, usageError(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return o, nil
}

// nullGateway is the process that bench compares with; it starts it itself.
type nullGateway struct {
	Listen string   `required:"" placeholder:"ADDRESS" help:"The address to listen on."`
	To     []string `required:"" sep:"none" placeholder:"URL" help:"Where each event goes; repeatable."`
}

// Help shows the command in use.
func (nullGateway) Help() string {
	return `    millrace bench-null --listen 127.0.0.1:9001 --to http://127.0.0.1:9000/`
}

// Run runs it until it is told to end.
func (n nullGateway) Run(ctx context.Context) error {
	err := bench.RunNull(ctx, bench.NullConfig{Listen: n.Listen, To: n.To})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
