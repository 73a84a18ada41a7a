package store_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

func TestReadsGoToAReplica(t *testing.T) {
	t.Parallel()
	p := newTwin(t)
	for name, write := range p.writes() {
		if shows := must[bool](t)(write()(p.other)); !shows {
			t.Errorf("%s: not from the primary", name)
		}
	}
	before, _ := p.served()
	p.watched()
	p.turns(store.ReplicaReady)
	for name, write := range p.writes() {
		if shows := must[bool](t)(write()(p.other)); !shows {
			t.Errorf("%s: not from a replica that keeps up", name)
		}
	}
	// One of them reads a single endpoint, which is the primary's work.
	if after, _ := p.served(); before != 0 || after != int64(len(p.writes())-1) {
		t.Errorf("the replica served %d reads before it was looked at and %d after, want 0 and %d", before, after, len(p.writes())-1)
	}
	replica := &world{t: t, db: storetest.DB(t, p.replica.URL())}
	const last = `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millrace' AND query LIKE '%FROM deliveries d WHERE%'`
	if n := replica.count(last + ` OR query LIKE '%FROM events e WHERE%' OR query LIKE '%FROM dead_letters WHERE%' OR query LIKE '%FROM facts f WHERE%'`); n == 0 {
		t.Error("no session of the replica has read the log")
	}
}

func TestWhatWasJustWrittenIsReadThoughTheReplicaLags(t *testing.T) {
	t.Parallel()
	p := newTwin(t, lagging)
	p.replica.PauseReplay()
	for name, write := range p.writes() {
		shows := write()
		// As long as nobody has noticed, it counts as ready.
		p.other.TurnReplicas(store.ReplicaReady)
		if now := must[bool](t)(shows(p.other)); !now {
			t.Errorf("%s: not at the moment after", name)
		}
	}
	if replica, primary := p.served(); replica != 0 || primary == 0 {
		t.Errorf("the replica served %d reads and the primary %d", replica, primary)
	}
}

func TestAReplicaThatLagsIsLeftAloneUntilItHasCaughtUp(t *testing.T) {
	t.Parallel()
	p := newTwin(t, lagging)
	p.watched()
	p.turns(store.ReplicaReady)
	p.replica.PauseReplay()
	e := p.appended()
	p.turns(store.ReplicaBehind)
	began := time.Now()
	for range 20 {
		must[millrace.EventRecord](t)(p.other.Event(t.Context(), p.project, e.ID))
	}
	if took := time.Since(began); took > 20*200*time.Millisecond {
		t.Errorf("20 reads beside a replica that lags took %s: they waited for it", took)
	}
	p.replica.ResumeReplay()
	p.turns(store.ReplicaReady)
	before, _ := p.served()
	eventually(t, "the replica is read from again", func() bool {
		must[millrace.EventRecord](t)(p.other.Event(t.Context(), p.project, e.ID))
		after, _ := p.served()
		return after > before
	})
}

func TestAReplicaThatIsKilledUnderReadsCostsNone(t *testing.T) {
	t.Parallel()
	p := newTwin(t)
	p.watched()
	p.turns(store.ReplicaReady)
	d := p.delivery()
	var reads atomic.Int64
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := p.other.Event(context.Background(), p.project, d.EventID); err != nil {
					t.Errorf("a read beside a replica that was killed: %v", err)
				}
				if _, err := p.other.Deliveries(context.Background(), millrace.DeliveryQuery{ProjectID: p.project}); err != nil {
					t.Errorf("a list beside a replica that was killed: %v", err)
				}
				reads.Add(1)
			}
		})
	}
	more := func(what string, count func() int64) {
		t.Helper()
		before := count()
		eventually(t, what, func() bool { return count() > before+100 })
	}
	fromReplica := func() int64 { n, _ := p.served(); return n }
	more("the replica is read from", fromReplica)
	p.replica.Kill()
	p.turns(store.ReplicaAway)
	more("it is read on", reads.Load)
	p.replica.Start()
	p.turns(store.ReplicaReady)
	more("the replica is read from again", fromReplica)
	close(stop)
	reading.Wait()
}

