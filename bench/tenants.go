package bench

import (
	"context"
	"fmt"
)

// tenantEndpoints are the endpoints of each project.
const tenantEndpoints = 10

// tenants has many projects, which get events in turn.
func (b *bench) tenants(ctx context.Context) ([]Result, error) {
	l := b.newLine(tenantEndpoints)
	l.ways = make([]way, b.options.Projects)
	err := toEach(ctx, len(l.ways), func(ctx context.Context, i int) (err error) {
		l.ways[i], err = b.tenant(ctx, l, i*tenantEndpoints)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := b.once(ctx, b.site, l); err != nil {
		return nil, err
	}
	r, err := b.measure(ctx, run{
		name: "tenants", site: b.site, line: l.number, plan: b.plan(b.site, l, "queued", payload),
		pace: b.closed(fanned(b.options.Events, tenantEndpoints), tenantEndpoints),
	})
	r.Note = fmt.Sprintf("%d projects", len(l.ways))
	return []Result{r}, err
}

// tenant makes one project, whose endpoints have the numbers from first on.
func (b *bench) tenant(ctx context.Context, l *line, first int) (way, error) {
	s := *b.site
	name := fmt.Sprintf("bench-%d-%d", l.number, first)
	var err error
	if s.project, err = s.api.createProject(ctx, name); err != nil {
		return way{}, err
	}
	for i := first; i < first+tenantEndpoints; i++ {
		e := newEndpoint{Name: fmt.Sprintf("%s-%d", name, i), URL: b.receiver.endpoint(l.number, i), OwnerID: name}
		if _, err := b.subscribed(ctx, &s, e, name); err != nil {
			return way{}, err
		}
	}
	w := fanWay(s.project, name, name)
	w.first = first
	return w, nil
}

// filters has many subscriptions to one type in a project, of which a filter
// lets one match each event.
func (b *bench) filters(ctx context.Context) ([]Result, error) {
	l, name := b.newLine(1), "bench-filtered"
	s, err := b.anotherProject(ctx, name)
	if err != nil {
		return nil, err
	}
	if l.ways, err = b.filtered(ctx, s, l, name); err != nil {
		return nil, err
	}
	warm := run{name: "warm-up", site: s, line: l.number, plan: b.plan(s, l, "queued", payload), pace: b.closed(b.options.Events/40, 1)}
	if _, err := b.exact(ctx, warm); err != nil {
		return nil, err
	}
	r, err := b.measure(ctx, run{
		name: "filters", site: s, line: l.number, plan: b.plan(s, l, "queued", payload), pace: b.closed(b.options.Events/4, 1),
	})
	r.Note = fmt.Sprintf("%d subscriptions", len(l.ways))
	return []Result{r}, err
}

// filtered makes the subscriptions, in turn to one of some endpoints.
func (b *bench) filtered(ctx context.Context, s *site, l *line, name string) ([]way, error) {
	endpoints := make([]string, tenantEndpoints)
	err := toEach(ctx, len(endpoints), func(ctx context.Context, i int) (err error) {
		e := newEndpoint{Name: fmt.Sprintf("%s-%d", name, i), URL: b.receiver.endpoint(l.number, i)}
		endpoints[i], err = s.api.createEndpoint(ctx, s.project, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	ways := make([]way, b.options.Subscriptions)
	return ways, toEach(ctx, len(ways), func(ctx context.Context, i int) error {
		at := i % len(endpoints)
		ways[i] = broadcastWay(s.project, name, i, at)
		return s.api.subscribe(ctx, s.project, newSubscription{Endpoint: endpoints[at], EventType: name, Body: map[string]string{"k": keyText(i)}})
	})
}

// anotherProject is a new one of our own gateway, or the one there is of a
// target.
func (b *bench) anotherProject(ctx context.Context, name string) (*site, error) {
	if b.gateway == nil {
		return b.site, nil
	}
	s := *b.site
	var err error
	s.project, err = s.api.createProject(ctx, name)
	return &s, err
}

// once sends one event each way, so that what is loaded at the first event of a
// project is.
func (b *bench) once(ctx context.Context, s *site, l *line) error {
	warm := run{name: "warm-up", site: s, line: l.number, plan: b.plan(s, l, "queued", payload), pace: b.closed(len(l.ways), l.fan)}
	warm.pace.limit = 0
	_, err := b.exact(ctx, warm)
	return err
}
