package localstores

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// deadline is for whatever a test waits for, on a slow and busy machine.
const deadline = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv("LOCALSTORES_CHILD") != "" {
		os.Exit(childMain())
	}
	goleak.VerifyTestMain(m)
}

func TestStoresKeepWhatTheyTook(t *testing.T) {
	cfg := testConfig(t)
	first := startStores(t, cfg)
	remember(t, first.PostgresURL.Reveal(), first.RedisURL.Reveal(), "one")
	stopStores(t, first)
	if running(first.postgres.os.Pid, cfg) || running(first.redis.os.Pid, cfg) {
		t.Error("a store still runs after Stop")
	}

	began := time.Now()
	second := startStores(t, cfg)
	t.Logf("warm start took %s", time.Since(began))
	wantRemembered(t, second.PostgresURL.Reveal(), second.RedisURL.Reveal(), "one")
	stopStores(t, second)
	if err := second.Stop(t.Context()); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
}

func TestStoresAreSetUpToKeepWhatTheyAcknowledge(t *testing.T) {
	s := startStores(t, testConfig(t))
	db := openPostgres(t, s.PostgresURL.Reveal())
	for name, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "listen_addresses": "127.0.0.1", "server_encoding": "UTF8", "TimeZone": "UTC"} {
		var got string
		if err := db.QueryRowContext(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q (%v), want %q", name, got, err, want)
		}
	}
	client := openRedis(t, s.RedisURL.Reveal())
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"} {
		got, err := client.ConfigGet(t.Context(), name).Result()
		if err != nil || got[name] != want {
			t.Errorf("%s = %q (%v), want %q", name, got[name], err, want)
		}
	}
	if len(s.Notes) != 2 || !strings.HasPrefix(s.Notes[0], "PostgreSQL ") || !strings.HasPrefix(s.Notes[1], "Redis ") {
		t.Errorf("notes = %q", s.Notes)
	}
}

func TestStoresRefuseWhoDoesNotKnowThePassword(t *testing.T) {
	s := startStores(t, testConfig(t))
	for name, err := range map[string]error{
		"PostgreSQL":                pingPostgres(t, withPassword(t, s.PostgresURL, "guess")),
		"PostgreSQL, no password":   pingPostgres(t, withPassword(t, s.PostgresURL, "")),
		"Redis":                     pingRedis(t, withPassword(t, s.RedisURL, "guess")),
		"Redis, without a password": pingRedis(t, withPassword(t, s.RedisURL, "")),
	} {
		if err == nil {
			t.Errorf("%s let a stranger in", name)
		}
	}
	for _, p := range []*process{s.postgres, s.redis} {
		if line := commandLine(p.os.Pid); line == "" || strings.Contains(line, password(t, s.PostgresURL)) || strings.Contains(line, password(t, s.RedisURL)) {
			t.Errorf("the command line of %s shows a password, or nothing: %q", p.name, line)
		}
	}
}

func TestStartRefusesAFolderInUse(t *testing.T) {
	cfg := testConfig(t)
	startStores(t, cfg)
	wantRefusal(t, cfg, "is in use by another millrace (process ", "--data")
}

func TestStartRefusesACopyOfAFolderInUse(t *testing.T) {
	cfg := testConfig(t)
	s := startStores(t, cfg)
	copied := cfg
	copied.Data = filepath.Join(filepath.Dir(cfg.Data), "copied")
	if err := os.MkdirAll(copied.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	// What a copy made by root holds: the same pointer. An ordinary user's
	// copy holds a database of its own, which the pointer stands for here.
	home := filepath.Dir(s.postgres.args[1])
	if err := os.WriteFile(filepath.Join(copied.Data, "postgres.path"), []byte(home), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		wantRefusal(t, copied, "is in use by another millrace (process ")
	} else {
		wantRefusal(t, copied, "was made by root")
	}
}

func TestStartRefusesTheDatabaseOfAnotherPostgreSQL(t *testing.T) {
	cfg := testConfig(t)
	s := startStores(t, cfg)
	stopStores(t, s)
	overwrite(t, filepath.Join(s.postgres.args[1], "PG_VERSION"), "13\n")
	wantRefusal(t, cfg, "was made by PostgreSQL 13, and this machine has ", "--data")
}

func TestStartRefusesADamagedDatabaseInOneSentence(t *testing.T) {
	cfg := testConfig(t)
	s := startStores(t, cfg)
	stopStores(t, s)
	if err := os.RemoveAll(filepath.Join(s.postgres.args[1], "global")); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, cfg, "PostgreSQL did not start: could not ")
}

func TestStartRefusesDamagedRedisDataInOneSentence(t *testing.T) {
	cfg := testConfig(t)
	stopStores(t, startStores(t, cfg))
	parts, err := filepath.Glob(filepath.Join(cfg.Data, "redis/appendonlydir/*.manifest"))
	if err != nil || len(parts) != 1 {
		t.Fatalf("append-only files = %q, %v", parts, err)
	}
	overwrite(t, parts[0], "nonsense\n")
	wantRefusal(t, cfg, "Redis did not start: ")
}