func TestAReplicaThatFallsSilentIsCutOff(t *testing.T) {
	t.Parallel()
	p := newTwin(t)
	at := must[*url.URL](t)(url.Parse(p.replica.URL()))
	way := newSilent(t, at.Host)
	at.Host = way.Addr().String()
	p.other = storetest.Open(t, p.primary.URL(), func(c *store.Config) {
		c.ReadReplicas, c.StatementTimeout = []millrace.Sensitive{millrace.Sensitive(at.String())}, time.Minute
		c.MaxReplicaLag = 2 * time.Second
	})
	end := p.watched()
	p.turns(store.ReplicaReady)
	silenced := sync.OnceFunc(func() { close(way.cut) })
	began := time.Now()
	text := must[string](t)(p.other.Read(t.Context(), func() string {
		silenced()
		return `SELECT pg_is_in_recovery()::text`
	}))
	if took := time.Since(began); text != "false" || took > 30*time.Second {
		t.Errorf("a read beside a replica that is silent took %s, and in recovery was whoever answered: %s", took, text)
	}
	p.turns(store.ReplicaAway)
	end()
	noError(t, way.Close())
	noError(t, p.other.Close())
	way.conns.Wait()
}

func TestAReadThatAReplicaMustCancelIsDoneByThePrimary(t *testing.T) {
	t.Parallel()
	p := newTwin(t)
	p.exec(`CREATE TABLE doomed AS SELECT 1`)
	end := p.watched()
	p.turns(store.ReplicaReady)
	end()
	replica := &world{t: t, db: storetest.DB(t, p.replica.URL())}
	tries := 0
	var text string
	done := make(chan error)
	go func() {
		var err error
		text, err = p.other.Read(t.Context(), func() string {
			if tries++; tries > 1 {
				return `SELECT pg_is_in_recovery()::text`
			}
			return `SELECT pg_sleep(60)::text FROM doomed`
		})
		done <- err
	}()
	eventually(t, "the replica reads", func() bool {
		return replica.count(`SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`) > 0
	})
	p.exec(`DROP TABLE doomed`)
	noError(t, <-done)
	if tries != 2 || text != "false" {
		t.Errorf("it was tried %d times, and in recovery was whoever answered: %s", tries, text)
	}
	if state := p.other.Stats().Replicas[0].State; state != store.ReplicaReady {
		t.Errorf("the replica is %s for that", state)
	}
}

func TestAReplicaThatIsPromotedIsNotReadFrom(t *testing.T) {
	t.Parallel()
	p := newTwin(t)
	p.watched()
	p.turns(store.ReplicaReady)
	p.replica.Promote()
	p.turns(store.ReplicaPromoted)
	e := p.appended()
	must[millrace.EventRecord](t)(p.other.Event(t.Context(), p.project, e.ID))
	// Nobody has noticed yet.
	p.other.TurnReplicas(store.ReplicaReady)
	must[millrace.EventRecord](t)(p.other.Event(t.Context(), p.project, e.ID))
	if replica, _ := p.served(); replica != 0 {
		t.Errorf("it served %d reads", replica)
	}
}

func TestPagesFromReplicaAndPrimaryByTurnsAreOneList(t *testing.T) {
	t.Parallel()
	p := newTwin(t)
	var want []millrace.ID
	for range 9 {
		want = append(want, p.appended().ID)
	}
	turn := 0
	pages(t, want, func(e millrace.EventRecord) millrace.ID { return e.ID }, func(ctx context.Context, page millrace.Page) (millrace.List[millrace.EventRecord], error) {
		if turn++; turn%2 == 0 {
			p.other.TurnReplicas(store.ReplicaReady)
		} else {
			p.other.TurnReplicas(store.ReplicaAway)
		}
		return p.other.Events(ctx, millrace.EventQuery{ProjectID: p.project, Page: page})
	})
	if replica, primary := p.served(); replica == 0 || primary == 0 {
		t.Errorf("the replica served %d pages and the primary %d", replica, primary)
	}
}

