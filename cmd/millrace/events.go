package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
)

type send struct {
	access
	Type        string            `arg:"" optional:"" help:"The event's type, such as order.paid. Without it, events are read as NDJSON."`
	Payload     string            `arg:"" optional:"" name:"data" default:"{}" help:"Its data: JSON, or @FILE, or - for standard input (default ${default})."`
	File        string            `short:"f" placeholder:"FILE" help:"Read events as NDJSON from a file instead of standard input."`
	Endpoint    string            `placeholder:"ID" help:"Send it to this endpoint only."`
	Owner       string            `placeholder:"ID" help:"Send it to the endpoints of this owner only."`
	Key         string            `name:"idempotency-key" placeholder:"KEY" help:"The same key again is the same event."`
	Header      map[string]string `short:"H" sep:"none" mapsep:"none" placeholder:"NAME=VALUE" help:"A header of its deliveries; repeatable."`
	Ack         string            `placeholder:"LEVEL" help:"When it counts as taken: queued or persisted (default: as the project says)."`
	Concurrency int               `default:"4" help:"How many batches of NDJSON are under way at once (default ${default})."`
}

// Help shows the command in use.
func (send) Help() string {
	return `A line of NDJSON has the members of POST /events: {"event_type": …, "data": …, "endpoint_id"?, "owner_id"?, "custom_headers"?, "idempotency_key"?}. It fails (exit code 1) if any event was not taken.

    millrace send order.paid '{"id": 42}'
    millrace send order.paid @order.json --idempotency-key order-42-paid
    millrace send --file events.ndjson`
}

// Run sends one event or many.
func (e send) Run(ctx context.Context, s *screen) error {
	if e.Type != "" && e.File != "" {
		return usageError("an event comes from the arguments or from --file, not from both")
	}
	if e.Type == "" && (e.Endpoint != "" || e.Owner != "" || e.Key != "" || len(e.Header) > 0) {
		return usageError("--endpoint, --owner, --idempotency-key and --header are of one event; in NDJSON each line says its own")
	}
	if !millrace.AckLevel(e.Ack).Valid() {
		return usageError(fmt.Sprintf("--ack must be queued or persisted, not %q", e.Ack))
	}
	if e.Type == "" && e.File == "" && terminal(os.Stdin) {
		return usageError("name the event's type, or give events as NDJSON by --file or standard input; see millrace send --help")
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if e.Type != "" {
		return e.one(ctx, s, c)
	}
	return e.many(ctx, s, c)
}

func (e send) one(ctx context.Context, s *screen, c *app.Client) error {
	payload, err := e.payload()
	if err != nil {
		return err
	}
	r, err := c.Send(ctx, app.NewEvent{
		Type: e.Type, EndpointID: e.Endpoint, OwnerID: e.Owner, Headers: e.Header, IdempotencyKey: e.Key, Data: payload,
	}, e.Ack)
	if err != nil {
		return err
	}
	return s.data(r, func() {
		if r.Is.Duplicate {
			s.say("%s   a duplicate: this is the event that had the key first", r.Is.ID)
			return
		}
		s.say("%s   %s", r.Is.ID, r.Is.Ack)
	})
}

func (e send) payload() ([]byte, error) {
	switch {
	case e.Payload == "-":
		return io.ReadAll(os.Stdin)
	case len(e.Payload) > 1 && e.Payload[0] == '@':
		return os.ReadFile(e.Payload[1:])
	}
	return []byte(e.Payload), nil
}

// refusalsShown is how many refused lines are told one by one.
const refusalsShown = 10

func (e send) many(ctx context.Context, s *screen, c *app.Client) error {
	in := os.Stdin
	if e.File != "" && e.File != "-" {
		file, err := os.Open(e.File)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	bar := newBar(s.err, in)
	refused := 0
	counts, err := app.Sending{
		Client: c, Concurrency: e.Concurrency, Ack: e.Ack, Progress: bar.show,
		Refused: func(line int, reason string) {
			if refused++; refused <= refusalsShown {
				bar.clear()
				s.note("line %d: %s", line, reason)
			}
		},
	}.Run(ctx, in)
	bar.clear()
	if refused > refusalsShown {
		s.note("and %d more were refused", refused-refusalsShown)
	}
	told := s.data(counts, func() {
		s.say("%d sent, %d duplicates, %d failed", counts.Sent, counts.Duplicates, counts.Failed)
	})
	switch {
	case err != nil:
		return fmt.Errorf("stopped before the end: %w", err)
	case counts.Failed > 0:
		return errors.Join(told, alreadySaid{})
	}
	return told
}

type replay struct {
	access
	Event string `arg:"" help:"The event's id."`
}

// Help shows the command in use.
func (replay) Help() string {
	return `It is matched with the subscriptions of now; each match is a new delivery under the same webhook-id.

    millrace replay 019e0b3c-7e80-7000-8000-000000000001`
}

// Run replays an event.
func (e replay) Run(ctx context.Context, s *screen) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Replay(ctx, e.Event)
	if err != nil {
		return err
	}
	return s.data(r, func() { s.say("%s (%s) is delivered again, to all that match it now.", r.Is.EventID, r.Is.EventType) })
}
