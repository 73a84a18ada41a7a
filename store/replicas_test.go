package store_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

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

func TestReplicasTakeTurnsAndStandInForEachOther(t *testing.T) {
	t.Parallel()
	p := newTwin(t)
	second := p.primary.Replica(t)
	p.other = storetest.Open(t, p.primary.URL(), func(c *store.Config) {
		c.ReadReplicas = []millrace.Sensitive{millrace.Sensitive(p.replica.URL()), millrace.Sensitive(second.URL())}
		c.MaxReplicaLag = 5 * time.Second
	})
	p.watched()
	p.turns(store.ReplicaReady)
	p.turns(store.ReplicaReady)
	e := p.appended()
	read := func(n int) []store.ReplicaStats {
		for range n {
			must[millrace.EventRecord](t)(p.other.Event(t.Context(), p.project, e.ID))
		}
		return p.other.Stats().Replicas
	}
	if s := read(10); s[0].Reads != 5 || s[1].Reads != 5 {
		t.Errorf("of 10 reads they served %d and %d", s[0].Reads, s[1].Reads)
	}
	p.replica.Kill()
	p.turns(store.ReplicaAway)
	if s := read(10); s[1].Reads != 15 || p.other.Stats().PrimaryReads != 0 {
		t.Errorf("beside one that was killed the other served %d reads, want 15", s[1].Reads)
	}
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
