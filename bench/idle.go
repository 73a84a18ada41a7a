package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// idle says how soon each role was ready, and what it uses when there is
// nothing to do.
func (b *bench) idle(ctx context.Context) ([]Result, error) {
	before, after := newReading(), newReading()
	if err := b.gateway.readProcesses(&before); err != nil {
		return nil, err
	}
	begun := time.Now()
	over := time.NewTimer(b.options.Duration)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	took := time.Since(begun)
	if err := b.gateway.readProcesses(&after); err != nil {
		return nil, err
	}
	var notes []string
	for _, p := range b.gateway.roles {
		note := fmt.Sprintf("%s: ready in %d ms", p.name, p.took.Milliseconds())
		if measured {
			share := 100 * (after.cpu[p.name] - before.cpu[p.name]).Seconds() / took.Seconds()
			note += fmt.Sprintf(", %.1f %% of a core, %d MB", share, after.peak[p.name]>>20)
		}
		notes = append(notes, note)
	}
	return []Result{{Scenario: "idle", Gateway: b.site.name, Runs: 1, Note: strings.Join(notes, "; ")}}, nil
}