func TestReplicasOfAnotherDatabaseAreRefused(t *testing.T) {
	t.Parallel()
	p := newTwin(t)
	p.exec(`CREATE DATABASE another`)
	p.exec(`CREATE SCHEMA another`)
	p.exec(`CREATE ROLE plain LOGIN`)
	stranger := storetest.Own(t)
	with := func(change func(u *url.URL)) millrace.Sensitive {
		u := must[*url.URL](t)(url.Parse(p.replica.URL()))
		change(u)
		return millrace.Sensitive(u.String())
	}
	for rule, c := range map[string]struct {
		url     millrace.Sensitive
		refused bool
		state   store.ReplicaState
	}{
		"the database's own is taken":                {with(func(*url.URL) {}), false, store.ReplicaReady},
		"a user without rights can look at it":       {with(func(u *url.URL) { u.User = url.User("plain") }), false, store.ReplicaReady},
		"another database of its cluster is refused": {with(func(u *url.URL) { u.Path = "/another" }), true, store.ReplicaForeign},
		"another cluster is refused":                 {millrace.Sensitive(stranger.URL()), true, store.ReplicaPromoted},
		"another schema is not read from":            {with(func(u *url.URL) { u.RawQuery += "&search_path=another" }), false, store.ReplicaForeign},
		"one that is not there is left for later":    {with(func(u *url.URL) { u.Host = "127.0.0.1:1" }), false, store.ReplicaAway},
		"one that lets nobody in is left for later":  {with(func(u *url.URL) { u.User = url.User("nobody") }), false, store.ReplicaAway},
		"the primary by another name is no replica":  {millrace.Sensitive(strings.Replace(p.primary.URL(), "127.0.0.1", "localhost", 1)), false, store.ReplicaPromoted},
	} {
		t.Run(rule, func(t *testing.T) {
			s := storetest.Open(t, p.primary.URL(), func(s *store.Config) {
				s.ReadReplicas, s.MaxReplicaLag = []millrace.Sensitive{c.url}, 5*time.Second
			})
			if err := s.CheckReplicas(t.Context()); (err != nil) != c.refused {
				t.Errorf("it is refused by: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			found := make(chan store.ReplicaChange, 100)
			var watching sync.WaitGroup
			watching.Go(func() { s.WatchReplicas(ctx, func(c store.ReplicaChange) { found <- c }) })
			select {
			case got := <-found:
				if got.State != c.state || (got.Why == nil) != (c.state == store.ReplicaReady) {
					t.Errorf("it is %s (%v), want %s", got.State, got.Why, c.state)
				}
			case <-time.After(time.Minute):
				t.Error("it is never looked at")
			}
			cancel()
			watching.Wait()
		})
	}
}

func TestALineIsBehindAllThatWasCommittedBeforeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in(16, func(int) {
		for range 20 {
			w.appended()
			var end int64
			if err := w.db.QueryRow(`SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint`).Scan(&end); err != nil {
				t.Error(err)
			}
			line, err := w.Line(t.Context())
			if err != nil || line < end {
				t.Errorf("the line is at %d, and there was a commit before %d: %v", line, end, err)
			}
		}
	})
}

func TestReplicasAreConfiguredByTheirURLs(t *testing.T) {
	t.Parallel()
	for rule, c := range map[string]struct {
		urls []millrace.Sensitive
		says []string
	}{
		"two servers are fine":               {[]millrace.Sensitive{"postgres://m:secret@r1/millrace", "postgresql://m:secret@r2:5433/millrace"}, nil},
		"what is no URL is refused":          {[]millrace.Sensitive{"postgres://r1/m", "r2:5432 secret"}, []string{"entry 2 is no URL"}},
		"what cannot be read is refused":     {[]millrace.Sensitive{"postgres://m:secret@r1:port/m"}, []string{"entry 1 cannot be read"}},
		"several servers in one are refused": {[]millrace.Sensitive{"postgres://m:secret@r1,r2/m"}, []string{"entry 1 names several servers"}},
		"the same server twice is refused":   {[]millrace.Sensitive{"postgres://m:secret@r1/m", "postgres://r1:5432/m"}, []string{"entry 2 is r1:5432/m, as is entry 1"}},
		"the primary is refused":             {[]millrace.Sensitive{"postgres://m:secret@p/m"}, []string{"entry 1 is p:5432/m, as is postgres.url"}},
		"all faults are said at once":        {[]millrace.Sensitive{"secret", "postgres://p/m"}, []string{"entry 1 is no URL", "entry 2 is p:5432/m"}},
	} {
		t.Run(rule, func(t *testing.T) {
			config := store.DefaultConfig()
			config.URL, config.ReadReplicas = "postgres://p/m", c.urls
			err := config.Validate()
			if (err == nil) != (len(c.says) == 0) || err != nil && strings.Contains(err.Error(), "secret") {
				t.Fatalf("it says %v", err)
			}
			if slices.ContainsFunc(c.says, func(part string) bool { return !strings.Contains(fmt.Sprint(err), part) }) {
				t.Errorf("it says %v, want %q", err, c.says)
			}
		})
	}
}
