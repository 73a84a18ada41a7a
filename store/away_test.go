package store_test

import (
	"io"
	"net"
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

func TestNothingIsLostWhenConnectionsAreKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *store.Config) { c.Application = "killed"; c.FlushRows = 8 })
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'killed'`)
			case <-stop:
				return
			}
		}
	})
	var unavailable, events atomic.Int32
	// again repeats an append until PostgreSQL is there.
	again := func(write func() error) {
		for {
			err := write()
			if err == nil {
				return
			}
			if !millrace.IsUnavailable(err) {
				t.Errorf("a killed connection is %v", err)
				return
			}
			unavailable.Add(1)
		}
	}
	in(32, func(int) {
		for unavailable.Load() < 100 && t.Context().Err() == nil {
			events.Add(1)
			e := w.event()
			f := millrace.FanOut{ConfigVersion: 1, Targets: targets(1)}
			again(func() (err error) { f.Event, err = w.AppendEvent(t.Context(), e, false); return err })
			again(func() error { _, err := w.FanOut(t.Context(), f); return err })
			id := millrace.DeliveryID(e.ID, f.Targets[0].SubscriptionID, millrace.ID{})
			again(func() error { _, err := w.Claim(t.Context(), id, 1, "entry"); return err })
			fact := attempted(id, 1, millrace.Delivered)
			var counted bool
			again(func() (err error) { counted, err = w.Settle(t.Context(), fact); return err })
			if !counted {
				t.Error("a fact of the current turn did not count")
			}
		}
	})
	close(stop)
	killer.Wait()
	for _, table := range []string{"events", "matches", "deliveries", "facts"} {
		if n := w.count(`SELECT count(*) FROM ` + table); n != int(events.Load()) {
			t.Errorf("%d %s, want %d", n, table, events.Load())
		}
	}
	if n := w.count(`SELECT count(*) FROM deliveries WHERE status = 'delivered'`); n != int(events.Load()) {
		t.Errorf("%d of %d are delivered", n, events.Load())
	}
}

// silent is a way to PostgreSQL that can fall silent, like a cable that is
// cut: nothing is closed, and nothing comes.
type silent struct {
	net.Listener
	to    string
	cut   chan struct{}
	conns sync.WaitGroup
}

func newSilent(t *testing.T, to string) *silent {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	s := &silent{Listener: l, to: to, cut: make(chan struct{})}
	s.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { s.pass(conn) })
		}
	})
	return s
}

func (s *silent) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", s.to)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	s.conns.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
	buffer := make([]byte, 32<<10)
	for {
		n, err := server.Read(buffer)
		select {
		case <-s.cut: // keep it open and say nothing
			_, _ = io.Copy(io.Discard, server)
			return
		default:
		}
		if n > 0 {
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func TestAServerThatFallsSilentIsFoundUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, err := url.Parse(w.url)
	noError(t, err)
	way := newSilent(t, u.Host)
	u.Host = way.Addr().String()
	far := storetest.Open(t, u.String(), func(c *store.Config) { c.StatementTimeout = time.Second })
	must[millrace.StoredEvent](t)(far.AppendEvent(t.Context(), w.event(), false))
	close(way.cut)
	start := time.Now()
	if _, err := far.AppendEvent(t.Context(), w.event(), false); !millrace.IsUnavailable(err) {
		t.Errorf("a silent server is %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it was found after %s", took)
	}
	noError(t, way.Close())
	noError(t, far.Close())
	way.conns.Wait()
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	t.Parallel()
	config := store.DefaultConfig()
	config.URL = "postgres://nobody@127.0.0.1:1/none?sslmode=disable"
	if _, err := store.Open(t.Context(), config, storetest.Ring(t)); !millrace.IsUnavailable(err) {
		t.Errorf("opened with %v", err)
	}
	s, err := store.OpenUnchecked(config, storetest.Ring(t))
	noError(t, err)
	defer func() { noError(t, s.Close()) }()
	if err := s.Ping(t.Context()); !millrace.IsUnavailable(err) {
		t.Errorf("pinged with %v", err)
	}
	if _, err := s.AppendEvent(t.Context(), millrace.Event{ID: newID(), ProjectID: newID(), Type: "x"}, false); !millrace.IsUnavailable(err) {
		t.Errorf("appended with %v", err)
	}
	if _, err := s.DueDeliveries(t.Context(), 1); !millrace.IsUnavailable(err) {
		t.Errorf("listed with %v", err)
	}
}

func TestAReadOnlyServerIsUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, err := url.Parse(w.url)
	noError(t, err)
	q := u.Query()
	q.Set("default_transaction_read_only", "on")
	u.RawQuery = q.Encode()
	standby := storetest.Open(t, u.String())
	if _, err := standby.AppendEvent(t.Context(), w.event(), false); !millrace.IsUnavailable(err) {
		t.Errorf("appended with %v", err)
	}
	if _, err := standby.Resend(t.Context(), w.project, w.delivery().ID); !millrace.IsUnavailable(err) {
		t.Errorf("resent with %v", err)
	}
}

func TestTheConfigurationIsJudgedInTheOperatorsWords(t *testing.T) {
	t.Parallel()
	good := store.DefaultConfig()
	good.URL = "postgres://localhost"
	noError(t, good.Validate())
	if n := good.Connections(); n != good.MaxReadConns+6*good.Writers+1 {
		t.Errorf("it opens %d connections", n)
	}
	err := store.Config{}.Validate()
	for _, word := range []string{"postgres.url", "max_read_conns", "writers", "flush_rows", "statement_timeout", "connect_timeout", "idempotency_window"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("nothing is said about %s: %v", word, err)
		}
	}
	if w := newWorld(t); must[int](t)(w.GrantedConnections(t.Context())) < 10 {
		t.Error("PostgreSQL grants less than ten connections")
	}
}
