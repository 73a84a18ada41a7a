package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

// clientOf is a client of one project, by any server.
type clientOf struct {
	t       *testing.T
	http    *http.Client
	project string
	key     string
}

func newClientOf(t *testing.T, c Config) *clientOf {
	t.Helper()
	made, err := CreateProject(t.Context(), c, "p")
	if err != nil {
		t.Fatal(err)
	}
	client := &clientOf{t: t, http: &http.Client{Transport: &http.Transport{}}, project: made.ProjectID, key: made.APIKey}
	t.Cleanup(client.http.CloseIdleConnections)
	return client
}

// one is what of a resource these tests look at.
type one struct {
	UID    string `json:"uid"`
	Status string `json:"status"`
}

// ask calls a server and answers with its data.
func (c *clientOf) ask(server *running, method, path, body string) json.RawMessage {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, server.url+"/api/v1/projects/"+c.project+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Prefer", "ack=persisted")
	answer, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var envelope struct {
		Message string
		Data    json.RawMessage
	}
	if err := json.NewDecoder(answer.Body).Decode(&envelope); err != nil || answer.StatusCode >= 300 {
		c.t.Fatalf("%s %s: %d %s %v", method, path, answer.StatusCode, envelope.Message, err)
	}
	return envelope.Data
}

func (c *clientOf) one(server *running, method, path, body string) (r one) {
	c.t.Helper()
	if err := json.Unmarshal(c.ask(server, method, path, body), &r); err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *clientOf) list(server *running, path string) []one {
	c.t.Helper()
	var page struct{ Content []one }
	if err := json.Unmarshal(c.ask(server, http.MethodGet, path, ""), &page); err != nil {
		c.t.Fatal(err)
	}
	return page.Content
}

// writesAndReads changes things by one server, and wants to see each by the
// other at once.
func (c *clientOf) writesAndReads(a, b *running) {
	c.t.Helper()
	endpoint := c.one(a, http.MethodPost, "/endpoints", `{"name": "e", "url": "https://example.com/"}`).UID
	if found := c.list(b, "/endpoints"); len(found) != 1 || found[0].UID != endpoint {
		c.t.Errorf("the endpoints are %v, want %s", found, endpoint)
	}
	c.one(a, http.MethodPut, "/endpoints/"+endpoint+"/pause", "")
	if e := c.one(b, http.MethodGet, "/endpoints/"+endpoint, ""); e.Status != "paused" {
		c.t.Errorf("the endpoint is %s", e.Status)
	}
	event := c.one(a, http.MethodPost, "/events", `{"endpoint_id": "`+endpoint+`", "event_type": "x", "data": {}}`).UID
	if e := c.one(b, http.MethodGet, "/events/"+event, ""); e.UID != event {
		c.t.Errorf("the event is %s, want %s", e.UID, event)
	}
	if found := c.list(b, "/events"); len(found) != 1 || found[0].UID != event {
		c.t.Errorf("the events are %v, want %s", found, event)
	}
	var held []one
	eventually(c.t, "the delivery is there", func() bool {
		held = c.list(b, "/eventdeliveries?eventId="+event)
		return len(held) == 1
	})
	delivery := "/eventdeliveries/" + held[0].UID
	c.one(a, http.MethodPost, delivery+"/cancel", "")
	if d := c.one(b, http.MethodGet, delivery, ""); d.Status != "Discarded" {
		c.t.Errorf("the delivery that was cancelled is %s", d.Status)
	}
	c.one(a, http.MethodPut, delivery+"/resend", "")
	if d := c.one(b, http.MethodGet, delivery, ""); d.Status == "Discarded" {
		c.t.Errorf("the delivery that was sent again is %s", d.Status)
	}
}

// metric reads a figure where a role serves them; -1: there is none.
func metric(t *testing.T, address, series string) float64 {
	t.Helper()
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (.*)$`).FindSubmatch(text)
	if m == nil {
		return -1
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// lines is a log that several goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write adds to the log.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func TestAClientReadsByOneServerWhatItWroteByAnother(t *testing.T) {
	postgres := storetest.Own(t)
	url, _ := startRedis(t)
	c := ofRoles(postgres.URL(), url)
	if err := store.Migrate(t.Context(), c.Postgres.URL, store.Up); err != nil {
		t.Fatal(err)
	}
	replica := postgres.Replica(t)
	leakless(t)
	defer http.DefaultClient.CloseIdleConnections()
	client := newClientOf(t, c)
	a := runRoles(t, c)
	said := &lines{}
	beside := c
	beside.Postgres.ReadReplicas = []millrace.Sensitive{millrace.Sensitive(replica.URL())}
	beside.Postgres.MaxReplicaLag = 3 * time.Second
	port, err := storetest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	beside.Metrics.Listen = "127.0.0.1:" + port
	b := runSome(t, beside, Options{Server: true, Logger: slog.New(slog.NewTextHandler(said, nil))})
	name := strings.TrimSuffix(strings.TrimPrefix(replica.URL(), "postgres://postgres@"), "?sslmode=disable")
	stands := func(state store.ReplicaState) func() bool {
		return func() bool {
			return metric(t, beside.Metrics.Listen, fmt.Sprintf("millrace_replica_state{replica=%q,state=%q}", name, state)) == 1
		}
	}
	served := func(from string) float64 {
		return metric(t, beside.Metrics.Listen, fmt.Sprintf("millrace_replica_reads_total{from=%q}", from))
	}
	eventually(t, "the replica is ready", stands(store.ReplicaReady))
	replica.PauseReplay()
	client.writesAndReads(a, b)

	eventually(t, "the replica is found behind", stands(store.ReplicaBehind))
	replica.ResumeReplay()
	eventually(t, "the replica is ready again", stands(store.ReplicaReady))
	before := served(name)
	eventually(t, "the replica serves reads", func() bool {
		client.list(b, "/events")
		return served(name) > before
	})
	if n := served("primary"); n <= 0 {
		t.Errorf("the primary served %g reads in place of the replica", n)
	}
	if yes, no := said.count(`msg="a replica is read from"`), said.count(`msg="a replica is not read from`); yes < 2 || no != yes-1 {
		t.Errorf("the log says %d times that it is read from and %d times that it is not:\n%s", yes, no, said.text.String())
	}
	for _, r := range []*running{a, b} {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestAServerRefusesTheReplicaOfAnotherDatabase(t *testing.T) {
	postgres, stranger := storetest.Migrated(t), storetest.Own(t)
	leakless(t)
	redis, _ := startRedis(t)
	c := ofRoles(postgres, redis)
	c.Postgres.ReadReplicas = []millrace.Sensitive{millrace.Sensitive(stranger.URL())}
	if _, err := Check(t.Context(), c); err == nil || !strings.Contains(err.Error(), "postgres.read_replicas") {
		t.Errorf("it says %v", err)
	}
}

func TestReplicasMayComeFromTheEnvironmentAndAreNotShown(t *testing.T) {
	base := DefaultConfig()
	base.Secrets.Keys = []millrace.Sensitive{millrace.Sensitive(store.NewKey())}
	c, err := Load(base, Origins{Environ: []string{"MILLRACE_POSTGRES_READ_REPLICAS=postgres://m:hunter2@r1/m,postgres://m:hunter2@r2/m"}})
	if err != nil || len(c.Postgres.ReadReplicas) != 2 {
		t.Fatalf("they are %v: %v", c.Postgres.ReadReplicas, err)
	}
	if shown := fmt.Sprint(c.Settings()); strings.Contains(shown, "hunter2") || strings.Contains(shown, "@r1") {
		t.Errorf("they are shown: %s", shown)
	}
}
