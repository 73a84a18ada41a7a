package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/millrace-dev/millrace/app"
)

type source struct {
	Create createSource `cmd:"" help:"Create a source: a URL for webhooks, or a broker to read."`
	List   listSources  `cmd:"" help:"List the sources."`
	Show   showSource   `cmd:"" help:"Show a source, and how its connection stands."`
}

type createSource struct {
	access
	Name     string `arg:"" help:"What it is called."`
	Provider string `enum:",github,shopify,twitter,stripe,slack,standard_webhooks" default:"" placeholder:"NAME" help:"Who sends: github, shopify, twitter, stripe, slack or standard_webhooks."`
	Secret   string `placeholder:"SECRET" help:"What the provider signs with."`
	From     string `placeholder:"FILE" help:"Members of a source in JSON, as the API takes them; - reads standard input."`
}

// Help shows the command in use.
func (createSource) Help() string {
	return `It prints the URL to give to who sends. A broker is described by a file:

    millrace source create GitHub --provider github --secret correct-horse-battery
    millrace source create Orders --from kafka.json

where kafka.json is, for example:

    {"pub_sub": {"type": "kafka", "kafka": {"brokers": ["127.0.0.1:9092"],
      "consumer_group_id": "millrace", "topic_name": "orders"}}}`
}

// Run creates a source.
func (c createSource) Run(ctx context.Context, s *screen) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	members, err := c.members()
	if err != nil {
		return err
	}
	made, err := client.CreateSource(ctx, members)
	if err != nil {
		return err
	}
	if made.Is.PubSub == nil && made.Is.Verifier.Type == "noop" {
		s.note("Nothing verifies what is sent to it: whoever knows the URL can. See --provider, and verifier in --from.")
	}
	return s.data(made, func() { s.source(made.Is) })
}

// members is the source as the API takes it.
func (c createSource) members() (map[string]any, error) {
	members := map[string]any{}
	if c.From != "" {
		if err := readJSON(c.From, &members); err != nil {
			return nil, err
		}
	}
	members["name"] = c.Name
	if _, broker := members["pub_sub"]; members["type"] == nil && broker {
		members["type"] = "pub_sub"
	} else if members["type"] == nil {
		members["type"] = "http"
	}
	if c.Provider != "" {
		members["provider"] = c.Provider
	}
	if c.Secret != "" {
		members["verifier"] = map[string]any{"hmac": map[string]any{"secret": c.Secret}}
	}
	return members, nil
}

func readJSON(file string, into any) error {
	read := func() ([]byte, error) { return os.ReadFile(file) }
	if file == "-" {
		read = func() ([]byte, error) { return io.ReadAll(os.Stdin) }
	}
	text, err := read()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s is no JSON object: %w", file, err)
	}
	return nil
}

// source shows one source.
func (s *screen) source(r app.SourceRow) {
	s.pairs("source", r.ID, "name", r.Name, "fed by", fedBy(r), "URL", r.URL, "state", r.State, "error", r.Error, "waiting", lag(r))
}

// fedBy is who sends to a source, or what it reads.
func fedBy(r app.SourceRow) string {
	switch {
	case r.PubSub != nil:
		return r.PubSub.Type
	case r.Provider != "":
		return r.Provider
	}
	return r.Type
}

// lag is how many messages wait at the broker, if it tells.
func lag(r app.SourceRow) string {
	if r.Lag == nil {
		return ""
	}
	return strconv.FormatInt(*r.Lag, 10)
}

type listSources struct {
	access
	Search string `arg:"" optional:"" help:"Part of the name."`
}

// Help shows the command in use.
func (listSources) Help() string {
	return `    millrace source list
    millrace source list GitHub --json`
}

// Run lists the sources.
func (l listSources) Run(ctx context.Context, s *screen) error {
	c, err := l.client()
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.Sources(ctx, l.Search)
	if err != nil {
		return err
	}
	return s.data(found, func() {
		var rows [][]string
		for _, f := range found {
			rows = append(rows, []string{f.Is.ID, f.Is.Name, fedBy(f.Is), f.Is.State, shortened(f.Is.Error, 60)})
		}
		s.table("There is no such source; millrace source create makes one.", "ID\tNAME\tFED BY\tSTATE\tERROR", rows)
	})
}

type showSource struct {
	access
	ID string `arg:"" help:"Its id."`
}

// Help shows the command in use.
func (showSource) Help() string {
	return `    millrace source show 019e0b3c-7e80-7000-8000-000000000005`
}

// Run shows a source.
func (w showSource) Run(ctx context.Context, s *screen) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.Source(ctx, w.ID)
	if err != nil {
		return err
	}
	return s.data(found, func() { s.source(found.Is) })
}
