package store_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

// guarded is a PostgreSQL that asks one user for a password, lets one in from
// nowhere, and all others as they are.
func guarded(t *testing.T) (*url.URL, func(statement string)) {
	t.Helper()
	server := storetest.Own(t)
	db := storetest.DB(t, server.URL())
	do := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	do(`CREATE ROLE careful LOGIN PASSWORD 'right'`)
	do(`CREATE ROLE outsider LOGIN`)
	do(`CREATE ROLE barred NOLOGIN`)
	do(`GRANT CREATE ON SCHEMA public TO careful`)
	do(`DO $$ BEGIN EXECUTE format($f$ COPY (VALUES
		('host all careful 127.0.0.1/32 scram-sha-256'), ('host all outsider 127.0.0.1/32 reject'), ('host all all 127.0.0.1/32 trust')) TO %L $f$,
		current_setting('hba_file')); END $$`)
	do(`SELECT pg_reload_conf()`)
	at := must[*url.URL](t)(url.Parse(server.URL()))
	eventually(t, "the new rules hold", func() bool {
		return strings.Contains(opened(t, as(at, url.User("outsider"), "postgres")).Error(), "pg_hba.conf")
	})
	return at, do
}

// as is the configuration of a user and a database.
func as(at *url.URL, user *url.Userinfo, database string) store.Config {
	u := *at
	u.User, u.Path = user, database
	c := store.DefaultConfig()
	c.URL = millrace.Sensitive(u.String())
	return c
}

// opened is why no store opens on a database without a schema.
func opened(t *testing.T, c store.Config) error {
	t.Helper()
	s, err := store.Open(t.Context(), c, storetest.Ring(t))
	if err == nil {
		noError(t, s.Close())
		t.Fatal("it opened")
	}
	return err
}

func TestWhoIsNotLetInIsToldSoAndDoesNotWait(t *testing.T) {
	t.Parallel()
	at, do := guarded(t)
	for _, c := range []struct {
		rule, says string
		user       *url.Userinfo
		database   string
	}{
		{"a wrong password", `postgres.url: PostgreSQL answers and does not let this user in: password authentication failed for user "careful" (SQLSTATE 28P01)`, url.UserPassword("careful", "wrong"), "postgres"},
		{"no password", `does not let this user in: `, url.User("careful"), "postgres"},
		{"a user that there is not", `does not let this user in: role "stranger" does not exist (SQLSTATE 28000)`, url.User("stranger"), "postgres"},
		{"a user that may not log in", `does not let this user in: role "barred" is not permitted to log in`, url.User("barred"), "postgres"},
		{"a user that pg_hba.conf rejects", `does not let this user in: pg_hba.conf rejects`, url.User("outsider"), "postgres"},
		{"a database that there is not", `postgres.url: PostgreSQL answers and has no such database: database "none" does not exist; create it, or name another`, url.User("postgres"), "none"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			config := as(at, c.user, c.database)
			err := opened(t, config)
			if says := err.Error(); millrace.IsUnavailable(err) || !strings.Contains(says, c.says) || strings.Contains(says, "\n") {
				t.Errorf("it says %q, want %q", says, c.says)
			}
			if migrated := store.Migrate(t.Context(), config.URL, store.Up); migrated == nil || migrated.Error() != err.Error() {
				t.Errorf("migrate says %v", migrated)
			}
		})
	}
	t.Run("who was let in before waits", func(t *testing.T) {
		c := as(at, url.UserPassword("careful", "right"), "postgres")
		noError(t, store.Migrate(t.Context(), c.URL, store.Up))
		s := must[*store.Store](t)(store.Open(t.Context(), c, storetest.Ring(t)))
		defer func() { noError(t, s.Close()) }()
		do(`ALTER ROLE careful PASSWORD 'changed'`)
		do(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'careful'`)
		eventually(t, "its connections are gone", func() bool {
			err := s.Ping(t.Context())
			return err != nil && strings.Contains(err.Error(), "28P01")
		})
		if err := s.Ping(t.Context()); !millrace.IsUnavailable(err) {
			t.Errorf("its password changed under it: %v", err)
		}
		if _, err := s.Claim(t.Context(), newID(), 1, "entry"); !millrace.IsUnavailable(err) {
			t.Errorf("its password changed under it, a claim says %v", err)
		}
		do(`ALTER ROLE careful PASSWORD 'right'`)
		noError(t, s.Ping(t.Context()))
	})
}
