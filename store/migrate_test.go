package store_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/migrations"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

func TestSeveralMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := storetest.Empty(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := store.Migrate(t.Context(), millrace.Sensitive(url), store.Up); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	status, err := store.MigrationStatus(t.Context(), millrace.Sensitive(url))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range status {
		if !m.Applied {
			t.Errorf("%s is not applied", m.Name)
		}
	}
	storetest.Open(t, url)
}

func TestMigratingDownLeavesNothingAndUpAgainWorks(t *testing.T) {
	t.Parallel()
	url := millrace.Sensitive(storetest.Migrated(t))
	for range migrations.Latest() + 1 {
		if err := store.Migrate(t.Context(), url, store.Down); err != nil {
			t.Fatal(err)
		}
	}
	var left int
	err := storetest.DB(t, url.Reveal()).QueryRow(`SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT LIKE 'goose%'`).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d tables are left, %v", left, err)
	}
	if err := store.Migrate(t.Context(), url, store.Up); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, url.Reveal())
}

// Keys that were taken before there were kinds of them are clients'.
func TestOldKeysBecomeClientsAndGoBack(t *testing.T) {
	t.Parallel()
	url := storetest.Migrated(t)
	db := storetest.DB(t, url)
	down := func() {
		for range migrations.Latest() - 3 {
			noError(t, store.Migrate(t.Context(), millrace.Sensitive(url), store.Down))
		}
	}
	keys := func() (all string) {
		noError(t, db.QueryRow(`SELECT string_agg(key, ' ' ORDER BY key) FROM idempotency_keys`).Scan(&all))
		return all
	}
	insert := `INSERT INTO idempotency_keys (project_id, key, event_id, body_hash, expires_at) SELECT gen_random_uuid(), key, gen_random_uuid(), '', now() FROM unnest($1::text[]) AS key`
	down()
	_, err := db.Exec(insert, `{a,client:b,broker:c}`)
	noError(t, err)
	noError(t, store.Migrate(t.Context(), millrace.Sensitive(url), store.Up))
	if got, want := keys(), "client:a client:broker:c client:client:b"; got != want {
		t.Errorf("they became %q, want %q", got, want)
	}
	_, err = db.Exec(insert, `{broker:d,source:e}`)
	noError(t, err)
	down()
	if got, want := keys(), "a broker:c client:b"; got != want {
		t.Errorf("they went back to %q, want %q", got, want)
	}
}

func TestAnUnknownSchemaIsRefusedWithTheCommandToRun(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ change, want string }{
		"empty":     {`DROP TABLE goose_db_version`, "millrace migrate up"},
		"too old":   {`DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`, "millrace migrate up"},
		"too young": {`INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)`, "millrace migrate down"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := storetest.Migrated(t)
			if _, err := storetest.DB(t, url).Exec(c.change); err != nil {
				t.Fatal(err)
			}
			config := store.DefaultConfig()
			config.URL = millrace.Sensitive(url)
			_, err := store.Open(t.Context(), config, storetest.Ring(t))
			if !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("opened with %v, want ErrSchema naming %q", err, c.want)
			}
		})
	}
}
