package main

import (
	"context"
	"strings"

	"github.com/millrace-dev/millrace/app"
)

type endpoint struct {
	Create createEndpoint `cmd:"" help:"Create an endpoint and subscribe it."`
	List   listEndpoints  `cmd:"" help:"List the endpoints."`
}

type createEndpoint struct {
	access
	Target      string   `arg:"" name:"url" help:"Where deliveries go."`
	Name        string   `placeholder:"NAME" help:"What it is called (default: its URL)."`
	Types       []string `default:"*" help:"Event types it subscribes to: names, prefixes such as order.*, or * (default ${default})."`
	NoSubscribe bool     `help:"Make no subscription: it gets what is sent to it by its id."`
	Owner       string   `placeholder:"ID" help:"Whose it is, for events that are fanned out by owner."`
	Secret      string   `placeholder:"SECRET" help:"What signs its deliveries (default: one is made)."`
}

// Help shows the command in use.
func (createEndpoint) Help() string {
	return `The secret is shown once.

    millrace endpoint create https://example.com/hook --types 'order.*'`
}

// Run creates an endpoint.
func (e createEndpoint) Run(ctx context.Context, s *screen) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if e.Name == "" {
		e.Name = e.Target
	}
	made, err := c.CreateEndpoint(ctx, app.NewEndpoint{URL: e.Target, Name: e.Name, OwnerID: e.Owner, Secret: e.Secret})
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
