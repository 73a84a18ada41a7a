package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// nullName is the null gateway as a process and in results.
const nullName = "null"

// null measures the null gateway to so many endpoints: a process of its own,
// the same load, the same receiver.
func (b *bench) null(ctx context.Context, fan int) (result Result, err error) {
	if b.options.Binary == "" {
		return Result{}, errors.New("no program is named to run the null gateway as")
	}
	folder, err := os.MkdirTemp("", "millrace-bench-null-")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	free, err := freeAddresses(1)
	if err != nil {
		return Result{}, err
	}
	l := b.nullLine(fan)
	args := []string{"bench-null", "--listen", free[0]}
	for i := range fan {
		args = append(args, "--to", b.receiver.endpoint(l.number, i))
	}
	p := &process{name: nullName, binary: b.options.Binary, args: args, log: filepath.Join(folder, "log"), answers: "http://" + free[0]}
	if err := p.start(ctx); err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	s, err := nullSite(p)
	if err != nil {
		return Result{}, err
	}
	events := fanned(b.options.Events, fan)
	warm := run{name: "warm-up", site: s, line: l.number, plan: b.plan(s, l, "", payload), pace: b.closed(events/10, fan)}
	if _, err := b.exact(ctx, warm); err != nil {
		return Result{}, err
	}
	return b.measure(ctx, run{name: fmt.Sprintf("fanout-%d", fan), site: s, line: l.number, plan: b.plan(s, l, "", payload), pace: b.closed(events, fan)})
}

// nullLine is its line, one for each fan-out.
func (b *bench) nullLine(fan int) *line {
	if b.lines[-fan] == nil {
		l := b.newLine(fan)
		l.ways = []way{{path: "/", before: `{"event_type":"bench.event","data":`}}
		b.lines[-fan] = l
	}
	return b.lines[-fan]
}

// nullSite reads what its process uses; it keeps nothing, so nothing settles.
func nullSite(p *process) (*site, error) {
	a, err := newAPI(p.answers, "none")
	if err != nil {
		return nil, err
	}
	read := func(context.Context) (reading, error) {
		r := newReading()
		return r, r.process(p)
	}
	return &site{name: nullName, api: a, read: read, settle: func(context.Context) error { return nil }}, nil
}
