package streams

import (
	"context"
	"log/slog"
	"time"
)

// trouble paces and reports the repetition of what fails.
type trouble struct {
	log      *slog.Logger
	what     string
	failures int
}

func (s *subscription) newTrouble(what string) *trouble { return &trouble{log: s.log, what: what} }

// wait lets a moment pass, up to half a second, and logs the first failure of a row.
func (t *trouble) wait(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if t.failures == 0 {
		t.log.Warn("streams: cannot "+t.what+", trying again", "error", err)
	}
	t.failures++
	wait(ctx, min(20*time.Millisecond<<min(t.failures, 6), 500*time.Millisecond))
}

func (t *trouble) over() {
	if t.failures > 0 {
		t.log.Info("streams: can "+t.what+" again", "failures", t.failures)
	}
	t.failures = 0
}
