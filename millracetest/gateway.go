// Package millracetest boots the real gateway, with receivers that misbehave,
// for tests that read like the promise they prove.
package millracetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/store/storetest"
)

// Gateway is a running Millrace: each role is a process's worth of it, with
// stores of its own.
type Gateway struct {
	t      testing.TB
	Config app.Config
	Redis  *Redis
	Access app.DevAccess
	Server *Role
	Agent  *Role
	Egress *Role
}

// Role is one role of the gateway. It can be stopped and started again.
type Role struct {
	gateway *Gateway
	options app.Options
	reload  chan app.Config
	cancel  context.CancelFunc
	done    chan error
}

// New boots a gateway. When the test is over, everything must be at rest and
// the projection equal the fold of its facts.
func New(t testing.TB, change ...func(*app.Config)) *Gateway {
	t.Helper()
	g := &Gateway{t: t, Redis: newRedis(t)}
	g.Config = g.config()
	for _, c := range change {
		c(&g.Config)
	}
	made, err := app.CreateProject(t.Context(), g.Config, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	g.Access = app.DevAccess{URL: "http://" + g.Config.Server.Listen, ProjectID: made.ProjectID, APIKey: made.APIKey}
	g.Server, g.Agent, g.Egress = g.role(app.Options{Server: true}), g.role(app.Options{Agent: true}), g.role(app.Options{Egress: true})
	t.Cleanup(g.atRest)
	for _, r := range []*Role{g.Egress, g.Server, g.Agent} {
		r.Start()
	}
	return g
}

// config is a gateway on free ports, with times short enough for a test.
func (g *Gateway) config() app.Config {
	c := app.DefaultConfig()
	c.Postgres.URL = millrace.Sensitive(storetest.Migrated(g.t))
	c.Postgres.MaxReadConns, c.Postgres.StatementTimeout = 6, 2*time.Second
	c.Redis.URL = millrace.Sensitive("redis://" + g.Redis.addr)
	c.Secrets.Keys = []millrace.Sensitive{millrace.Sensitive(app.NewRingKey())}
	c.Server.Listen, c.Egress.Listen = address(g.t), address(g.t)
	c.Egress.AllowLoopback, c.Egress.Proxies = true, []string{"http://" + c.Egress.Listen}
	c.Streams.PublishTimeout = time.Second
	c.Stages.Retry.PollInterval, c.Stages.Retry.SweepInterval, c.Stages.Retry.SweepGrace = 100*time.Millisecond, 300*time.Millisecond, 4*time.Second
	return c
}

func address(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (g *Gateway) role(o app.Options) *Role {
	o.Version, o.Logger = "test", slog.New(slog.DiscardHandler)
	if level := os.Getenv("MILLRACE_TEST_LOG"); level != "" {
		o.Logger = app.NewLogger(app.LogConfig{Level: level, Format: "text"}, os.Stderr)
	}
	reload := make(chan app.Config)
	o.Reload = reload
	return &Role{gateway: g, options: o, reload: reload}
}

// Reload applies a stage tuning to the running role, as SIGHUP does.
func (r *Role) Reload(change func(*app.Config)) {
	r.gateway.t.Helper()
	c := r.gateway.Config
	change(&c)
	select {
	case r.reload <- c:
	case <-time.After(patience):
		r.gateway.t.Error("a role did not take its new configuration")
	}
}

// Start runs the role until Stop, and waits until it serves.
func (r *Role) Start() {
	r.gateway.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	r.cancel, r.done = cancel, make(chan error, 1)
	o := r.options
	o.Ready = func(app.Addresses) { close(ready) }
	go func() { r.done <- app.Run(ctx, r.gateway.Config, o) }()
	select {
	case <-ready:
	case err := <-r.done:
		cancel()
		r.done = nil
		r.gateway.t.Fatalf("start a role: %v", err)
	case <-time.After(patience):
		r.gateway.t.Fatal("a role did not start")
	}
}

// Stop ends the role as SIGTERM does: what is in flight finishes.
func (r *Role) Stop() {
	r.gateway.t.Helper()
	if r.done == nil {
		return
	}
	r.cancel()
	if err := <-r.done; err != nil {
		r.gateway.t.Errorf("stop a role: %v", err)
	}
	r.done = nil
}

// Restart stops the role and starts it again.
func (r *Role) Restart() {
	r.gateway.t.Helper()
	r.Stop()
	r.Start()
}

// atRest waits until nothing is on its way, stops the roles, and compares
// the projection with the fold of the facts.
func (g *Gateway) atRest() {
	g.t.Helper()
	if !g.t.Failed() {
		eventually(g.t, "all deliveries are final, held or due later", g.settled)
	}
	for _, r := range []*Role{g.Server, g.Agent, g.Egress} {
		r.Stop()
	}
	report, err := app.Rebuild(context.Background(), g.Config, true, func(int) {})
	if err != nil {
		g.t.Errorf("rebuild --check: %v", err)
	}
	for _, d := range report.Differences {
		g.t.Errorf("the projection differs from the fold: %+v", d)
	}
}

func (g *Gateway) settled() error {
	var list struct{ Content []json.RawMessage }
	if err := g.Call(http.MethodGet, "/eventdeliveries?status=Processing&perPage=1", nil, &list); err != nil {
		return err
	}
	if len(list.Content) > 0 {
		return fmt.Errorf("in flight: %s", list.Content[0])
	}
	return nil
}

// Receiver makes an endpoint that this test plays, with a subscription to all
// events.
func (g *Gateway) Receiver(change ...Option) *Receiver {
	g.t.Helper()
	o := options{replies: []int{http.StatusOK}, endpoint: map[string]any{"name": "receiver"}, subscription: map[string]any{"name": "receiver"}}
	for _, c := range change {
		c(&o)
	}
	r := &Receiver{t: g.t, replies: o.replies, delay: o.delay}
	r.server = httptest.NewServer(http.HandlerFunc(r.take))
	g.t.Cleanup(r.server.Close)
	o.endpoint["url"] = r.server.URL
	var endpoint struct {
		UID     string
		Secrets []struct{ Value string }
	}
	g.Must(http.MethodPost, "/endpoints", o.endpoint, &endpoint)
	r.EndpointID, r.Secret = endpoint.UID, endpoint.Secrets[0].Value
	if o.subscription != nil {
		o.subscription["endpoint_id"] = endpoint.UID
		g.Must(http.MethodPost, "/subscriptions", o.subscription, nil)
	}
	return r
}

// Sent is what the API answers to an event.
type Sent struct {
	UID       string
	Ack       string
	Duplicate bool
}

// Event is the body of POST /events; With adds members.
func Event(name string, with ...any) map[string]any {
	e := map[string]any{"event_type": name, "data": json.RawMessage(`{"n":1}`)}
	for i := 0; i+1 < len(with); i += 2 {
		e[with[i].(string)] = with[i+1]
	}
	return e
}

// Send hands an event in.
func (g *Gateway) Send(e map[string]any) Sent {
	g.t.Helper()
	return g.SendTo("/events", e)
}

// SendTo hands an event in by another call, such as /events/broadcast.
func (g *Gateway) SendTo(path string, e map[string]any) Sent {
	g.t.Helper()
	var sent Sent
	g.Must(http.MethodPost, path, e, &sent)
	return sent
}

// Must calls the project's API and fails the test if that is refused.
func (g *Gateway) Must(method, path string, body, data any) {
	g.t.Helper()
	if err := g.Call(method, path, body, data); err != nil {
		g.t.Fatal(err)
	}
}

// Refusal is an answer of the API that is no success.
type Refusal struct {
	Status int
	Body   string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%d: %s", r.Status, r.Body) }

// StatusOf is the status of a refusal; 0 for none.
func StatusOf(err error) int {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Status
	}
	return 0
}

// Call calls the project's API; a header may follow as name and value.
func (g *Gateway) Call(method, path string, body, data any, header ...string) error {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	q, err := http.NewRequest(method, g.Access.URL+"/api/v1/projects/"+g.Access.ProjectID+path, content)
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+g.Access.APIKey)
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer func() { _ = a.Body.Close() }()
	answer, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	if a.StatusCode >= 300 {
		return &Refusal{a.StatusCode, string(answer)}
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(answer, &struct{ Data any }{data})
}
