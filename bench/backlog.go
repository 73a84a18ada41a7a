package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The others are a project that gets some events while another's backlog is
// drained.
const (
	othersRate  = 50 // a second
	othersLimit = 2 * time.Minute
)

// backlog fills the queues while no agent runs, starts one, and measures how
// fast it drains them, and how long new events of another project take
// meanwhile, against how long they took before.
func (b *bench) backlog(ctx context.Context) ([]Result, error) {
	flood, err := b.lineTo(ctx, 1)
	if err != nil {
		return nil, err
	}
	others, err := b.anotherProject(ctx, "bench-others")
	if err != nil {
		return nil, err
	}
	line, err := b.fanLine(ctx, others, 1)
	if err != nil {
		return nil, err
	}
	before, err := b.measure(ctx, run{
		name: "before the backlog", site: others, line: line.number, plan: b.plan(others, line, "queued", payload), pace: b.steadily(othersRate),
	})
	if err != nil {
		return nil, err
	}
	filling := run{
		name: "backlog", site: b.site, line: flood.number, plan: b.plan(b.site, flood, "queued", payload),
		pace: pace{events: 5 * b.options.Events, limit: 3 * b.options.Duration},
	}
	meanwhile := run{
		name: "backlog-others", site: others, line: line.number, plan: b.plan(others, line, "queued", payload),
		pace: pace{events: int(othersLimit.Seconds()) * othersRate, every: time.Second / othersRate},
	}
	drained, new, err := b.drain(ctx, filling, meanwhile)
	if err != nil {
		return nil, err
	}
	new.Note = fmt.Sprintf("p50 %.1f, p99 %.1f times what it was before", ratio(new.EndToEnd.P50, before.EndToEnd.P50), ratio(new.EndToEnd.P99, before.EndToEnd.P99))
	return []Result{drained, new}, nil
}

// drain fills by one run without an agent, and drains it beside another.
func (b *bench) drain(ctx context.Context, filling, meanwhile run) (drained, beside Result, err error) {
	agent := b.gateway.role(agentRole)
	if err := agent.stop(); err != nil {
		return drained, beside, err
	}
	before, err := b.gateway.read(ctx)
	if err != nil {
		return drained, beside, errors.Join(err, agent.start(ctx))
	}
	l, err := b.send(ctx, filling)
	if err = errors.Join(err, agent.start(ctx)); err != nil {
		return drained, beside, err
	}
	meanwhile.pace.stop = l.complete
	other, err := b.exact(ctx, meanwhile)
	if err != nil {
		return drained, beside, fmt.Errorf("%s: %w", meanwhile.name, err)
	}
	if err := b.finish(ctx, filling, l); err != nil {
		return drained, beside, fmt.Errorf("%s: %w", filling.name, err)
	}
	after, err := b.gateway.read(ctx)
	if err != nil {
		return drained, beside, err
	}
	drained = filling.result(l, after.since(before, int(l.events.Load()+other.events.Load())))
	beside = meanwhile.result(other, Cost{})
	beside.Cost = nil              // both are in the other's
	drained.EndToEnd = Quantiles{} // it waited for the agent
	drained.PerS = float64(drained.Events) / time.Duration(l.lastDone.Load()-l.firstArrival()).Seconds()
	drained.Deliveries = drained.PerS
	return drained, beside, nil
}
