package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/sources"
)

// sourceList is a store with some sources.
type sourceList struct {
	mu  sync.Mutex
	all []millrace.Source
	err error
	// unread is what BrokerSources says of others beside them.
	unread error
	// asked counts how often the sources were read, and told how often it was
	// reported how many stand how.
	asked int
	told  []int
}

func (l *sourceList) SourceVersions(context.Context) (map[millrace.ID]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	versions := map[millrace.ID]int64{}
	for _, s := range l.all {
		versions[s.ID] = s.Version
	}
	return versions, l.err
}

func (l *sourceList) BrokerSources(context.Context) ([]millrace.Source, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return l.all, errors.Join(l.err, l.unread)
}

func (l *sourceList) ReportSources(_ context.Context, _ string, states []millrace.SourceState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, len(states))
	return l.err
}

// opened is a source that runs.
type opened struct {
	millrace.Source
	message.Subscriber
}

func (o opened) State() millrace.SourceState {
	return millrace.SourceState{SourceID: o.ID, Health: millrace.SourceHealthy}
}

// openings are sources that were opened and stopped.
type openings struct {
	happened chan string
	fails    error
	// drained lets those that were stopped end; nil: they do at once.
	drained chan struct{}
}

func (o *openings) open(s millrace.Source) (sources.Broker, func(), error) {
	if o.fails != nil {
		o.happened <- "failed " + s.Name
		return nil, nil, o.fails
	}
	o.happened <- "opened " + s.Name
	return opened{Source: s}, func() {
		if o.drained != nil {
			<-o.drained
		}
		o.happened <- "stopped " + s.Name
	}, nil
}

func (o *openings) want(t *testing.T, what ...string) {
	t.Helper()
	for _, w := range what {
		if got := <-o.happened; got != w {
			t.Fatalf("%s, want %s", got, w)
		}
	}
}

func newIntakes(l *sourceList, o *openings) *intakes {
	return &intakes{store: l, agent: "a", logger: slog.New(slog.DiscardHandler), open: o.open, running: map[millrace.ID]*intakeOf{}}
}

// find looks at a store that has these sources now.
func (in *intakes) find(t *testing.T, l *sourceList, all []millrace.Source) {
	t.Helper()
	l.all = all
	if err := in.look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSourcesRunAsTheyAreConfigured(t *testing.T) {
	l, o := &sourceList{}, &openings{happened: make(chan string, 10)}
	in := newIntakes(l, o)
	look := func(all ...millrace.Source) { in.find(t, l, all) }
	one := millrace.Source{ID: millrace.NewID(time.Now()), Name: "one", Version: 1}
	two := millrace.Source{ID: millrace.NewID(time.Now()), Name: "two", Version: 1}
	look(one)
	o.want(t, "opened one")
	look(one, two)
	o.want(t, "opened two")
	look(one, two)
	if l.asked != 2 {
		t.Errorf("the sources were read %d times, though nothing changed", l.asked)
	}
	one.Version, one.Name = 2, "new one"
	look(one, two)
	o.want(t, "stopped one", "opened new one")
	look(two)
	o.want(t, "stopped new one")
	in.end()
	o.want(t, "stopped two")
}

func TestASourceThatEndsIsToldOfUntilItHasEndedAndThenStartedAnew(t *testing.T) {
	s := millrace.Source{ID: millrace.NewID(time.Now()), Name: "s", Version: 1}
	l, o := &sourceList{all: []millrace.Source{s}}, &openings{happened: make(chan string, 10), drained: make(chan struct{})}
	in := newIntakes(l, o)
	look := func(all ...millrace.Source) { in.find(t, l, all) }
	look(s)
	o.want(t, "opened s")
	look()
	look(s)
	if n := len(in.states()); n != 1 || len(o.happened) > 0 {
		t.Errorf("%d sources are told of while one ends", n)
	}
	close(o.drained)
	o.want(t, "stopped s")
	eventually(t, "it is started anew", func() bool {
		look(s)
		return len(o.happened) > 0
	})
	o.want(t, "opened s")
	in.end()
	o.want(t, "stopped s")
	if n := len(in.states()); n != 0 {
		t.Errorf("%d sources are told of when all have ended", n)
	}
}

func TestASourceThatCannotBeOpenedIsUnhealthyAndIsTriedWhenItChanges(t *testing.T) {
	s := millrace.Source{ID: millrace.NewID(time.Now()), Name: "s", Version: 1}
	l, o := &sourceList{all: []millrace.Source{s}}, &openings{happened: make(chan string, 10), fails: errors.New("no such kind")}
	in := newIntakes(l, o)
	defer in.end()
	if err := in.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.want(t, "failed s")
	eventually(t, "the source is unhealthy", func() bool {
		state := in.states()[0]
		return state.SourceID == s.ID && state.Health == millrace.SourceUnhealthy && state.Error == "no such kind"
	})
}

func TestNothingIsToldWhereThereIsNoSource(t *testing.T) {
	s := millrace.Source{ID: millrace.NewID(time.Now()), Name: "s", Version: 1}
	l, o := &sourceList{}, &openings{happened: make(chan string, 10)}
	in := newIntakes(l, o)
	report := func(err error) {
		t.Helper()
		if l.err = err; !errors.Is(in.report(t.Context()), err) {
			t.Error("what the store said is not told")
		}
		l.err = nil
	}
	report(nil)
	in.find(t, l, []millrace.Source{s})
	o.want(t, "opened s")
	report(nil)
	in.end()
	o.want(t, "stopped s")
	report(errors.New("away")) // that there is none any more is told until it is heard
	report(nil)
	report(nil)
	if !slices.Equal(l.told, []int{1, 0, 0}) {
		t.Errorf("so many sources were told of: %v", l.told)
	}
}

func TestASourceThatCannotBeLoadedKeepsNoOtherFromRunning(t *testing.T) {
	s := millrace.Source{ID: millrace.NewID(time.Now()), Name: "s", Version: 1}
	l, o := &sourceList{all: []millrace.Source{s}, unread: errors.New("another's secrets cannot be opened")}, &openings{happened: make(chan string, 10)}
	in := newIntakes(l, o)
	if err := in.look(t.Context()); !errors.Is(err, l.unread) {
		t.Errorf("%v was said of the other", err)
	}
	o.want(t, "opened s")
	in.end()
	o.want(t, "stopped s")
}

func TestSourcesRunOnWhileTheStoreIsAway(t *testing.T) {
	s := millrace.Source{ID: millrace.NewID(time.Now()), Name: "s", Version: 1}
	l, o := &sourceList{all: []millrace.Source{s}}, &openings{happened: make(chan string, 10)}
	in := newIntakes(l, o)
	if err := in.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.want(t, "opened s")
	l.err = errors.New("away")
	if in.look(t.Context()) == nil {
		t.Error("that the store is away was not said")
	}
	if n := len(in.states()); n != 1 {
		t.Errorf("%d sources run", n)
	}
	in.end()
	o.want(t, "stopped s")
}
