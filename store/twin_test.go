package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

// twin is a primary with a streaming replica, and two servers: what the world
// writes, the other one reads, from the replica if that may be.
type twin struct {
	*world
	primary *storetest.Server
	replica *storetest.Replica
	other   *store.Store
	states  chan store.ReplicaState
}

func newTwin(t testing.TB, change ...func(*store.Config)) *twin {
	t.Helper()
	p := &twin{primary: storetest.Own(t, "max_standby_streaming_delay=0"), states: make(chan store.ReplicaState, 100)}
	noError(t, store.Migrate(t.Context(), millrace.Sensitive(p.primary.URL()), store.Up))
	p.replica = p.primary.Replica(t)
	p.world = &world{t: t, url: p.primary.URL(), db: storetest.DB(t, p.primary.URL()), Store: storetest.Open(t, p.primary.URL())}
	p.project = p.newProject()
	p.other = storetest.Open(t, p.primary.URL(), append([]func(*store.Config){func(c *store.Config) {
		c.ReadReplicas, c.MaxReplicaLag = []millrace.Sensitive{millrace.Sensitive(p.replica.URL())}, 5*time.Second
	}}, change...)...)
	return p
}

// watched looks at the replica until the end it answers with is called.
func (p *twin) watched() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		p.other.WatchReplicas(ctx, func(c store.ReplicaChange) { p.states <- c.State })
	})
	end = sync.OnceFunc(func() {
		cancel()
		watching.Wait()
	})
	p.t.Cleanup(end)
	return end
}

// turns waits until the replica is found to have come into the state.
func (p *twin) turns(to store.ReplicaState) {
	p.t.Helper()
	deadline := time.After(time.Minute)
	for state := store.ReplicaState(""); state != to; {
		select {
		case state = <-p.states:
		case <-deadline:
			p.t.Fatalf("the replica is not found %s", to)
		}
	}
}

// served is how many reads the replica has served, and the primary in its
// place.
func (p *twin) served() (replica, primary int64) {
	s := p.other.Stats()
	return s.Replicas[0].Reads, s.PrimaryReads
}

// lagging makes a short lag too long, for tests that are about too long a lag.
func lagging(c *store.Config) { c.MaxReplicaLag = 200 * time.Millisecond }

// seen is a read, and whether it shows what was written.
type seen func(s *store.Store) (bool, error)

// writes are changes that clients make by one server, each with how they look
// by another one.
func (p *twin) writes() map[string]func() seen {
	t, ctx := p.t, p.t.Context()
	endpoint := func() millrace.Endpoint {
		t.Helper()
		return must[millrace.Endpoint](t)(p.CreateEndpoint(ctx, millrace.Endpoint{ProjectID: p.project, Name: "e", URL: "https://example.com/"}))
	}
	named := func(name string, want bool) seen {
		return func(s *store.Store) (bool, error) {
			found, err := s.Endpoints(ctx, millrace.EndpointQuery{ProjectID: p.project, Text: name})
			return (len(found.Items) == 1) == want, err
		}
	}
	status := func(id millrace.ID, want millrace.Status) seen {
		return func(s *store.Store) (bool, error) {
			d, err := s.Delivery(ctx, p.project, id)
			return d.Status == want, err
		}
	}
	return map[string]func() seen{
		"an endpoint that was made is read": func() seen {
			id := endpoint().ID
			return func(s *store.Store) (bool, error) {
				e, err := s.Endpoint(ctx, p.project, id)
				return e.ID == id, err
			}
		},
		"an endpoint that was changed is listed by its new name": func() seen {
			name := newID().String()
			_, err := p.UpdateEndpoint(ctx, p.project, endpoint().ID, func(e *millrace.Endpoint) error { e.Name = name; return nil })
			noError(t, err)
			return named(name, true)
		},
		"an endpoint that was deleted is listed no more": func() seen {
			e := must[millrace.Endpoint](t)(p.CreateEndpoint(ctx, millrace.Endpoint{ProjectID: p.project, Name: "doomed", URL: "https://example.com/"}))
			noError(t, p.DeleteEndpoint(ctx, p.project, e.ID))
			return named("doomed", false)
		},
		"a subscription that was made is listed": func() seen {
			e := endpoint().ID
			must[millrace.Subscription](t)(p.CreateSubscription(ctx, millrace.Subscription{ProjectID: p.project, EndpointID: e, Name: "s", EventTypes: []string{"*"}}))
			return func(s *store.Store) (bool, error) {
				found, err := s.Subscriptions(ctx, millrace.SubscriptionQuery{ProjectID: p.project, EndpointIDs: []millrace.ID{e}})
				return len(found.Items) == 1, err
			}
		},
		"an event that was persisted is read": func() seen {
			id := p.appended().ID
			return func(s *store.Store) (bool, error) {
				e, err := s.Event(ctx, p.project, id)
				return e.ID == id, err
			}
		},
		"an event that was persisted is listed": func() seen {
			id := p.appended().ID
			return func(s *store.Store) (bool, error) {
				found, err := s.Events(ctx, millrace.EventQuery{ProjectID: p.project, Page: millrace.Page{Size: 1}})
				return len(found.Items) == 1 && found.Items[0].ID == id, err
			}
		},
		"a delivery that was resent waits": func() seen {
			id := p.delivery().ID
			must[millrace.DeliveryRecord](t)(p.Resend(ctx, p.project, id))
			return status(id, millrace.Waiting)
		},
		"a delivery that was cancelled is so": func() seen {
			id := p.delivery().ID
			must[millrace.DeliveryRecord](t)(p.Cancel(ctx, p.project, id, "a test"))
			return status(id, millrace.Cancelled)
		},
		"a delivery that was cancelled is listed as discarded": func() seen {
			d := p.delivery()
			must[millrace.DeliveryRecord](t)(p.Cancel(ctx, p.project, d.ID, "a test"))
			return func(s *store.Store) (bool, error) {
				found, err := s.Deliveries(ctx, millrace.DeliveryQuery{ProjectID: p.project, EventID: d.EventID, Statuses: []string{"Discarded"}})
				return len(found.Items) == 1, err
			}
		},
		"an attempt that an agent noted is listed": func() seen {
			id := p.delivery().ID
			p.settle(attempted(id, 1, millrace.Delivered))
			return func(s *store.Store) (bool, error) {
				facts, err := s.Attempts(ctx, p.project, id)
				return len(facts) == 1, err
			}
		},
		"a dead letter that was discarded is settled": func() seen {
			d := millrace.DeadLetter{ID: newID(), ProjectID: p.project, Stage: "fanout", Reason: "permanent"}
			noError(t, p.AddDeadLetter(ctx, d))
			noError(t, p.SettleDeadLetter(ctx, d.ID, "discarded"))
			return func(s *store.Store) (bool, error) {
				found, err := s.DeadLetters(ctx, millrace.DeadLetterQuery{ProjectID: p.project, Page: millrace.Page{Size: 1}})
				return len(found.Items) == 1 && found.Items[0].ID == d.ID && found.Items[0].Settled == "discarded", err
			}
		},
	}
}
