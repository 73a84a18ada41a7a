package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	millrace "github.com/millrace-dev/millrace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testNow = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

// fakeStore keeps everything in memory, and the last query of each kind.
type fakeStore struct {
	mu          sync.Mutex
	err         error // what every call answers, if set
	projects    []millrace.Project
	keys        []millrace.APIKey
	endpoints   []millrace.Endpoint
	subs        []millrace.Subscription
	sources     []millrace.Source
	states      map[millrace.ID]millrace.SourceState
	events      []millrace.EventRecord
	deliveries  []millrace.DeliveryRecord
	attempts    []millrace.Fact
	deadLetters []millrace.DeadLetter
	log         []millrace.LogEntry
	hasNext     bool
	hasPrev     bool
	asked       any
	actor       string
	did         []string
}

func find[T any](f *fakeStore, rows []T, noun string, is func(T) bool) (*T, error) {
	if f.err != nil {
		return nil, f.err
	}
	if i := slices.IndexFunc(rows, is); i >= 0 {
		return &rows[i], nil
	}
	return nil, millrace.NotFound(noun)
}

func list[T any](f *fakeStore, asked any, rows []T) (millrace.List[T], error) {
	f.asked = asked
	return millrace.List[T]{Items: rows, HasNext: f.hasNext, HasPrev: f.hasPrev}, f.err
}

func read[T any](p *T, err error) (t T, _ error) {
	if err != nil {
		return t, err
	}
	return *p, nil
}

func (f *fakeStore) Project(_ context.Context, id millrace.ID) (millrace.Project, error) {
	return read(find(f, f.projects, "project", func(p millrace.Project) bool { return p.ID == id }))
}

func (f *fakeStore) Projects(_ context.Context, p millrace.Page) (millrace.List[millrace.Project], error) {
	return list(f, p, f.projects)
}

func (f *fakeStore) CreateProject(ctx context.Context, p millrace.Project) (millrace.Project, error) {
	p.ID, p.CreatedAt, f.actor = millrace.NewID(testNow), testNow, millrace.Actor(ctx)
	f.projects = append(f.projects, p)
	return p, f.err
}

func (f *fakeStore) UpdateProject(_ context.Context, id millrace.ID, change func(*millrace.Project) error) (millrace.Project, error) {
	p, err := find(f, f.projects, "project", func(p millrace.Project) bool { return p.ID == id })
	return changed(p, err, change)
}

func (f *fakeStore) DeleteProject(_ context.Context, id millrace.ID) error {
	f.did = append(f.did, "delete project "+id.String())
	_, err := f.Project(context.Background(), id)
	return err
}

// changed changes a copy, so that a refused change leaves the row alone.
func changed[T any](row *T, err error, change func(*T) error) (next T, _ error) {
	if err != nil {
		return next, err
	}
	next = *row
	if err := change(&next); err != nil {
		return next, err
	}
	*row = next
	return next, nil
}

func (f *fakeStore) CreateAPIKey(_ context.Context, k millrace.APIKey) (string, millrace.APIKey, error) {
	k.ID, k.Prefix, k.CreatedAt = millrace.NewID(testNow), "mr_new", testNow
	f.keys = append(f.keys, k)
	return "mr_new_in_the_clear", k, f.err
}

func (f *fakeStore) APIKeys(_ context.Context, project millrace.ID) (keys []millrace.APIKey, _ error) {
	for _, k := range f.keys {
		if k.ProjectID == project {
			keys = append(keys, k)
		}
	}
	return keys, f.err
}

func (f *fakeStore) RevokeAPIKey(_ context.Context, id millrace.ID) error {
	f.did = append(f.did, "revoke "+id.String())
	return f.err
}

func (f *fakeStore) Endpoint(_ context.Context, project, id millrace.ID) (millrace.Endpoint, error) {
	return read(f.endpoint(project, id))
}

func (f *fakeStore) endpoint(project, id millrace.ID) (*millrace.Endpoint, error) {
	return find(f, f.endpoints, "endpoint", func(e millrace.Endpoint) bool { return e.ProjectID == project && e.ID == id })
}

