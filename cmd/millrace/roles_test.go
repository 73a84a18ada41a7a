package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/localstores"
	"github.com/millrace-dev/millrace/store/storetest"
)

// TestRoles runs server, agent and egress apart, from an empty database on,
// as an operator does.
func TestRoles(t *testing.T) {
	t.Parallel()
	s, stores := operatorShell(t)
	first := app.NewRingKey()
	s.env = append(s.env, "MILLRACE_SECRETS_KEYS="+first)

	t.Run("nothing starts on a schema it does not know", func(t *testing.T) {
		s.refuse(t, exitFailed, "run `millrace migrate up`", "server")
		s.refuse(t, exitFailed, "run `millrace migrate up`", "agent")
		s.refuse(t, exitFailed, "run `millrace migrate up`", "project", "create", "shop")
		r := s.start(t, "config", "check").wait(exitFailed)
		wantIn(t, r.err.String(), "run `millrace migrate up`")
		wantIn(t, s.run(t, "migrate", "status"), "not applied")
	})
	t.Run("migrate up needs the database alone", func(t *testing.T) {
		keyless := s
		keyless.env = s.env[:len(s.env)-1]
		if got := keyless.run(t, "migrate", "up"); strings.Contains(got, "not applied") {
			t.Errorf("a step is not applied:\n%s", got)
		}
		wantIn(t, s.run(t, "config", "check"), "PostgreSQL answers and suits", "Redis answers and suits", "The configuration is good.")
	})
	t.Run("a Redis that evicts is refused", func(t *testing.T) { evicting(t, s, stores.RedisURL.Reveal()) })

	server, agent, egress := startRoles(t, s)
	s.env = append(s.env, "MILLRACE_URL=http://"+strings.TrimPrefix(field(server.err.String(), "url="), "http://"))

	t.Run("the first project and the instance key come straight from PostgreSQL", func(t *testing.T) {
		var project, key app.Created
		made(t, s.run(t, "project", "create", "shop", "--json"), &project)
		made(t, s.run(t, "key", "create", "operator", "--instance", "--json"), &key)
		wantIn(t, s.run(t, "project", "list", "--api-key", key.APIKey), project.ProjectID, "shop")
		wantIn(t, s.run(t, "key", "list", "--instance", "--api-key", key.APIKey), "operator")
		s.env = append(s.env, "MILLRACE_PROJECT_ID="+project.ProjectID, "MILLRACE_API_KEY="+project.APIKey)
	})
	t.Run("an event is delivered through all three, signature verified", func(t *testing.T) {
		l := s.start(t, "listen", "--port", freePort(t), "--count", "1")
		l.await(l.err, "a new endpoint")
		s.run(t, "send", "order.paid", `{"id": 1}`, "--ack", "persisted")
		wantIn(t, l.wait(exitDone).out.String(), "order.paid", "signature verified")
	})
	t.Run("SIGHUP applies the tuning of the stages, and no faulty one", func(t *testing.T) { hangUp(t, s, agent) })
	t.Run("the key ring is rotated", func(t *testing.T) {
		rotating := s
		rotating.env = append(append([]string{}, s.env...), "MILLRACE_SECRETS_KEYS="+app.NewRingKey()+","+first)
		wantIn(t, rotating.run(t, "key-ring", "rotate"), "2 secrets were sealed anew", "Key "+strings.Split(first, ":")[0]+" is still needed: by 0 secrets, and by 2 API keys")
	})
	t.Run("rebuild finds what was changed by hand, and repairs it", func(t *testing.T) { rebuilt(t, s, stores.PostgresURL.Reveal()) })
	t.Run("SIGTERM ends each role without a fault", func(t *testing.T) {
		for _, r := range []*running{server, agent, egress} {
			if err := r.process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r.wait(exitDone)
		}
	})
}

// operatorShell has a PostgreSQL and a Redis to be configured by environment.
func operatorShell(t *testing.T) (shell, *localstores.Stores) {
	t.Helper()
	dir, err := os.MkdirTemp("", "millrace-roles-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL's user must pass
		t.Fatal(err)
	}
	c := localstores.DefaultConfig()
	c.Data, c.StateDir = filepath.Join(dir, "data"), filepath.Join(dir, "state")
	stores, err := localstores.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := stores.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return shell{dir: dir, env: []string{
		"MILLRACE_POSTGRES_URL=" + stores.PostgresURL.Reveal(), "MILLRACE_REDIS_URL=" + stores.RedisURL.Reveal(),
	}}, stores
}

// startRoles starts the three; the agent reads a file, to be changed.
func startRoles(t *testing.T, s shell) (server, agent, egress *running) {
	t.Helper()
	egress = s.start(t, "egress", "--set", "egress.listen=127.0.0.1:"+freePort(t), "--set", "egress.allow_loopback=true")
	egress.await(egress.err, "millrace serves")
	tuning(t, s, "concurrency: 7")
	server = s.start(t, "server", "--set", "server.listen=127.0.0.1:0", "--set", "egress.allow_loopback=true")
	agent = s.start(t, "agent", "--config", "tuning.yml", "--set", "egress.proxies=http://"+field(egress.err.String(), "egress="))
	server.await(server.err, "millrace serves")
	agent.await(agent.err, "millrace serves")
	return server, agent, egress
}

func tuning(t *testing.T, s shell, deliver string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "tuning.yml"), []byte("stages:\n  deliver:\n    "+deliver+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func hangUp(t *testing.T, s shell, agent *running) {
	tuning(t, s, "concurrency: none")
	if err := agent.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	agent.await(agent.err, "the new configuration is not used")
	wantIn(t, agent.err.String(), "stages.deliver.concurrency must be a whole number")
	tuning(t, s, "concurrency: 3")
	if err := agent.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	agent.await(agent.err, "the stages run with the new configuration")
	l := s.start(t, "listen", "--port", freePort(t), "--count", "1")
	l.await(l.err, "a new endpoint")
	s.run(t, "send", "order.paid")
	wantIn(t, l.wait(exitDone).out.String(), "signature verified")
}

func evicting(t *testing.T, s shell, url string) {
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	policy := func(name string) {
		if err := client.ConfigSet(t.Context(), "maxmemory-policy", name).Err(); err != nil {
			t.Fatal(err)
		}
	}
	policy("allkeys-lru")
	defer policy("noeviction")
	s.refuse(t, exitFailed, "set it to noeviction", "server")
	r := s.start(t, "config", "check").wait(exitFailed)
	wantIn(t, r.err.String(), "set it to noeviction")
}

func rebuilt(t *testing.T, s shell, url string) {
	db := storetest.DB(t, url)
	checked := func(code int, want string) {
		t.Helper()
		wantIn(t, s.start(t, "rebuild", "--check").wait(code).out.String(), want)
	}
	checked(exitDone, "0 differences found.")
	if _, err := db.ExecContext(t.Context(), `UPDATE deliveries SET attempts = attempts + 1`); err != nil {
		t.Fatal(err)
	}
	checked(exitFailed, "differences found.")
	wantIn(t, s.run(t, "rebuild"), "differences repaired.")
	checked(exitDone, "0 differences found.")
}

// field is the value behind a name in a log line.
func field(text, name string) string {
	_, rest, _ := strings.Cut(text, name)
	value, _, _ := strings.Cut(rest, "\n")
	value, _, _ = strings.Cut(value, " ")
	return value
}

func made(t *testing.T, text string, into *app.Created) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil || into.APIKey == "" {
		t.Fatalf("%q, %v", text, err)
	}
}
