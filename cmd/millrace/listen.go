package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/misbehave"
)

type listen struct {
	access
	Port     int           `default:"9000" help:"The port to listen on (default ${default})."`
	Host     string        `default:"127.0.0.1" placeholder:"ADDRESS" help:"The address to listen on (default ${default})."`
	Endpoint string        `name:"endpoint-url" placeholder:"URL" help:"How Millrace reaches this machine, if not by http://<host>:<port>."`
	Status   int           `default:"200" help:"The status to answer with (default ${default})."`
	Delay    time.Duration `default:"0s" help:"How long to wait before the answer."`
	Count    int           `placeholder:"N" help:"End after so many deliveries."`
	Headers  bool          `help:"Show all headers."`

	Misbehave misbehave.Mode `placeholder:"MODE" help:"Do not answer, but do this, and show what comes of it; the modes stand above."`
}

// Help shows the command in use.
func (listen) Help() string {
	return `It makes an endpoint with a subscription to everything, or takes the one it made before and gives it a new secret.

    millrace listen --port 9000
    millrace listen --status 500 --count 3
    millrace listen --misbehave hang

The ways to misbehave, each of which a gateway must bear:

` + modes()
}

// modes lists the ways to misbehave, one a line.
func modes() string {
	var all strings.Builder
	for _, m := range misbehave.Modes() {
		fmt.Fprintf(&all, "    %-16s %s\n", m, m.Does())
	}
	return all.String()
}

// Run listens until it is told to end.
func (l listen) Run(ctx context.Context, s *screen) error {
	if l.Status < 200 || l.Status > 599 {
		return usageError(fmt.Sprintf("--status must be between 200 and 599, not %d", l.Status))
	}
	if l.Misbehave != "" && (l.Status != http.StatusOK || l.Delay != 0) {
		return usageError("--misbehave says what is done to a delivery, so --status and --delay cannot")
	}
	c, err := l.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return app.Listening{
		Client: c, Address: net.JoinHostPort(l.Host, strconv.Itoa(l.Port)), URL: l.Endpoint,
		Status: l.Status, Delay: l.Delay, Count: l.Count, Misbehave: l.Misbehave,
		Ready: func(e app.EndpointRow, reused bool) {
			which := "a new endpoint"
			if reused {
				which = "the endpoint of before, with a new secret"
			}
			s.note("Listening on %s as endpoint %s (%s), subscribed to every event.", e.URL, e.ID, which)
			if l.Misbehave != "" {
				s.note("It %s.", l.Misbehave.Does())
			}
			s.note("Ctrl-C ends it; meanwhile, and after, what cannot be delivered is tried again.\n")
		},
		Received: func(r app.Received) { _ = s.line(r, func() { l.show(s, r) }) },
	}.Run(ctx)
}

// show prints a delivery for people.
func (l listen) show(s *screen, r app.Received) {
	if r.Ending != nil {
		s.say("%s\n", ended(r))
		return
	}
	done := fmt.Sprintf("answered %d", r.Answered)
	if r.Misbehaves != "" {
		done = fmt.Sprintf("%s: %s", r.Misbehaves, r.Misbehaves.Does())
	}
	s.say("%s  %s   %s", clock(r.At), named(r), done)
	s.say("  webhook-id  %s", r.EventID)
	s.say("  %s", verdict(r))
	if l.Headers {
		for _, line := range headerLines(r) {
			s.say("  %s", line)
		}
	}
	s.say("%s\n", indented(r.Body))
}

func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }

// named says which delivery it is.
func named(r app.Received) string {
	switch {
	case r.EventType != "":
		return r.EventType
	case r.Method == "":
		return "no request"
	}
	return r.Method + " " + r.Path
}

// ended says what came of misbehaving.
func ended(r app.Received) string {
	how := r.Ending.Fault
	if how == "" {
		how = "the connection is kept"
	}
	return fmt.Sprintf("%s  %s   over after %s, %d bytes sent: %s",
		clock(r.At.Add(r.Ending.Took)), named(r), r.Ending.Took.Round(time.Millisecond), r.Ending.Sent, how)
}

// verdict says whether the signature holds, or why it does not.
func verdict(r app.Received) string {
	if r.Genuine() {
		return "signature verified (" + strings.Join(r.Verified, ", ") + ")"
	}
	return "signature NOT verified: " + strings.Join(r.Faults, "; ")
}

func headerLines(r app.Received) []string {
	var text bytes.Buffer
	_ = r.Header.Write(&text)
	return strings.Split(strings.TrimRight(strings.ReplaceAll(text.String(), "\r\n", "\n"), "\n"), "\n")
}

// shownBytes is how much of a body is shown.
const shownBytes = 4 << 10

// indented shows a body readably: JSON in lines, and what is no text by its
// size alone.
func indented(body []byte) string {
	var pretty bytes.Buffer
	switch {
	case len(body) > shownBytes:
		return fmt.Sprintf("  %d bytes, beginning with %q", len(body), body[:64])
	case json.Indent(&pretty, body, "  ", "  ") == nil:
		return "  " + pretty.String()
	case utf8.Valid(body):
		return "  " + strings.ReplaceAll(string(body), "\n", "\n  ")
	}
	return fmt.Sprintf("  %d bytes that are no text", len(body))
}
