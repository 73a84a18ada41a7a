package app

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

func TestAStartingProcessWaitsForItsStores(t *testing.T) {
	away := millrace.Unavailable(errors.New("connection refused"))
	refused := errors.New("the schema is unknown")
	for _, c := range []struct {
		rule  string
		waits bool
		says  []error // of each try; the last one again and again
		tries int
		want  error
		lines int
	}{
		{"one that answers is tried once", true, []error{nil}, 1, nil, 0},
		{"one that comes up is waited for, with one line", true, []error{away, away, nil}, 3, nil, 1},
		{"one that refuses is not tried again", true, []error{refused}, 1, refused, 0},
		{"one that comes up and refuses is not tried again", true, []error{away, refused}, 2, refused, 1},
		{"without patience one that is away is tried once", false, []error{away}, 1, away, 0},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var lines, tries int
			s := startup{again: time.Millisecond, warn: func(string, ...any) { lines++ }}
			if c.waits {
				s.until = time.Now().Add(time.Minute)
			}
			err := s.open(t.Context(), "PostgreSQL", func(context.Context) error {
				tries++
				return c.says[min(tries, len(c.says))-1]
			})
			if !errors.Is(err, c.want) || tries != c.tries || lines != c.lines {
				t.Errorf("it says %v after %d tries and %d lines; want %v, %d, %d", err, tries, lines, c.want, c.tries, c.lines)
			}
		})
	}
}

func TestThePatienceOfAStartEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := millrace.Unavailable(errors.New("connection refused"))
		s := startup{until: time.Now().Add(startPatience), again: startAgain, warn: func(string, ...any) {}}
		var last time.Time
		err := s.open(t.Context(), "Redis", func(context.Context) error {
			last = time.Now()
			return away
		})
		if !errors.Is(err, away) || !last.Equal(s.until) {
			t.Errorf("it says %v, tried last %s before its time was over", err, s.until.Sub(last))
		}
	})
}

func TestAStartThatIsStoppedWaitsNoLonger(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s := startup{until: time.Now().Add(time.Hour), again: time.Hour, warn: func(string, ...any) { stop() }}
	if err := s.open(ctx, "Redis", func(context.Context) error { return millrace.Unavailable(errors.New("away")) }); !millrace.IsUnavailable(err) {
		t.Errorf("it says %v", err)
	}
}

// starting is a process that opens the PostgreSQL of the URL with the key as
// its ring.
func starting(url, key string) *process {
	c := DefaultConfig()
	c.Postgres.URL, c.Secrets.Keys = millrace.Sensitive(url), []millrace.Sensitive{millrace.Sensitive(key)}
	p := &process{config: c}
	p.life, p.quit = context.WithCancel(context.Background())
	return p
}

func TestAProcessWaitsForThePostgreSQLThatComesUpWithIt(t *testing.T) {
	real, err := url.Parse(storetest.Migrated(t))
	if err != nil {
		t.Fatal(err)
	}
	address := closedPort(t)
	early := *real
	early.Host = address
	p := starting(early.String(), store.NewKey())
	defer p.close()
	waited := 0
	p.startup = startup{until: time.Now().Add(time.Minute), again: time.Millisecond, warn: func(string, ...any) {
		waited++
		relay(t, address, real.Host)
	}}
	if err := p.openStore(t.Context()); err != nil || waited != 1 {
		t.Errorf("it waited %d times and says %v", waited, err)
	}
}

func TestAProcessRefusesARingThatLacksAKey(t *testing.T) {
	url := storetest.Migrated(t)
	if _, _, err := storetest.Open(t, url).CreateAPIKey(t.Context(), millrace.APIKey{Name: "ci"}); err != nil {
		t.Fatal(err)
	}
	p := starting(url, store.NewKey())
	defer p.close()
	err := p.openStore(t.Context())
	if err == nil || !strings.Contains(err.Error(), `"test" (0 secrets and 1 API keys need it): put it back into secrets.keys`) {
		t.Errorf("it says %v", err)
	}
}

// closedPort is an address that nobody listens at.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// relay passes connections on until the test ends.
func relay(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	pass := func(a, b net.Conn) {
		_, _ = io.Copy(a, b) // it ends with either side
		_ = a.Close()
		_ = b.Close()
	}
	passing.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			passing.Go(func() { pass(server, client) })
			passing.Go(func() { pass(client, server) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		passing.Wait()
	})
}
