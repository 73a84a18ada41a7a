package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace/app"
)

type tail struct {
	access
	Type     string `placeholder:"TYPE" help:"Only of events of this type, or with a prefix such as order.*."`
	Endpoint string `placeholder:"ID" help:"Only of this endpoint."`
	Count    int    `placeholder:"N" help:"End after so many lines."`
}

// Help shows the command in use.
func (tail) Help() string {
	return `It begins now, and is about a second behind, so that nothing is passed over.

    millrace tail
    millrace tail --type 'order.*' --json`
}

// Run follows the log until it is told to end.
func (t tail) Run(ctx context.Context, s *screen) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	defer c.Close()
	shown := 0
	return app.Following{
		Client: c, Interval: 500 * time.Millisecond,
		Ready: func() { s.note("Following the deliveries of project %s; Ctrl-C ends it.", c.Access().ProjectID) },
		Away: func(err error) {
			if err == nil {
				s.note("The API answers again; nothing was passed over.")
				return
			}
			s.note("%v; asking again", err)
		},
		Each: func(f app.Item[app.FactRow]) bool {
			if !t.wanted(f.Is) {
				return true
			}
			_ = s.line(f, func() { s.say("%s", factLine(f.Is)) })
			shown++
			return shown != t.Count
		},
	}.Run(ctx)
}

func (t tail) wanted(f app.FactRow) bool {
	if t.Endpoint != "" && f.EndpointID != t.Endpoint {
		return false
	}
	prefix, any := strings.CutSuffix(t.Type, "*")
	return t.Type == "" || f.EventType == t.Type || any && strings.HasPrefix(f.EventType, prefix)
}

// factLine is a fact in one line.
func factLine(f app.FactRow) string {
	line := fmt.Sprintf("%s  %-9s  %s", f.At.Local().Format("15:04:05.000"), strings.ReplaceAll(f.State, "_", " "), f.EventType)
	if a := f.Attempt; a != nil {
		answer := strings.ReplaceAll(a.Outcome, "_", " ")
		if a.StatusCode > 0 {
			answer = strconv.Itoa(a.StatusCode)
		}
		line += fmt.Sprintf("  try %d to %s: %s in %.0f ms", f.Turn, a.URL, answer, a.LatencySeconds*1000)
		if a.Error != "" {
			line += ", " + strings.TrimSuffix(a.Error, ".")
		}
	} else {
		line += "  " + f.Kind
		if f.Reason != "" {
			line += " (" + f.Reason + ")"
		}
	}
	if f.NextAttemptAt != nil {
		line += ", again at " + f.NextAttemptAt.Local().Format("15:04:05")
	}
	return line + "  delivery " + f.DeliveryID
}
