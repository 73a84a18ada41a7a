package app

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/sources"
)

// brokerSources is where the sources stand that read brokers, and where it is
// told how they are.
type brokerSources interface {
	// SourceVersions are the versions of all sources that are to run.
	SourceVersions(ctx context.Context) (map[millrace.ID]int64, error)
	// BrokerSources reads them, their secrets in clear.
	BrokerSources(ctx context.Context) ([]millrace.Source, error)
	ReportSources(ctx context.Context, agent string, states []millrace.SourceState) error
}

// intakes runs the sources of the database that read brokers, each by itself:
// what one of them waits for is nothing to the others.
type intakes struct {
	store  brokerSources
	agent  string
	logger *slog.Logger
	// open starts a source; the answer stops it, which takes as long as what
	// is in flight.
	open func(millrace.Source) (sources.Broker, func(), error)

	told bool // the store may have a report of this agent's

	mu      sync.Mutex // held to write running, and by others to read it
	running map[millrace.ID]*intakeOf
	ending  sync.WaitGroup
}

// intakeOf is one source that runs, or is about to.
type intakeOf struct {
	version int64
	want    chan millrace.Source // the newest configuration; closed: end
	ending  bool                 // want is closed
	ended   chan struct{}        // closed when nothing of it runs any more

	mu     sync.Mutex
	source millrace.Source
	broker sources.Broker // nil while it does not run
	failed error
}

// How often the sources are looked at, and how often it is told how they are.
const (
	lookAtSources = 500 * time.Millisecond
	reportSources = 2 * time.Second
)

// watch keeps the sources running as they are configured, until ctx ends.
func (in *intakes) watch(ctx context.Context) {
	var reported time.Time
	for ctx.Err() == nil {
		if err := in.look(ctx); err != nil && ctx.Err() == nil {
			in.logger.Warn("the sources could not be looked at", "error", err)
		}
		if time.Since(reported) >= reportSources {
			reported = time.Now()
			if err := in.report(ctx); err != nil && ctx.Err() == nil {
				in.logger.Warn("the sources' state could not be told", "error", err)
			}
		}
		wait(ctx, lookAtSources)
	}
}

// report tells how the sources stand. Where there are none, and none was told
// of before, there is nothing to tell.
func (in *intakes) report(ctx context.Context) error {
	states := in.states()
	if len(states) == 0 && !in.told {
		return nil
	}
	err := in.store.ReportSources(ctx, in.agent, states)
	in.told = err != nil || len(states) > 0
	return err
}

// look starts, changes and ends what was created, changed and deleted.
func (in *intakes) look(ctx context.Context) error {
	versions, err := in.store.SourceVersions(ctx)
	if err != nil {
		return err
	}
	for id, of := range in.running {
		if _, there := versions[id]; !there {
			of.end()
		}
		if of.over() {
			in.note(id, nil)
		}
	}
	changed := false
	for id, version := range versions {
		changed = changed || in.running[id].differs(version)
	}
	if !changed {
		return nil
	}
	all, err := in.store.BrokerSources(ctx) // those that cannot be opened are in the error alone
	for _, s := range all {
		if in.running[s.ID].differs(s.Version) {
			in.change(s)
		}
	}
	return err
}

// differs tells whether a source is to be started or changed. One that is
// about to end is started anew when it has ended.
func (of *intakeOf) differs(version int64) bool {
	return of == nil || (of.version != version && !of.ending)
}

// end lets what runs end; it goes on for as long as what is in flight.
func (of *intakeOf) end() {
	if !of.ending {
		of.ending = true
		close(of.want)
	}
}

func (of *intakeOf) over() bool {
	select {
	case <-of.ended:
		return true
	default:
		return false
	}
}

// change gives a source its new configuration.
func (in *intakes) change(s millrace.Source) {
	of := in.running[s.ID]
	if of == nil {
		of = &intakeOf{want: make(chan millrace.Source, 1), ended: make(chan struct{})}
		in.note(s.ID, of)
		in.ending.Go(func() { in.keep(of) })
	}
	of.version = s.Version
	select {
	case <-of.want: // an older one that was not taken up yet
	default:
	}
	of.want <- s
}

// note writes down that a source runs, or with nil that it does not.
func (in *intakes) note(id millrace.ID, of *intakeOf) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if of == nil {
		delete(in.running, id)
	} else {
		in.running[id] = of
	}
}

// keep runs one source as it is wanted.
func (in *intakes) keep(of *intakeOf) {
	defer close(of.ended)
	stop := func() {}
	for s := range of.want {
		stop()
		broker, end, err := in.open(s)
		if err != nil {
			in.logger.Warn("a source cannot be read", "source", s.ID, "name", s.Name, "error", err)
			end = func() {}
		}
		of.is(s, broker, err)
		stop = end
	}
	stop()
}

func (of *intakeOf) is(s millrace.Source, b sources.Broker, err error) {
	of.mu.Lock()
	defer of.mu.Unlock()
	of.source, of.broker, of.failed = s, b, err
}

// end ends all sources, once watch has ended: what is in flight is settled.
func (in *intakes) end() {
	for _, of := range in.running {
		of.end()
	}
	in.ending.Wait()
	for id := range in.running {
		in.note(id, nil)
	}
}

// states are how the sources stand, as this agent sees them.
func (in *intakes) states() []millrace.SourceState {
	var states []millrace.SourceState
	for _, s := range in.all() {
		states = append(states, s.state)
	}
	return states
}

// seen is a source and how it stands.
type seen struct {
	source millrace.Source
	state  millrace.SourceState
}

func (in *intakes) all() []seen {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := make([]seen, 0, len(in.running))
	for id, of := range in.running {
		all = append(all, of.seen(id))
	}
	slices.SortFunc(all, func(a, b seen) int { return cmp.Compare(a.state.SourceID.String(), b.state.SourceID.String()) })
	return all
}

func (of *intakeOf) seen(id millrace.ID) seen {
	of.mu.Lock()
	defer of.mu.Unlock()
	switch {
	case of.broker != nil:
		return seen{of.source, of.broker.State()}
	case of.failed != nil:
		return seen{of.source, millrace.SourceState{SourceID: id, Health: millrace.SourceUnhealthy, Error: of.failed.Error(), Lag: -1, At: time.Now()}}
	}
	return seen{of.source, millrace.SourceState{SourceID: id, Health: millrace.SourceConnecting, Lag: -1, At: time.Now()}}
}
