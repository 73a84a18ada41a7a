package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
)

var errAway = millrace.Unavailable(errors.New("the store is away"))

// projects are a store with projects at some version; it counts the loads.
type projects struct {
	mu       sync.Mutex
	versions map[millrace.ID]int64
	err      error
	loads    int
}

func (p *projects) Snapshot(_ context.Context, id millrace.ID) (*millrace.Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loads++
	version, found := p.versions[id]
	if p.err != nil {
		return nil, p.err
	}
	if !found {
		return nil, millrace.NotFound("project")
	}
	return &millrace.Snapshot{Project: millrace.Project{ID: id, ConfigVersion: version}}, nil
}

func (p *projects) ConfigVersions(_ context.Context, ids []millrace.ID) (map[millrace.ID]int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := map[millrace.ID]int64{}
	for _, id := range ids {
		if version, ok := p.versions[id]; ok {
			found[id] = version
		}
	}
	return found, p.err
}

// set changes the store under whoever reads it.
func (p *projects) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *projects) loaded() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loads
}

func newConfigs() (*Configs, *projects, millrace.ID) {
	id := millrace.NewID(time.Now())
	p := &projects{versions: map[millrace.ID]int64{id: 3}}
	return NewConfigs(p, slog.New(slog.DiscardHandler)), p, id
}

func wantVersion(t *testing.T, c *handlers.Config, err error, want int64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if c.Project.ConfigVersion != want || c.Matcher == nil {
		t.Errorf("version %d, want %d", c.Project.ConfigVersion, want)
	}
}

func TestAConfigurationIsLoadedOnceAndAgainWhenANewerOneIsAskedFor(t *testing.T) {
	configs, store, id := newConfigs()
	for range 3 {
		c, err := configs.Config(t.Context(), id, 0)
		wantVersion(t, c, err, 3)
	}
	store.versions[id] = 4
	c, err := configs.Config(t.Context(), id, 3)
	wantVersion(t, c, err, 3)
	if store.loads != 1 {
		t.Errorf("loaded %d times, want 1", store.loads)
	}
	c, err = configs.Config(t.Context(), id, 4)
	wantVersion(t, c, err, 4)
	store.versions[id] = 5
	c, err = configs.Latest(t.Context(), id)
	wantVersion(t, c, err, 5)
	if _, err = configs.Latest(t.Context(), id); err != nil || store.loads != 3 {
		t.Errorf("loaded %d times, want 3; %v", store.loads, err)
	}
}

func TestManyWhoWaitForAConfigurationLoadItOnce(t *testing.T) {
	configs, store, id := newConfigs()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := configs.Config(t.Context(), id, 0); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if store.loads != 1 {
		t.Errorf("loaded %d times", store.loads)
	}
}

func TestWhatIsKnownIsAnsweredWhileTheStoreIsAway(t *testing.T) {
	configs, store, id := newConfigs()
	_, err := configs.Config(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	store.err = errAway
	c, err := configs.Config(t.Context(), id, 3)
	wantVersion(t, c, err, 3)
	if _, err = configs.Config(t.Context(), id, 4); !millrace.IsUnavailable(err) {
		t.Errorf("a newer one: %v", err)
	}
	if _, err = configs.Latest(t.Context(), id); !millrace.IsUnavailable(err) {
		t.Errorf("the latest: %v", err)
	}
}

func TestAProjectThatIsGoneIsForgotten(t *testing.T) {
	configs, store, id := newConfigs()
	_, err := configs.Config(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	delete(store.versions, id)
	if _, err = configs.Latest(t.Context(), id); millrace.CodeOf(err) != millrace.CodeNotFound {
		t.Errorf("the latest of a project that is gone: %v", err)
	}
	if _, err = configs.Config(t.Context(), id, 0); millrace.CodeOf(err) != millrace.CodeNotFound {
		t.Errorf("any of a project that is gone: %v", err)
	}
	if len(configs.known()) != 0 {
		t.Error("projects that do not exist take up room")
	}
}

func TestChangesAreNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		hear   bool
		within time.Duration
	}{
		"at once where they are heard of":          {hear: true},
		"within a second where they are not":       {within: time.Second},
		"though the store was away when it looked": {within: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				configs, store, id := newConfigs()
				if _, err := configs.Config(t.Context(), id, 0); err != nil {
					t.Fatal(err)
				}
				changed := make(chan millrace.ID)
				go configs.Watch(t.Context(), changed)
				store.set(func() { store.versions[id] = 4 })
				if c.within > time.Second {
					store.set(func() { store.err = errAway })
					<-time.After(1500 * time.Millisecond)
					store.set(func() { store.err = nil })
					c.within -= 1500 * time.Millisecond
				}
				if c.hear {
					changed <- millrace.NewID(time.Now()) // of nobody known here
					changed <- id
				}
				<-time.After(c.within)
				synctest.Wait()
				config, err := configs.Config(t.Context(), id, 0)
				wantVersion(t, config, err, 4)
				if store.loaded() != 2 {
					t.Errorf("loaded %d times, want 2", store.loaded())
				}
			})
		})
	}
}

func TestAProjectDeletedElsewhereIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		configs, store, id := newConfigs()
		if _, err := configs.Config(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
		go configs.Watch(t.Context(), nil)
		store.set(func() { delete(store.versions, id) })
		<-time.After(time.Second)
		synctest.Wait()
		if configs.knows(id) {
			t.Error("it is known still")
		}
	})
}

// slow is a store whose answers wait to be let go.
type slow struct {
	projects
	asked   chan struct{}
	release chan error
}

func (s *slow) Snapshot(ctx context.Context, id millrace.ID) (*millrace.Snapshot, error) {
	s.asked <- struct{}{}
	select {
	case err := <-s.release:
		if err != nil {
			return nil, err
		}
		return s.projects.Snapshot(ctx, id)
	case <-ctx.Done():
		return nil, millrace.Unavailable(ctx.Err())
	}
}

func TestThoseWhoWaitForALoad(t *testing.T) {
	for name, c := range map[string]struct {
		end func(s *slow, first func()) // ends the first one's load
		err error
	}{
		"share its result":                           {end: func(s *slow, _ func()) { s.release <- nil }},
		"share its failure, and do not each wait":    {end: func(s *slow, _ func()) { s.release <- errAway }, err: errAway},
		"load themselves where its caller went away": {end: func(s *slow, first func()) { first(); <-s.asked; s.release <- nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				id := millrace.NewID(time.Now())
				s := &slow{projects: projects{versions: map[millrace.ID]int64{id: 3}}, asked: make(chan struct{}), release: make(chan error)}
				configs := NewConfigs(s, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() { _, _ = configs.Config(ctx, id, 0) }()
				<-s.asked
				got := make(chan error, 3)
				for range 3 {
					go func() {
						_, err := configs.Config(t.Context(), id, 0)
						got <- err
					}()
				}
				synctest.Wait()
				impatient, leave := context.WithTimeout(t.Context(), time.Second)
				defer leave()
				if _, err := configs.Config(impatient, id, 0); !millrace.IsUnavailable(err) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("whoever waits no longer than a second: %v", err)
				}
				c.end(s, cancel)
				for range 3 {
					if err := <-got; !errors.Is(err, c.err) {
						t.Errorf("it says %v, want %v", err, c.err)
					}
				}
			})
		})
	}
}