func (f *fakeStore) Endpoints(_ context.Context, q millrace.EndpointQuery) (millrace.List[millrace.Endpoint], error) {
	if len(q.IDs) == 0 {
		return list(f, q, f.endpoints)
	}
	var some []millrace.Endpoint
	for _, e := range f.endpoints {
		if slices.Contains(q.IDs, e.ID) {
			some = append(some, e)
		}
	}
	return millrace.List[millrace.Endpoint]{Items: some}, f.err
}

func (f *fakeStore) CreateEndpoint(ctx context.Context, e millrace.Endpoint) (millrace.Endpoint, error) {
	e.ID, e.CreatedAt, f.actor = millrace.NewID(testNow), testNow, millrace.Actor(ctx)
	if len(e.Secrets) == 0 {
		e.Secrets = []millrace.Secret{{Value: millrace.NewSecret()}}
	}
	f.endpoints = append(f.endpoints, e)
	return e, f.err
}

func (f *fakeStore) UpdateEndpoint(_ context.Context, project, id millrace.ID, change func(*millrace.Endpoint) error) (millrace.Endpoint, error) {
	e, err := f.endpoint(project, id)
	return changed(e, err, change)
}

func (f *fakeStore) DeleteEndpoint(_ context.Context, project, id millrace.ID) error {
	_, err := f.endpoint(project, id)
	f.endpoints = slices.DeleteFunc(f.endpoints, func(e millrace.Endpoint) bool { return e.ID == id })
	return err
}

func (f *fakeStore) ExpireSecret(_ context.Context, project, id millrace.ID, secret millrace.Sensitive, expires time.Time) (millrace.Endpoint, error) {
	e, err := f.endpoint(project, id)
	return changed(e, err, func(e *millrace.Endpoint) error {
		if secret == "" {
			secret = millrace.NewSecret()
		}
		e.Secrets = slices.Clone(e.Secrets)
		for i := range e.Secrets {
			e.Secrets[i].ExpiresAt = expires
		}
		e.Secrets = append(e.Secrets, millrace.Secret{Value: secret})
		return nil
	})
}

func (f *fakeStore) Subscription(_ context.Context, project, id millrace.ID) (millrace.Subscription, error) {
	return read(find(f, f.subs, "subscription", func(s millrace.Subscription) bool { return s.ProjectID == project && s.ID == id }))
}

func (f *fakeStore) Subscriptions(_ context.Context, q millrace.SubscriptionQuery) (millrace.List[millrace.Subscription], error) {
	return list(f, q, f.subs)
}

func (f *fakeStore) CreateSubscription(_ context.Context, s millrace.Subscription) (millrace.Subscription, error) {
	s.ID, s.CreatedAt = millrace.NewID(testNow), testNow
	f.subs = append(f.subs, s)
	return s, f.err
}

func (f *fakeStore) UpdateSubscription(_ context.Context, project, id millrace.ID, change func(*millrace.Subscription) error) (millrace.Subscription, error) {
	s, err := find(f, f.subs, "subscription", func(s millrace.Subscription) bool { return s.ProjectID == project && s.ID == id })
	return changed(s, err, change)
}

func (f *fakeStore) DeleteSubscription(ctx context.Context, project, id millrace.ID) error {
	_, err := f.Subscription(ctx, project, id)
	return err
}

func (f *fakeStore) Events(_ context.Context, q millrace.EventQuery) (millrace.List[millrace.EventRecord], error) {
	return list(f, q, f.events)
}

func (f *fakeStore) Event(_ context.Context, project, id millrace.ID) (millrace.EventRecord, error) {
	return read(find(f, f.events, "event", func(e millrace.EventRecord) bool { return e.ProjectID == project && e.ID == id }))
}

func (f *fakeStore) Replay(ctx context.Context, project, id millrace.ID) (millrace.StoredEvent, error) {
	e, err := f.Event(ctx, project, id)
	e.ReplayID = millrace.NewID(testNow)
	return e.StoredEvent, err
}

func (f *fakeStore) Deliveries(_ context.Context, q millrace.DeliveryQuery) (millrace.List[millrace.DeliveryRecord], error) {
	return list(f, q, f.deliveries)
}