func TestStartMakesTheDatabaseAgainWhenThatWasCutShort(t *testing.T) {
	cfg := testConfig(t)
	data, err := openFolder(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	db, err := placePostgres(data, cfg)
	if err != nil {
		t.Fatal(err)
	}
	half := db.cluster() + ".new"
	if err := errors.Join(os.MkdirAll(half, 0o700), os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("15\n"), 0o600), db.lock.release(), data.lock.release()); err != nil {
		t.Fatal(err)
	}
	s := startStores(t, cfg)
	if err := pingPostgres(t, s.PostgresURL.Reveal()); err != nil {
		t.Error(err)
	}
}

func TestAStoreThatDiesIsReported(t *testing.T) {
	for name, victim := range map[string]func(*Stores) *process{
		"PostgreSQL": func(s *Stores) *process { return s.postgres },
		"Redis":      func(s *Stores) *process { return s.redis },
	} {
		t.Run(name, func(t *testing.T) {
			s := startStores(t, testConfig(t))
			if err := victim(s).os.Kill(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-s.Died():
				if !strings.HasPrefix(err.Error(), name+" ended by itself: ") {
					t.Errorf("died with %q", err)
				}
			case <-time.After(deadline):
				t.Error("nobody was told")
			}
		})
	}
}

func TestStopEndsTheStoresEvenWhenItsTimeIsUp(t *testing.T) {
	cfg := testConfig(t)
	s := startStores(t, cfg)
	openPostgres(t, s.PostgresURL.Reveal())
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(late); err != nil {
		t.Error(err)
	}
	if running(s.postgres.os.Pid, cfg) || running(s.redis.os.Pid, cfg) {
		t.Error("a store still runs after Stop")
	}
}

func TestStartGivesUpWhenToldTo(t *testing.T) {
	cfg := testConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ctx, cfg); err == nil {
		stopStores(t, s)
		t.Fatal("started, although cancelled")
	}
	stopStores(t, startStores(t, cfg)) // and holds no lock
}

func TestConfigIsRefusedWithAllItsFaults(t *testing.T) {
	cfg := Config{StateDir: "here", Repository: "ftp://example.com"}
	_, err := Start(t.Context(), cfg)
	for _, want := range []string{"data: ", "state_dir: ", "repository: ", "start_timeout: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func BenchmarkWarmStart(b *testing.B) {
	cfg := testConfig(b)
	for b.Loop() {
		s := startStores(b, cfg)
		b.StopTimer()
		stopStores(b, s)
		b.StartTimer()
	}
}

// testConfig has a data folder of its own, which any user may reach.
func testConfig(t testing.TB) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "millrace stores ") // a path with spaces
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Data, cfg.StateDir = filepath.Join(dir, "data"), filepath.Join(dir, "state")
	cfg.Repository = "http://127.0.0.1:9" // nothing is fetched unless a test says so
	return cfg
}

func startStores(t testing.TB, cfg Config) *Stores {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopStores(t, s) })
	return s
}

func stopStores(t testing.TB, s *Stores) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// wantRefusal wants one sentence that holds all of these.
func wantRefusal(t *testing.T, cfg Config, parts ...string) {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err == nil {
		stopStores(t, s)
		t.Fatal("started")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q is more than one line", err)
	}
}

func running(pid int, cfg Config) bool {
	return strings.Contains(commandLine(pid), filepath.Dir(cfg.Data))
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func openPostgres(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func openRedis(t *testing.T, url string) *goredis.Client {
	t.Helper()
	options, err := goredis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

func pingPostgres(t *testing.T, url string) error {
	return openPostgres(t, url).PingContext(t.Context())
}

func pingRedis(t *testing.T, url string) error { return openRedis(t, url).Ping(t.Context()).Err() }

// remember writes a value into both stores.
func remember(t *testing.T, postgresURL, redisURL, value string) {
	t.Helper()
	db := openPostgres(t, postgresURL)
	_, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS kept (value text)")
	if err == nil {
		_, err = db.ExecContext(t.Context(), "INSERT INTO kept VALUES ($1)", value)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := openRedis(t, redisURL).Set(t.Context(), "kept", value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func wantRemembered(t *testing.T, postgresURL, redisURL, want string) {
	t.Helper()
	var got string
	if err := openPostgres(t, postgresURL).QueryRowContext(t.Context(), "SELECT value FROM kept").Scan(&got); err != nil || got != want {
		t.Errorf("PostgreSQL kept %q (%v), want %q", got, err, want)
	}
	if got, err := openRedis(t, redisURL).Get(t.Context(), "kept").Result(); err != nil || got != want {
		t.Errorf("Redis kept %q (%v), want %q", got, err, want)
	}
}
