package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// scenario is one question to the gateway.
type scenario struct {
	name string
	says string
	own  bool // it needs a gateway of our own
	rare bool // it takes long: only when it is asked for
	run  func(ctx context.Context) ([]Result, error)
}

// among tells whether the scenario runs when these are asked for.
func (s scenario) among(asked []string) bool {
	if len(asked) == 0 {
		return !s.rare
	}
	return slices.Contains(asked, s.name)
}

// payload is the size of an event's data, in bytes, where nothing else is said.
const payload = 1024

// Scenarios are the names of all, in their order.
func Scenarios() []string {
	var names []string
	for _, s := range (&bench{}).scenarios() {
		names = append(names, s.name)
	}
	return names
}

func (b *bench) scenarios() []scenario {
	return []scenario{
		{"idle", "Nothing to do.", true, false, b.idle},
		{"fanout-1", "End to end to one endpoint, and the null gateway.", false, false, func(ctx context.Context) ([]Result, error) { return b.rounds(ctx, 1) }},
		{"fanout-10", "End to end to 10 endpoints, and the null gateway.", false, false, func(ctx context.Context) ([]Result, error) { return b.rounds(ctx, 10) }},
		{"fanout-100", "To 100 endpoints, 100 events a second.", false, false, func(ctx context.Context) ([]Result, error) { return b.steady(ctx, 100, 100) }},
		{"steady-50", "50 events a second.", false, false, func(ctx context.Context) ([]Result, error) { return b.steady(ctx, 1, 50) }},
		{"steady-500", "500 events a second.", false, false, func(ctx context.Context) ([]Result, error) { return b.steady(ctx, 1, 500) }},
		{"ingest", "As fast as events are accepted, queued and persisted.", false, false, b.ingest},
		{"payload", "Payloads of 50 KiB.", false, false, b.large},
		{"slow", "Receivers that take 10, 100 and 1,000 ms.", false, false, b.slow},
		{"filters", "One project with many subscriptions, a filter each.", false, false, b.filters},
		{"tenants", "Many projects with 10 endpoints each.", true, false, b.tenants},
		{"backlog", "A backlog drained, and another project's events meanwhile.", true, false, b.backlog},
		{"growth", "The cost of an event in a log with few events, and with many.", true, true, b.growth},
	}
}

// closed is a closed loop of so many events to so many endpoints each, which
// Duration may end. So many deliveries are on their way as Window says, if that
// keeps all clients busy: enough for batches at each stage, and no backlog.
func (b *bench) closed(events, fan int) pace {
	return pace{events: max(events, 1), window: max(b.options.Window/fan, b.options.Clients), limit: b.options.Duration}
}

// lineTo is the site's line to so many endpoints, which scenarios share.
func (b *bench) lineTo(ctx context.Context, fan int) (*line, error) {
	if l := b.lines[fan]; l != nil {
		return l, nil
	}
	l, err := b.fanLine(ctx, b.site, fan)
	if err != nil {
		return nil, err
	}
	b.lines[fan] = l
	warm := run{name: "warm-up", site: b.site, line: l.number, plan: b.plan(b.site, l, "queued", payload), pace: b.closed(b.options.Events/10/fan, fan)}
	_, err = b.exact(ctx, warm)
	return l, err
}

// rounds measures a closed loop, the null gateway and ours in turn, so that
// what else the machine does meets both.
func (b *bench) rounds(ctx context.Context, fan int) ([]Result, error) {
	l, err := b.lineTo(ctx, fan)
	if err != nil {
		return nil, err
	}
	var nulls, ours []Result
	for range b.options.Rounds {
		null, err := b.null(ctx, fan)
		if err != nil {
			return nil, err
		}
		r, err := b.measure(ctx, run{
			name: fmt.Sprintf("fanout-%d", fan), site: b.site, line: l.number, plan: b.plan(b.site, l, "queued", payload), pace: b.closed(fanned(b.options.Events, fan), fan),
		})
		if err != nil {
			return nil, err
		}
		nulls, ours = append(nulls, null), append(ours, r)
	}
	return []Result{median(nulls), median(ours)}, nil
}

// fanned is how many events a closed loop to so many endpoints has.
func fanned(events, fan int) int { return events / (1 + fan/3) }

// median is the result with the median rate.
func median(all []Result) Result {
	slices.SortFunc(all, func(a, b Result) int { return int(a.PerS*1000) - int(b.PerS*1000) })
	m := all[len(all)/2]
	if m.Runs = len(all); m.Runs > 1 {
		m.Note = fmt.Sprintf("median of %d", m.Runs)
	}
	return m
}

// steady measures latencies at a rate that is kept whatever the answers take.
func (b *bench) steady(ctx context.Context, fan, rate int) ([]Result, error) {
	l, err := b.lineTo(ctx, fan)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("steady-%d", rate)
	if fan > 1 {
		name = fmt.Sprintf("fanout-%d", fan)
	}
	r, err := b.measure(ctx, run{name: name, site: b.site, line: l.number, plan: b.plan(b.site, l, "queued", payload), pace: b.steadily(rate)})
	return []Result{r}, err
}

func (b *bench) steadily(rate int) pace {
	return pace{events: max(1, int(b.options.Duration.Seconds()*float64(rate))), every: time.Second / time.Duration(rate)}
}

// ingest sends without regard to what has arrived, at both levels.
func (b *bench) ingest(ctx context.Context) ([]Result, error) {
	l, err := b.lineTo(ctx, 1)
	if err != nil {
		return nil, err
	}
	var all []Result
	for _, ack := range []string{"queued", "persisted"} {
		r, err := b.measure(ctx, run{
			name: "ingest-" + ack, site: b.site, line: l.number, plan: b.plan(b.site, l, ack, payload),
			pace: pace{events: b.options.Events, limit: b.options.Duration},
		})
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// large sends large payloads. (The small ones are those of fanout-1.)
func (b *bench) large(ctx context.Context) ([]Result, error) {
	l, err := b.lineTo(ctx, 1)
	if err != nil {
		return nil, err
	}
	r, err := b.measure(ctx, run{
		name: "payload-50k", site: b.site, line: l.number, plan: b.plan(b.site, l, "queued", 50<<10), pace: b.closed(b.options.Events/10, 1),
	})
	return []Result{r}, err
}
