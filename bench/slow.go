package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace-dev/millrace/app"
)

// slowEndpoints share the load of slow receivers: more than one, as an agent
// bounds its requests to each.
const slowEndpoints = 8

// slow has receivers that take their time, and so many requests on their way
// that an agent's places are what limits it.
func (b *bench) slow(ctx context.Context) ([]Result, error) {
	l, err := b.endpointsLine(ctx, b.site, slowEndpoints)
	if err != nil {
		return nil, err
	}
	slots := app.DefaultConfig().Stages.Deliver.Concurrency
	var all []Result
	for _, delay := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		allowed := float64(slots) / delay.Seconds() // deliveries a second
		// As many as all places deliver in the time, in whole rounds.
		rounds := max(1, int(b.options.Duration*4/5/delay))
		p := b.plan(b.site, l, "queued", payload)
		p.delay = delay
		r, err := b.measure(ctx, run{
			name: fmt.Sprintf("slow-%d", delay.Milliseconds()), site: b.site, line: l.number, plan: p,
			pace: pace{events: min(b.options.Events, rounds*slots), window: 4 * slots, limit: b.options.Duration},
		})
		if err != nil {
			return nil, err
		}
		r.Note = fmt.Sprintf("%.2f of what %d places allow", r.Deliveries/allowed, slots)
		all = append(all, r)
	}
	return all, nil
}
