package app

import (
	"context"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

const (
	// startPatience is how long a process that starts waits for stores that
	// come up with it, for all of them together.
	startPatience = 10 * time.Second
	// startAgain is how often they are tried meanwhile.
	startAgain = 250 * time.Millisecond
)

// startup opens the stores of a process that starts. The zero startup tries
// each once.
type startup struct {
	until time.Time
	again time.Duration
	warn  func(msg string, args ...any)
}

// open tries to open a store until it answers, refuses for a reason that
// waiting does not mend, or the time is over. It says once that it waits.
func (s startup) open(ctx context.Context, what string, try func(ctx context.Context) error) error {
	err := try(ctx)
	if millrace.IsUnavailable(err) && time.Now().Before(s.until) {
		s.warn("waiting for "+what+", which does not answer yet", "until", s.until.Format(time.TimeOnly), "error", err)
	}
	for millrace.IsUnavailable(err) && time.Now().Before(s.until) && ctx.Err() == nil {
		wait(ctx, s.again)
		err = try(ctx)
	}
	return err
}
