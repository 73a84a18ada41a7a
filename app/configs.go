package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
)

// Configs keeps the projects' configuration at hand. It hears of changes by
// broadcast and looks once a second; while PostgreSQL is away it answers with
// what it knows.
type Configs struct {
	store  snapshots
	logger *slog.Logger

	mu       sync.RWMutex
	projects map[millrace.ID]*project
}

type snapshots interface {
	Snapshot(ctx context.Context, project millrace.ID) (*millrace.Snapshot, error)
	ConfigVersions(ctx context.Context, projects []millrace.ID) (map[millrace.ID]int64, error)
}

// project is one project's place in the cache.
type project struct {
	mu      sync.RWMutex
	config  *handlers.Config
	loading *loading // nil: nobody loads it now
}

// loading is a load under way: whoever comes meanwhile waits for it and
// shares what comes of it.
type loading struct {
	done chan struct{} // closed when err is set
	err  error
}

// NewConfigs makes an empty cache.
func NewConfigs(store snapshots, logger *slog.Logger) *Configs {
	return &Configs{store: store, logger: logger, projects: map[millrace.ID]*project{}}
}

// Config is the project's configuration, at least as new as the version.
func (c *Configs) Config(ctx context.Context, id millrace.ID, atLeast int64) (*handlers.Config, error) {
	p := c.place(id)
	if config := p.at(atLeast); config != nil {
		return config, nil
	}
	return c.load(ctx, id, p, atLeast)
}

// Latest is the newest configuration there is.
func (c *Configs) Latest(ctx context.Context, id millrace.ID) (*handlers.Config, error) {
	versions, err := c.store.ConfigVersions(ctx, []millrace.ID{id})
	if err != nil {
		return nil, err
	}
	version, exists := versions[id]
	if !exists {
		c.forget(id)
		return nil, millrace.Errorf(millrace.CodeNotFound, "there is no such project")
	}
	return c.Config(ctx, id, version)
}

// Watch looks for changes once a second, and at once for each project that
// is heard of, until ctx ends.
func (c *Configs) Watch(ctx context.Context, changed <-chan millrace.ID) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-changed:
			if c.knows(id) {
				c.note(id, func() error { _, err := c.Latest(ctx, id); return err })
			}
		case <-tick.C:
			c.look(ctx)
		}
	}
}

func (c *Configs) look(ctx context.Context) {
	ids := c.known()
	if len(ids) == 0 {
		return
	}
	versions, err := c.store.ConfigVersions(ctx, ids)
	if err != nil {
		c.logger.Debug("the projects' versions could not be read", "error", err)
		return
	}
	for _, id := range ids {
		version, exists := versions[id]
		if !exists {
			c.forget(id)
			continue
		}
		c.note(id, func() error { _, err := c.Config(ctx, id, version); return err })
	}
}

func (c *Configs) note(id millrace.ID, load func() error) {
	var gone *millrace.Error
	if err := load(); err != nil && !errors.As(err, &gone) {
		c.logger.Warn("a project's configuration could not be loaded", "project", id, "error", err)
	}
}

// load reads a project from the store, once for all who wait for it.
func (c *Configs) load(ctx context.Context, id millrace.ID, p *project, atLeast int64) (*handlers.Config, error) {
	for {
		config, l, mine := p.join(atLeast)
		switch {
		case config != nil:
			return config, nil
		case mine:
			return c.read(ctx, id, p, l)
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, millrace.Unavailable(fmt.Errorf("load the configuration of project %s: %w", id, ctx.Err()))
		}
		if config := p.at(atLeast); config != nil {
			return config, nil
		}
		if l.err != nil && !isOver(l.err) {
			return nil, l.err
		}
		// It began too early for us, or ended with its caller: once more.
	}
}

func isOver(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (c *Configs) read(ctx context.Context, id millrace.ID, p *project, l *loading) (config *handlers.Config, err error) {
	defer func() { p.leave(l, config, err) }()
	snapshot, err := c.store.Snapshot(ctx, id)
	if err != nil {
		if millrace.CodeOf(err) == millrace.CodeNotFound {
			c.forget(id)
		}
		return nil, err
	}
	matcher, faulty := millrace.NewMatcher(snapshot)
	if faulty != nil {
		c.logger.Warn("a subscription's filter cannot be used; it matches nothing", "project", id, "error", faulty)
	}
	return &handlers.Config{Snapshot: snapshot, Matcher: matcher}, nil
}

// join answers with the load under way, or with one to be done; or with what
// one that ended since the last look has brought.
func (p *project) join(atLeast int64) (config *handlers.Config, l *loading, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if config := p.known(atLeast); config != nil {
		return config, nil, false
	}
	if p.loading == nil {
		p.loading, mine = &loading{done: make(chan struct{})}, true
	}
	return nil, p.loading, mine
}

// leave ends the load with what came of it.
func (p *project) leave(l *loading, config *handlers.Config, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if config != nil {
		p.config = config
	}
	l.err, p.loading = err, nil
	close(l.done)
}

func (p *project) at(atLeast int64) *handlers.Config {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.known(atLeast)
}

// known is at, for those who hold the lock.
func (p *project) known(atLeast int64) *handlers.Config {
	if p.config == nil || p.config.Project.ConfigVersion < atLeast {
		return nil
	}
	return p.config
}

func (c *Configs) place(id millrace.ID) *project {
	c.mu.RLock()
	p, ok := c.projects[id]
	c.mu.RUnlock()
	if ok {
		return p
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok = c.projects[id]; !ok {
		p = &project{}
		c.projects[id] = p
	}
	return p
}

func (c *Configs) knows(id millrace.ID) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.projects[id]
	return ok
}

func (c *Configs) known() []millrace.ID {
	c.mu.RLock()
	defer c.mu.RUnlock()
	ids := make([]millrace.ID, 0, len(c.projects))
	for id := range c.projects {
		ids = append(ids, id)
	}
	return ids
}

func (c *Configs) forget(id millrace.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.projects, id)
}
