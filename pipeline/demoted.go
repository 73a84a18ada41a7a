package pipeline

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
)

// demoted is the router's logger: its own words are for debugging, because
// whatever matters to an operator is said by the stages. What is not logged
// costs nothing, unlike with Watermill's adapter, which prepares every line.
type demoted struct{ to *slog.Logger }

// Error says what failed.
func (d demoted) Error(msg string, err error, fields watermill.LogFields) {
	if d.on() {
		d.say(msg, fields.Add(watermill.LogFields{"error": err}))
	}
}

// Info says what happened.
func (d demoted) Info(msg string, fields watermill.LogFields) { d.say(msg, fields) }

// Debug says what happened in detail.
func (d demoted) Debug(msg string, fields watermill.LogFields) { d.say(msg, fields) }

// Trace says nothing: several lines for each message are no help.
func (d demoted) Trace(string, watermill.LogFields) {}

// With adds the fields to all that is said.
func (d demoted) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return demoted{d.to.With(pairs(fields)...)}
}

func (d demoted) on() bool { return d.to.Enabled(context.Background(), slog.LevelDebug) }

func (d demoted) say(msg string, fields watermill.LogFields) {
	if d.on() {
		d.to.Debug(msg, pairs(fields)...)
	}
}

func pairs(fields watermill.LogFields) []any {
	all := make([]any, 0, 2*len(fields))
	for key, value := range fields {
		all = append(all, key, value)
	}
	return all
}