func (f *fakeStore) Delivery(_ context.Context, project, id millrace.ID) (millrace.DeliveryRecord, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return read(find(f, f.deliveries, "delivery", func(d millrace.DeliveryRecord) bool { return d.ProjectID == project && d.ID == id }))
}

func (f *fakeStore) Resend(ctx context.Context, project, id millrace.ID) (millrace.DeliveryRecord, error) {
	return f.Delivery(ctx, project, id)
}

func (f *fakeStore) Cancel(ctx context.Context, project, id millrace.ID, why string) (millrace.DeliveryRecord, error) {
	d, err := f.Delivery(ctx, project, id)
	if err == nil && d.Status.Final() {
		return d, millrace.Errorf(millrace.CodeConflict, "it is %s", d.Status)
	}
	f.did = append(f.did, why)
	d.Status = millrace.Cancelled
	return d, err
}

func (f *fakeStore) Attempts(context.Context, millrace.ID, millrace.ID) ([]millrace.Fact, error) {
	return f.attempts, f.err
}

func (f *fakeStore) Attempt(_ context.Context, _, _, id millrace.ID) (millrace.Fact, error) {
	return read(find(f, f.attempts, "attempt", func(a millrace.Fact) bool { return a.ID == id }))
}

func (f *fakeStore) DeadLetters(_ context.Context, q millrace.DeadLetterQuery) (millrace.List[millrace.DeadLetter], error) {
	return list(f, q, f.deadLetters)
}

func (f *fakeStore) DeadLetter(_ context.Context, project millrace.ID, instance bool, id millrace.ID) (millrace.DeadLetter, error) {
	return read(find(f, f.deadLetters, "dead letter", func(d millrace.DeadLetter) bool { return d.ID == id && (instance || d.ProjectID == project) }))
}

func (f *fakeStore) SettleDeadLetter(_ context.Context, id millrace.ID, how string) error {
	f.did = append(f.did, how+" "+id.String())
	return f.err
}

func (f *fakeStore) Redrive(_ context.Context, d millrace.DeadLetter) error {
	f.did = append(f.did, "redrive "+d.ID.String())
	return f.err
}

func (f *fakeStore) FactsSince(_ context.Context, _ millrace.ID, after millrace.LogPosition, limit int) ([]millrace.LogEntry, error) {
	f.asked = after
	return f.log[:min(limit, len(f.log))], f.err
}

// fakePipeline takes what is submitted, as answer says.
type fakePipeline struct {
	mu     sync.Mutex
	taken  []millrace.Submission
	answer func(millrace.Submission) (millrace.Receipt, error)
}

func (p *fakePipeline) Submit(_ context.Context, s millrace.Submission) (millrace.Receipt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken = append(p.taken, s)
	if p.answer != nil {
		return p.answer(s)
	}
	return accept(s), nil
}

func accept(s millrace.Submission) millrace.Receipt {
	ack := s.Ack
	if ack == millrace.AckDefault {
		ack = millrace.AckQueued
	}
	return millrace.Receipt{Event: millrace.Event{ID: millrace.NewID(testNow), Type: s.Type}, Ack: ack}
}

// api is a server on fakes, with two projects, a key for each, and an instance
// key.
type api struct {
	t        testing.TB
	store    *fakeStore
	pipeline *fakePipeline
	deps     Deps
	config   Config
	handler  http.Handler
	log      *bytes.Buffer
	project  millrace.ID
	foreign  millrace.ID
	// as is whose key the calls bear.
	as string
}

const (
	projectKey  = "mr_project"
	foreignKey  = "mr_foreign"
	instanceKey = "mr_instance"
)

