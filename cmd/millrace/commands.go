package main

import (
	"os"

	"github.com/alecthomas/kong"

	"github.com/millrace-dev/millrace/app"
)

// commands is the whole command line on one screen.
type commands struct {
	globals `group:"global"`

	Dev    dev    `cmd:"" group:"run" help:"Run the whole gateway in one process, with a PostgreSQL and a Redis of its own."`
	Server server `cmd:"" group:"run" help:"Run the HTTP server: events in, and the API."`
	Agent  agent  `cmd:"" group:"run" help:"Run the agent: it persists, fans out, delivers and retries."`
	Egress egress `cmd:"" group:"run" help:"Run the egress: the proxy that all deliveries leave through."`

	Send        send        `cmd:"" group:"use" help:"Send an event, or many from NDJSON."`
	Listen      listen      `cmd:"" group:"use" help:"Receive deliveries here, verify their signatures and show them."`
	Tail        tail        `cmd:"" group:"use" help:"Show deliveries as they happen."`
	Replay      replay      `cmd:"" group:"use" help:"Deliver an event once more, to all that match it now."`
	Endpoint    endpoint    `cmd:"" group:"use" help:"Create and list endpoints."`
	Source      source      `cmd:"" group:"use" help:"Create, list and show sources: inbound webhooks and brokers."`
	Key         key         `cmd:"" group:"use" help:"Create, list and revoke API keys."`
	DeadLetters deadLetters `cmd:"" group:"use" help:"List, show, redrive and discard what could not be processed."`

	Project project   `cmd:"" group:"operate" help:"Create and list projects."`
	Migrate migrate   `cmd:"" group:"operate" help:"Bring the database's schema up to date, or back."`
	KeyRing keyRing   `cmd:"" group:"operate" help:"Make keys that seal secrets, and rotate them."`
	Config  configure `cmd:"" group:"operate" help:"Check and print the configuration."`
	Rebuild rebuild   `cmd:"" group:"operate" help:"Work out all deliveries' states from their facts again."`

	Bench     benchmark   `cmd:"" group:"other" help:"Measure what the gateway does on this machine, and what it costs."`
	BenchNull nullGateway `cmd:"" hidden:"" help:"Run the gateway that keeps nothing, which bench compares with."`

	Version    showVersion `cmd:"" group:"other" help:"Print the version."`
	Completion completion  `cmd:"" group:"other" help:"Print a script that completes commands in your shell."`
}

var groups = []kong.Group{
	{Key: "run", Title: "Run it:"},
	{Key: "use", Title: "Use it, through the API:"},
	{Key: "operate", Title: "Operate it:"},
	{Key: "other", Title: "And:"},
	{Key: "access", Title: "Which Millrace (default: the one of `millrace dev`, by <data>/dev.json):"},
	{Key: "global", Title: "Flags of all commands:"},
}

// globals are the flags of all commands.
type globals struct {
	Config string   `env:"MILLRACE_CONFIG" placeholder:"FILE" help:"Configuration file (YAML); config.example.yml shows all of it."`
	Set    []string `sep:"none" placeholder:"KEY=VALUE" help:"Override one setting, such as server.listen=:80; repeatable."`
	JSON   bool     `name:"json" help:"Print data as JSON."`
}

func (g *globals) origins() app.Origins {
	return app.Origins{File: g.Config, Environ: os.Environ(), Flags: g.Set}
}

// load reads the configuration and judges all of it.
func (g *globals) load() (app.Config, error) { return app.Load(app.DefaultConfig(), g.origins()) }

// access are the flags of the commands that call the API.
type access struct {
	URL     string `group:"access" env:"MILLRACE_URL" placeholder:"URL" help:"The API's URL."`
	Project string `group:"access" env:"MILLRACE_PROJECT_ID" placeholder:"ID" help:"The project's id."`
	APIKey  string `group:"access" name:"api-key" env:"MILLRACE_API_KEY" placeholder:"KEY" help:"An API key of the project, or of the instance."`
	Data    string `group:"access" env:"MILLRACE_DATA" default:"${data}" placeholder:"FOLDER" help:"The data folder of millrace dev (default ${default})."`
}

func (a access) client() (*app.Client, error) {
	found, err := app.FindAccess(app.DevAccess{URL: a.URL, ProjectID: a.Project, APIKey: a.APIKey}, a.Data)
	if err != nil {
		return nil, err
	}
	return app.NewClient(found, programVersion()), nil
}
