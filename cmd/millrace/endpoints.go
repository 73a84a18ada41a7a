package main

import (
	"context"
	"strings"

	millrace "github.com/millrace-dev/millrace"
)

type endpoint struct {
	Create createEndpoint `cmd:"" help:"Create an endpoint and subscribe it."`
	List   listEndpoints  `cmd:"" help:"List the endpoints."`
}

type createEndpoint struct {
	access
	Target      string   `arg:"" optional:"" name:"url" help:"Where deliveries go, if that is a URL."`
	From        string   `placeholder:"FILE" help:"Members of an endpoint in JSON, as the API takes them, such as a broker's; - reads standard input."`
	Name        string   `placeholder:"NAME" help:"What it is called (default: as the file says, or its URL)."`
	Types       []string `default:"*" help:"Event types it subscribes to: names, prefixes such as order.*, or * (default ${default})."`
	NoSubscribe bool     `help:"Make no subscription: it gets what is sent to it by its id."`
	Owner       string   `placeholder:"ID" help:"Whose it is, for events that are fanned out by owner."`
	Secret      string   `placeholder:"SECRET" help:"What signs its deliveries (default: one is made)."`
}

// Help shows the command in use.
func (createEndpoint) Help() string {
	return `The secret is shown once. A broker is described by a file:

    millrace endpoint create https://example.com/hook --types 'order.*'
    millrace endpoint create --from kafka.json

where kafka.json is, for example:

    {"name": "orders", "type": "kafka",
      "kafka": {"brokers": ["127.0.0.1:9092"], "topic_name": "orders"}}`
}

// Run creates an endpoint.
func (e createEndpoint) Run(ctx context.Context, s *screen) error {
	if e.Target == "" && e.From == "" {
		return usageError("name the endpoint's URL, or describe it by --from; see millrace endpoint create --help")
	}
	members, err := e.members()
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	made, err := c.CreateEndpointOf(ctx, members)
	if err != nil {
		return err
	}
	subscribed := "nothing"
	if !e.NoSubscribe {
		if err := c.Subscribe(ctx, made.Is, e.Types); err != nil {
			return err
		}
		subscribed = strings.Join(e.Types, ", ")
	}
	return s.data(made, func() {
		secret := ""
		for _, one := range made.Is.Secrets {
			secret = one.Value + "   (shown this once)"
		}
		s.pairs("endpoint", made.Is.ID, "URL", made.Is.URL, "secret", secret, "subscribed to", subscribed)
	})
}

// members is the endpoint as the API takes it: what the file says, and over it
// what the command line does.
func (e createEndpoint) members() (map[string]any, error) {
	members := map[string]any{}
	if e.From != "" {
		if err := readJSON(e.From, &members); err != nil {
			return nil, err
		}
	}
	for name, value := range map[string]string{"url": e.Target, "name": e.Name, "owner_id": e.Owner, "secret": e.Secret} {
		if value != "" {
			members[name] = value
		}
	}
	if members["name"] == nil && e.Target != "" {
		members["name"] = e.Target
	}
	for _, kind := range millrace.SinkKinds {
		if _, given := members[string(kind)]; given && members["type"] == nil {
			members["type"] = string(kind)
		}
	}
	return members, nil
}

type listEndpoints struct {
	access
	Search string `arg:"" optional:"" help:"Part of the name or URL."`
}

// Help shows the command in use.
func (listEndpoints) Help() string {
	return `    millrace endpoint list
    millrace endpoint list example.com --json`
}

// Run lists the endpoints.
func (e listEndpoints) Run(ctx context.Context, s *screen) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.Endpoints(ctx, e.Search)
	if err != nil {
		return err
	}
	return s.data(found, func() {
		var rows [][]string
		for _, e := range found {
			rows = append(rows, []string{e.Is.ID, e.Is.Name, e.Is.URL, e.Is.Status})
		}
		s.table("There is no such endpoint; millrace endpoint create makes one.", "ID\tNAME\tURL\tSTATUS", rows)
	})
}