func newAPI(t testing.TB, change ...func(*api)) *api {
	t.Helper()
	a := &api{t: t, store: &fakeStore{}, pipeline: &fakePipeline{}, config: DefaultConfig(), log: &bytes.Buffer{}, as: projectKey}
	a.project, a.foreign = millrace.NewID(testNow), millrace.NewID(testNow)
	for _, id := range []millrace.ID{a.project, a.foreign} {
		a.store.projects = append(a.store.projects, millrace.Project{ID: id, Name: "Shop", Type: "outgoing", Config: millrace.DefaultProjectConfig(), CreatedAt: testNow})
	}
	f := a.store
	a.deps = Deps{
		Authenticate: a.authenticate, Submitter: a.pipeline, Projects: f, Keys: f, Endpoints: f, Subscriptions: f, Events: f, Deliveries: f,
		DeadLetters: f, Facts: f, Sources: f, Replayer: f, Redriver: f, Inbound: &fakeInbound{}, CheckURL: checkTestURL, CheckAddress: checkTestAddress, Ready: func(context.Context) error { return f.err },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "millrace_up 1\n") }),
		Log:     slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: func() time.Time { return testNow },
	}
	for _, c := range change {
		c(a)
	}
	s, err := New(a.config, a.deps)
	if err != nil {
		t.Fatal(err)
	}
	a.handler = s.Handler()
	return a
}

func (a *api) authenticate(_ context.Context, clear string) (millrace.APIKey, error) {
	switch clear {
	case projectKey:
		return millrace.APIKey{ProjectID: a.project, Prefix: "mr_p"}, nil
	case foreignKey:
		return millrace.APIKey{ProjectID: a.foreign, Prefix: "mr_f"}, nil
	case instanceKey:
		return millrace.APIKey{Prefix: "mr_i"}, nil
	case "expired":
		return millrace.APIKey{ExpiresAt: testNow}, nil
	case "revoked":
		return millrace.APIKey{RevokedAt: testNow.Add(-time.Hour)}, nil
	case "no store":
		return millrace.APIKey{}, millrace.Unavailable(errors.New("connection refused"))
	}
	return millrace.APIKey{}, millrace.NotFound("API key")
}

func checkTestURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "localhost" {
		return nil, errors.New("localhost is never public")
	}
	return u, nil
}

func checkTestAddress(raw string) (string, error) {
	if strings.HasPrefix(raw, "localhost:") {
		return "", errors.New("localhost is never public")
	}
	return strings.ToLower(raw), nil
}

// answer is what came back.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	raw    []byte
	body   struct {
		Status  bool
		Message string
		Data    json.RawMessage
		Code    millrace.Code
		Errors  []millrace.FieldError
	}
}

// call makes a request; a path without a leading slash is the project's.
// Headers are given as "Name: value".
func (a *api) call(method, path, body string, headers ...string) answer {
	a.t.Helper()
	r := httptest.NewRequest(method, a.path(path), strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.as != "" {
		r.Header.Set("Authorization", "Bearer "+a.as)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	ans := answer{t: a.t, status: w.Code, header: w.Result().Header, raw: w.Body.Bytes()}
	if strings.HasPrefix(ans.header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(ans.raw, &ans.body); err != nil {
			a.t.Fatalf("%s %s answered no JSON: %v: %s", method, path, err, ans.raw)
		}
	}
	return ans
}

func (a *api) path(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "/api/v1/projects/" + a.project.String() + "/" + path
}

// want requires a status and returns the answer's data.
func (ans answer) want(status int) map[string]any {
	ans.t.Helper()
	var data map[string]any
	ans.wantInto(status, &data)
	return data
}

func (ans answer) wantInto(status int, into any) {
	ans.t.Helper()
	if ans.status != status {
		ans.t.Fatalf("answered %d, want %d: %s", ans.status, status, ans.raw)
	}
	if len(ans.body.Data) > 0 {
		if err := json.Unmarshal(ans.body.Data, into); err != nil {
			ans.t.Fatalf("data is not as expected: %v: %s", err, ans.raw)
		}
	}
}

// refused requires an error of the code, which names the fields.
func (ans answer) refused(code millrace.Code, fields ...string) {
	ans.t.Helper()
	var got []string
	for _, f := range ans.body.Errors {
		got = append(got, f.Field)
	}
	if ans.status != code.HTTPStatus() || ans.body.Code != code || ans.body.Status || ans.body.Message == "" || !slices.Equal(got, fields) {
		ans.t.Fatalf("answered %d %s naming %q, want %s naming %q: %s", ans.status, ans.body.Code, got, code, fields, ans.raw)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}
