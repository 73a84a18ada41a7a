package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Result is one scenario's figures.
type Result struct {
	Scenario   string    `json:"scenario"`
	Gateway    string    `json:"gateway"`
	Events     int       `json:"events"`
	PerS       float64   `json:"events_per_s"`     // sent, delivered and answered
	Deliveries float64   `json:"deliveries_per_s"` // the same, by delivery
	Accepted   float64   `json:"accepted_per_s"`
	Request    Quantiles `json:"request"`    // until it was accepted
	EndToEnd   Quantiles `json:"end_to_end"` // until it arrived
	Cost       *Cost     `json:"cost,omitempty"`
	Runs       int       `json:"runs"` // that this is the median of
	Note       string    `json:"note,omitempty"`
}

// run is one load on one line of the receiver.
type run struct {
	name string
	site *site
	line int
	plan plan
	pace pace
}

// measure runs it, reconciles it, and says what it came to and cost.
func (b *bench) measure(ctx context.Context, r run) (Result, error) {
	before, err := r.site.read(ctx)
	if err != nil {
		return Result{}, err
	}
	l, err := b.exact(ctx, r)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", r.name, err)
	}
	after, err := r.site.read(ctx)
	if err != nil {
		return Result{}, err
	}
	return r.result(l, after.since(before, int(l.events.Load()))), nil
}

// exact sends the events of a run, waits for them at the receiver, and
// reconciles: whatever was lost, repeated or spoilt is an error.
func (b *bench) exact(ctx context.Context, r run) (*ledger, error) {
	l, err := b.send(ctx, r)
	if err != nil {
		return l, err
	}
	return l, b.finish(ctx, r, l)
}

// send sends the events of a run.
func (b *bench) send(ctx context.Context, r run) (*ledger, error) {
	l := newLedger(r.plan, r.pace.events, r.pace.window)
	if err := b.receiver.expect(r.line, l); err != nil {
		return l, err
	}
	load := &load{target: r.site.api.base, ledger: l, pace: r.pace, clients: b.options.Clients}
	err := load.send(ctx)
	l.seal()
	return l, err
}

// finish waits for what was sent, and reconciles.
func (b *bench) finish(ctx context.Context, r run, l *ledger) error {
	if err := b.await(ctx, l); err != nil {
		return err
	}
	settled := r.site.settle(ctx) // what is lost may still be on its way: the ledger says it better
	return errors.Join(l.reconcile(), b.receiver.stray(), settled)
}

// await waits until everything has arrived, or something that should not, or
// nothing arrives any more: reconcile says which.
func (b *bench) await(ctx context.Context, l *ledger) error {
	look := time.NewTicker(b.options.patience)
	defer look.Stop()
	for last := int64(-1); ; {
		select {
		case <-l.complete:
			return nil
		case <-l.faulted:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
		now := l.finished.Load()
		if now == last {
			return nil
		}
		last = now
	}
}

// result turns a reconciled ledger into figures.
func (r run) result(l *ledger, c Cost) Result {
	n := float64(l.events.Load())
	accepting, all := l.span()
	rate := func(n float64, d time.Duration) float64 { return n / max(d.Seconds(), 1e-9) }
	return Result{
		Scenario: r.name, Gateway: r.site.name, Events: int(n), PerS: rate(n, all), Deliveries: rate(n*float64(l.fan), all),
		Accepted: rate(n, accepting), Request: quantiles(l.requestTimes()), EndToEnd: quantiles(l.latencies()), Cost: &c, Runs: 1,
	}
}
