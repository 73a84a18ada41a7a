package localstores

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// repository is a Maven repository on the loopback address. Its one artifact,
// whatever it is asked for, is a PostgreSQL whose programs are scripts that
// run the installed one.
type repository struct {
	*httptest.Server
	archive []byte
	sum     string
	asked   atomic.Int32 // for the archive
}

func newRepository(t *testing.T, programs map[string]string) *repository {
	t.Helper()
	archive := jar(t, programs)
	sum := sha256.Sum256(archive)
	r := &repository{archive: archive, sum: hex.EncodeToString(sum[:])}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.HasSuffix(q.URL.Path, ".sha256") {
			fmt.Fprint(w, r.sum)
			return
		}
		r.asked.Add(1)
		_, _ = w.Write(r.archive)
	}))
	t.Cleanup(r.Close)
	return r
}

// installed are scripts that run the PostgreSQL of this machine.
func installed(t *testing.T) map[string]string {
	t.Helper()
	found := findPostgres(t.Context(), DefaultConfig().packaged, account{})
	if len(found) == 0 {
		t.Fatal("no PostgreSQL is installed: run make deps")
	}
	programs := map[string]string{}
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		programs["bin/"+name] = fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\"\n", found[0].path(name))
	}
	return programs
}

// jar packs programs as embedded-postgres' repository does: a zip that holds
// a tar compressed with xz.
func jar(t *testing.T, programs map[string]string) []byte {
	t.Helper()
	var tarred, jarred bytes.Buffer
	files := tar.NewWriter(&tarred)
	for name, text := range programs {
		header := tar.Header{Name: name, Mode: 0o700, Size: int64(len(text)), Typeflag: tar.TypeReg}
		if err := files.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(&jarred)
	entry, err := archive.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(xz(tarred.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return jarred.Bytes()
}

// bareMachine is a configuration for a machine with neither PostgreSQL nor
// Redis, as far as Start can see.
func bareMachine(t *testing.T, repository string) Config {
	t.Helper()
	cfg := testConfig(t)
	cfg.packaged, cfg.Repository = nil, repository
	withoutPath(t, nil)
	return cfg
}

func TestPostgreSQLIsFetchedOnceWhereThereIsNone(t *testing.T) {
	repository := newRepository(t, installed(t))
	cfg := bareMachine(t, repository.URL)
	first := startStores(t, cfg)
	if err := pingPostgres(t, first.PostgresURL.Reveal()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(first.Notes[0], filepath.Join("bin", string(fetched), "bin")) {
		t.Errorf("note %q does not say where it was fetched to", first.Notes[0])
	}
	stopStores(t, first)
	second := startStores(t, cfg)
	if err := pingPostgres(t, second.PostgresURL.Reveal()); err != nil {
		t.Error(err)
	}
	if asked := repository.asked.Load(); asked != 1 {
		t.Errorf("the archive was fetched %d times", asked)
	}
	wantNothingHalfFetched(t, filepath.Dir(first.postgres.args[1]))
}

func TestPostgreSQLThatCannotBeFetchedIsOneSentence(t *testing.T) {
	programs := installed(t)
	const refusal = "PostgreSQL 15 or newer is not installed here and cannot be fetched ("
	t.Run("without a network", func(t *testing.T) {
		wantRefusal(t, bareMachine(t, "http://127.0.0.1:9"), refusal+"unable to connect to http://127.0.0.1:9")
	})
	t.Run("from a repository that does not have it", func(t *testing.T) {
		empty := httptest.NewServer(http.NotFoundHandler())
		defer empty.Close()
		wantRefusal(t, bareMachine(t, empty.URL), refusal+"no version found")
	})
	t.Run("with another checksum, and then keeps nothing of it", func(t *testing.T) {
		r := newRepository(t, programs)
		cfg := bareMachine(t, r.URL)
		good := r.sum
		r.sum = strings.Repeat("0", len(good))
		wantRefusal(t, cfg, refusal+"downloaded checksums do not match")
		r.sum = good
		s := startStores(t, cfg)
		wantNothingHalfFetched(t, filepath.Dir(s.postgres.args[1]))
	})
	t.Run("cut off in the middle", func(t *testing.T) {
		r := newRepository(t, programs)
		sum := sha256.Sum256(r.archive[:len(r.archive)/2])
		r.archive, r.sum = r.archive[:len(r.archive)/2], hex.EncodeToString(sum[:])
		wantRefusal(t, bareMachine(t, r.URL), refusal)
	})
	t.Run("within the time it may take", func(t *testing.T) {
		leave := make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-leave }))
		defer slow.Close()
		defer close(leave)
		cfg := bareMachine(t, slow.URL)
		cfg.FetchTimeout = 50 * time.Millisecond
		wantRefusal(t, cfg, refusal)
	})
}

func wantNothingHalfFetched(t *testing.T, home string) {
	t.Helper()
	for _, pattern := range []string{"cache", "bin/*.part", "bin/temp_*", "bin/*/pwfile"} {
		if left, _ := filepath.Glob(filepath.Join(home, pattern)); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "bin", string(fetched), "bin/postgres")); err != nil {
		t.Error(err)
	}
}
