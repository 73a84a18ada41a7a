// Package storetest gives tests a real PostgreSQL: one server per test
// process, and a schema of its own for each test.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"
	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

// process is the one server of this test process, started at its first use.
var process struct {
	sync.Mutex
	owned  bool // Main runs and will stop it
	server *server
	url    string
	err    error
}

// Main runs a package's tests, stops the server if one was started, and
// fails if a goroutine is left behind that is not known:
// `os.Exit(storetest.Main(m))`.
func Main(m *testing.M, known ...goleak.Option) int {
	process.Lock()
	process.owned = true
	process.Unlock()
	code := m.Run()
	if process.server != nil {
		process.server.stop()
	}
	if code == 0 {
		if err := goleak.Find(known...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// New opens a store on a migrated schema of its own. The configuration's
// defaults may be changed.
func New(t testing.TB, change ...func(*store.Config)) *store.Store {
	t.Helper()
	return Open(t, Migrated(t), change...)
}

// Open opens one more store on a URL that came from Migrated.
func Open(t testing.TB, url string, change ...func(*store.Config)) *store.Store {
	t.Helper()
	config := store.DefaultConfig()
	config.URL = millrace.Sensitive(url)
	for _, c := range change {
		c(&config)
	}
	s, err := store.Open(t.Context(), config, Ring(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Ring is the key ring of every store that Open makes.
func Ring(t testing.TB) *store.Keyring {
	t.Helper()
	ring, err := store.NewKeyring([]string{"test:bWlsbHJhY2UgdGVzdHMgbWlsbHJhY2UgdGVzdHMgMTI="})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// Migrated makes a schema with all tables in it and answers its URL.
func Migrated(t testing.TB) string {
	t.Helper()
	u := Empty(t)
	if err := store.Migrate(t.Context(), millrace.Sensitive(u), store.Up); err != nil {
		t.Fatal(err)
	}
	return u
}

// Empty makes a schema with nothing in it and answers its URL.
func Empty(t testing.TB) string {
	t.Helper()
	base, err := start()
	if err != nil {
		t.Fatal(err)
	}
	schema := "t_" + strings.ToLower(rand.Text())
	execute(t, base, `CREATE SCHEMA `+pq.QuoteIdentifier(schema))
	t.Cleanup(func() { execute(t, base, `DROP SCHEMA `+pq.QuoteIdentifier(schema)+` CASCADE`) })
	return within(base, schema)
}

// DB opens a plain pool on a URL, for looking at the tables themselves.
func DB(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func execute(t testing.TB, url, statement string) {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// within adds the schema to a database's URL.
func within(base, schema string) string {
	u, err := url.Parse(base)
	if err != nil || u.Scheme == "" {
		return base + " search_path=" + schema
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

// start answers the URL of the server, which MILLRACE_TEST_POSTGRES may name.
func start() (string, error) {
	process.Lock()
	defer process.Unlock()
	if process.url != "" || process.err != nil {
		return process.url, process.err
	}
	if u := os.Getenv("MILLRACE_TEST_POSTGRES"); u != "" {
		process.url = u
		return u, nil
	}
	if !process.owned {
		return "", fmt.Errorf("no one would stop PostgreSQL: give the package a TestMain that calls storetest.Main")
	}
	process.server, process.err = startServer()
	if process.err == nil {
		process.url = process.server.url
	}
	return process.url, process.err
}
