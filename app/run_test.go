package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline"
	"github.com/millrace-dev/millrace/pipeline/streams"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

// ofRoles is a configuration for roles on the given stores, on ports of their
// own.
func ofRoles(postgres, redis string) Config {
	c := DefaultConfig()
	c.Postgres.URL, c.Redis.URL = millrace.Sensitive(postgres), millrace.Sensitive(redis)
	c.Secrets.Keys = []millrace.Sensitive{millrace.Sensitive(store.NewKey())}
	c.Server.Listen, c.Egress.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Streams.ShutdownTimeout, c.Server.ShutdownTimeout = time.Second, time.Second
	return c
}

// running is roles that run.
type running struct {
	t      *testing.T
	url    string
	cancel context.CancelFunc
	done   chan error
	reload chan Config
}

func runRoles(t *testing.T, c Config) *running {
	t.Helper()
	return runSome(t, c, Options{Server: true, Agent: true})
}

func runSome(t *testing.T, c Config, o Options) *running {
	t.Helper()
	r := &running{t: t, done: make(chan error, 1), reload: make(chan Config)}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	t.Cleanup(cancel)
	ready := make(chan Addresses, 1)
	o.Reload, o.Ready = r.reload, func(a Addresses) { ready <- a }
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	go func() { r.done <- Run(ctx, c, o) }()
	select {
	case a := <-ready:
		r.url = a.URL
	case err := <-r.done:
		t.Fatalf("the roles ended: %v", err)
	case <-time.After(soon):
		t.Fatalf("the roles are not ready within %s", soon)
	}
	return r
}

// apply reloads, and answers when the roles run with it.
func (r *running) apply(c Config) {
	r.t.Helper()
	for range 2 { // the second is taken when the first is applied
		select {
		case r.reload <- c:
		case err := <-r.done:
			r.t.Fatalf("the roles ended: %v", err)
		case <-time.After(soon):
			r.t.Fatalf("a configuration is not taken within %s", soon)
		}
	}
}

func (r *running) stop() error {
	r.t.Helper()
	r.cancel()
	return ended(r.t, r.done)
}

func ended(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(soon):
		t.Fatalf("the roles do not end within %s", soon)
	}
	return nil
}

func TestRolesThatCannotAllStartEndWithAReason(t *testing.T) {
	postgres := storetest.Migrated(t)
	leakless(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	redis, _ := startRedis(t)
	base := ofRoles(postgres, redis)
	for name, c := range map[string]struct {
		spoil func(c *Config)
		says  string
	}{
		"the API's port is taken":        {func(c *Config) { c.Server.Listen = taken.Addr().String() }, "server.listen"},
		"the metrics' port is taken":     {func(c *Config) { c.Metrics.Listen = taken.Addr().String() }, "metrics.listen"},
		"the egress's port is taken":     {func(c *Config) { c.Egress.Listen = taken.Addr().String() }, "egress.listen"},
		"the configuration has faults":   {func(c *Config) { c.Redis.Pool = 0 }, "redis.pool"},
		"the certificate is not there":   {func(c *Config) { c.Server.TLSCert, c.Server.TLSKey = "nowhere", "nowhere" }, "nowhere"},
		"Redis has no such database":     {func(c *Config) { c.Redis.URL += "/99" }, "redis.url"},
		"there is no key to seal with":   {func(c *Config) { c.Secrets.Keys = nil }, "secrets.keys"},
		"the traces' address is no such": {func(c *Config) { c.Tracing.Endpoint = "nowhere" }, "tracing.endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			config := base
			c.spoil(&config)
			done := make(chan error, 1)
			go func() {
				done <- Run(t.Context(), config, Options{Server: true, Agent: true, Egress: true, Logger: slog.New(slog.DiscardHandler)})
			}()
			if err := ended(t, done); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, want %q", err, c.says)
			}
		})
	}
}

func TestAStartThatIsCancelledEnds(t *testing.T) {
	leakless(t)
	c := ofRoles("postgres://millrace@"+closedPort(t)+"/millrace?sslmode=disable", "redis://"+closedPort(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, c, Options{Server: true, Agent: true, Egress: true, Logger: slog.New(slog.DiscardHandler)})
	}()
	cancel()
	if err := ended(t, done); !millrace.IsUnavailable(err) {
		t.Errorf("it says %v", err)
	}
}

func TestANewTuningIsAppliedWithoutARestart(t *testing.T) {
	postgres := storetest.Migrated(t)
	leakless(t)
	redis, _ := startRedis(t, "--maxmemory", "100mb")
	c := ofRoles(postgres, redis)
	c.Stages.Ingest.MaxBytes = 1024
	r := runRoles(t, c)
	send := sender(t, c, r.url)
	if status, _ := send(2000); status != http.StatusRequestEntityTooLarge {
		t.Errorf("2000 bytes of 1024: %d", status)
	}
	if status, ack := send(1000); status != http.StatusCreated || ack != "ack=queued" {
		t.Errorf("with room in Redis: %d, %s", status, ack)
	}
	c.Stages.Ingest.MaxBytes, c.Stages.Ingest.PersistAt = 32<<20, 0.001
	r.apply(c)
	for _, size := range []int{2000, 20 << 20} {
		eventually(t, "Redis is known to be too full", func() bool {
			status, ack := send(size)
			if status != http.StatusCreated {
				t.Errorf("%d bytes of 33554432: %d", size, status)
			}
			return ack == "ack=persisted"
		})
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// sender makes a project and sends events of a size to it; it answers with
// the status and the level of the acknowledgement.
func sender(t *testing.T, c Config, url string) func(size int) (int, string) {
	t.Helper()
	ring, err := c.Secrets.ring()
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), c.Postgres, ring)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	project, err := s.CreateProject(t.Context(), millrace.Project{Name: "p", Type: "outgoing", Config: millrace.DefaultProjectConfig()})
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := s.CreateAPIKey(t.Context(), millrace.APIKey{ProjectID: project.ID, Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return func(size int) (int, string) {
		body := fmt.Sprintf(`{"event_type":"a","data":{"x":%q}}`, strings.Repeat("x", size-len(`{"x":""}`)))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1/projects/"+project.ID.String()+"/events/broadcast", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode, answer.Header.Get("Preference-Applied")
	}
}

func TestRolesReloadAndEndInTimeThoughPostgreSQLIsAway(t *testing.T) {
	postgres := storetest.Own(t)
	leakless(t)
	url, _ := startRedis(t)
	c := ofRoles(postgres.URL(), url)
	if err := store.Migrate(t.Context(), c.Postgres.URL, store.Up); err != nil {
		t.Fatal(err)
	}
	r := runRoles(t, c)
	postgres.Kill()
	client := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(url, "redis://")})
	defer func() { _ = client.Close() }()
	out, err := streams.NewPublisher(client, streams.PublisherConfig{Prefix: c.Streams.Prefix, Timeout: soon})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	id := millrace.NewID(time.Now()).String()
	if err := out.Publish(string(pipeline.Ingested), message.NewMessage(id, []byte(`{"id":"`+id+`","type":"a"}`+"\n{}"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "persist has read the event", func() bool {
		p, err := client.XPending(t.Context(), c.Streams.Prefix+string(pipeline.Ingested), pipeline.Group("persist")).Result()
		return err == nil && p.Count == 1
	})
	c.Stages.Persist.Concurrency = 7
	r.apply(c)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}
