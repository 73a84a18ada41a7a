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
	run  func(ctx context.Context) ([]Result, error)
}

// payload is the size of an event's data, in bytes, where nothing else is said.
const payload = 1024

// window is how many events are on their way in a closed loop: enough for
// batches at each stage, and no backlog.
const window = 512

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
		{"fanout-1", "End to end, one endpoint, and the null gateway beside it.", false, func(ctx context.Context) ([]Result, error) { return b.rounds(ctx, 1) }},
		{"fanout-10", "End to end, ten endpoints, and the null gateway beside it.", false, func(ctx context.Context) ([]Result, error) { return b.rounds(ctx, 10) }},
		{"fanout-100", "End to end, a hundred endpoints, 100 events a second.", false, func(ctx context.Context) ([]Result, error) { return b.steady(ctx, 100, 100) }},
		{"steady-50", "Latency at 50 events a second.", false, func(ctx context.Context) ([]Result, error) { return b.steady(ctx, 1, 50) }},
		{"steady-500", "Latency at 500 events a second.", false, func(ctx context.Context) ([]Result, error) { return b.steady(ctx, 1, 500) }},
	}
}

// closed is a closed loop of so many events, which Duration may end.
func (b *bench) closed(events int) pace {
	return pace{events: max(events, 1), window: window, limit: b.options.Duration}
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
	warm := run{name: "warm-up", site: b.site, line: l.number, plan: b.plan(b.site, l, "queued", payload), pace: b.closed(b.options.Events / 10 / fan)}
	_, err = b.play(ctx, warm)
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
			name: fmt.Sprintf("fanout-%d", fan), site: b.site, line: l.number, plan: b.plan(b.site, l, "queued", payload), pace: b.closed(b.options.Events / fan),
		})
		if err != nil {
			return nil, err
		}
		nulls, ours = append(nulls, null), append(ours, r)
	}
	return []Result{median(nulls), median(ours)}, nil
}

// median is the result with the median rate.
func median(all []Result) Result {
	slices.SortFunc(all, func(a, b Result) int { return int(a.PerS*1000) - int(b.PerS*1000) })
	m := all[len(all)/2]
	m.Runs = len(all)
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
