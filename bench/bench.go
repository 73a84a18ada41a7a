// Package bench measures a gateway end to end: it starts Millrace, a process
// for each role, with stores of its own, loads it over HTTP, receives the
// deliveries, reconciles them, and says what each event cost. In the same run
// it measures a gateway that keeps nothing, by the same load: figures of two
// machines compare by their ratio to it. A run that lost, repeated or spoilt an
// event is an error, not a figure.
package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options bound a run and say what is measured.
type Options struct {
	// Events is how many events a closed loop sends, if Duration does not end
	// it first. The backlog has five times as many; slow receivers, large
	// payloads and large fan-outs get fewer.
	Events int
	// Duration is how long each steady load lasts, and a closed loop at most.
	Duration time.Duration
	// Clients are the connections that send at once.
	Clients int
	// Window is how many deliveries are on their way in a closed loop.
	Window int
	// Rounds is how often the headline's scenarios run; their medians count.
	Rounds int
	// Projects and Subscriptions are how many the scenarios of many tenants
	// have.
	Projects, Subscriptions int
	// Stored is how many events the log holds in the scenario growth; it is
	// compared with a hundredth of them.
	Stored int
	// Limit ends a run that takes longer, as on a machine that is far too
	// busy: it has no figures then.
	Limit time.Duration
	// Scenarios are the ones to run; empty: all but growth.
	Scenarios []string
	// Binary is the millrace that the roles and the null gateway run as.
	Binary string
	// Args go to each role.
	Args []string
	// Target is a running gateway to measure instead of one of our own.
	Target Target
	// Listen is the receiver's address.
	Listen string
	// Told hears what is going on, a sentence each.
	Told func(sentence string)

	// patience is how long nothing may arrive before what is missing is lost.
	patience time.Duration
}

// Target is a running gateway, driven through its REST API.
type Target struct {
	// Kind is millrace or convoy; empty: a Millrace of the benchmark's own.
	Kind string
	// URL is the API's, Key opens the project.
	URL, Key, Project string
	// Reached is the receiver's URL as the gateway sees it; empty: its address.
	Reached string
}

// DefaultOptions is a run of under five minutes.
func DefaultOptions() Options {
	return Options{
		Events: 20000, Duration: 10 * time.Second, Clients: 128, Window: 1024, Rounds: 3, Projects: 1000, Subscriptions: 10000, Stored: 10_000_000,
		Limit: 10 * time.Minute, Listen: "127.0.0.1:0", Told: func(string) {}, patience: 20 * time.Second,
	}
}

// Quick is a run of under 40 seconds: everything once, and less of it.
func (o Options) Quick() Options {
	o.Events, o.Duration, o.Rounds, o.Projects, o.Subscriptions, o.Stored = 2000, 2*time.Second, 1, 10, 200, 100_000
	return o
}

// Validate says all that is wrong with the options.
func (o Options) Validate() error {
	var faults []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	refuse(o.Events < 1 || o.Events > 1_000_000, "events must be between 1 and 1000000, not %d", o.Events)
	refuse(o.Duration < 100*time.Millisecond || o.Duration > time.Hour, "duration must be between 100ms and 1h, not %s", o.Duration)
	refuse(o.Clients < 1 || o.Clients > 4096, "clients must be between 1 and 4096, not %d", o.Clients)
	refuse(o.Window < 1, "window must be at least 1, not %d", o.Window)
	refuse(o.Limit <= 0, "limit must be longer than 0")
	refuse(o.Rounds < 1, "rounds must be at least 1, not %d", o.Rounds)
	refuse(o.Stored < 1000 || o.Stored > 1_000_000_000, "stored must be between 1000 and 1000000000, not %d", o.Stored)
	refuse(o.Projects < 1 || o.Subscriptions < 1, "projects and subscriptions must be at least 1")
	for _, name := range o.Scenarios {
		refuse(!slices.Contains(Scenarios(), name), "there is no scenario %q; there are %s", name, strings.Join(Scenarios(), ", "))
	}
	return errors.Join(append(faults, o.Target.validate())...)
}

func (t Target) validate() error {
	switch {
	case t.Kind == "":
		return nil
	case t.Kind != "millrace" && t.Kind != "convoy":
		return fmt.Errorf("the target must be millrace or convoy, not %q", t.Kind)
	case t.URL == "" || t.Key == "" || t.Project == "":
		return errors.New("a running target needs its URL, an API key and a project")
	}
	return nil
}

// bench is one run of the benchmark.
type bench struct {
	options  Options
	receiver *receiver
	gateway  *gateway // of our own; nil with a target
	site     *site

	linesUsed, runs int
	lines           map[int]*line // to so many endpoints
	results         []Result
}

// Run runs the scenarios, one after the other, and answers what they came to.
func Run(ctx context.Context, o Options) (report Report, err error) {
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("the run took longer than %s", o.Limit))
	defer cancel()
	b := &bench{options: o, lines: map[int]*line{}}
	if b.receiver, err = newReceiver(o.Listen, o.Target.Reached); err != nil {
		return Report{}, err
	}
	defer b.receiver.close()
	if err := b.open(ctx); err != nil {
		return Report{}, err
	}
	err = b.play(ctx)
	// What drains now may be one delivery too many.
	if err = errors.Join(err, b.close(), b.receiver.late()); err != nil {
		return Report{}, err
	}
	return newReport(b.results), nil
}

// play runs the scenarios that were asked for and can be.
func (b *bench) play(ctx context.Context) error {
	asked := b.options.Scenarios
	for _, s := range b.scenarios() {
		if !s.among(asked) || s.own && b.gateway == nil {
			continue
		}
		b.options.Told(s.name + ": " + s.says)
		results, err := s.run(ctx)
		if cause := context.Cause(ctx); cause != nil {
			err = cause // of whatever failed
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		b.results = append(b.results, results...)
	}
	return nil
}

// open starts a gateway of our own, or finds the target.
func (b *bench) open(ctx context.Context) error {
	if b.options.Target.Kind != "" {
		return b.openTarget()
	}
	b.options.Told("Starting PostgreSQL, Redis, egress, agent and server.")
	g, err := newGateway(ctx, setup{binary: b.options.Binary, args: b.options.Args})
	if err != nil {
		return err
	}
	a, err := newAPI(g.access.URL, g.access.APIKey)
	if err != nil {
		return errors.Join(err, g.close())
	}
	b.gateway = g
	b.site = &site{name: "millrace", api: a, project: g.access.ProjectID, ids: true, signs: true, read: g.read, settle: g.settle}
	return nil
}

// openTarget takes a running gateway, of which only the answers are known.
func (b *bench) openTarget() error {
	t := b.options.Target
	a, err := newAPI(t.URL, t.Key)
	if err != nil {
		return err
	}
	b.site = &site{
		name: t.Kind, api: a, project: t.Project, ids: t.Kind == "millrace", signs: true,
		read: func(context.Context) (reading, error) { return newReading(), nil }, settle: func(context.Context) error { return nil },
	}
	return nil
}

func (b *bench) close() error {
	if b.gateway == nil {
		return nil
	}
	return b.gateway.close()
}
