package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

func TestNewNamesAllFaults(t *testing.T) {
	_, err := New(Config{}, Deps{})
	for _, fault := range []string{"max_bytes", "batch_concurrency", "timeout", "Deps.Submitter", "Deps.CheckURL", "Deps.Log"} {
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("the error does not name %s: %v", fault, err)
		}
	}
}

func TestDefaultConfigIsValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

// TestAccess holds for each route who may call it: open ones anybody, the
// instance's an instance key alone, a project's its own keys and instance keys.
func TestAccess(t *testing.T) {
	a := newAPI(t)
	s := &Server{config: a.config, deps: a.deps}
	isOpen := []string{"/healthz", "/readyz", "/openapi.yml"}
	for _, r := range s.routes() {
		path := a.fill(r.path)
		status := func(key string) int {
			a.as = key
			return a.call(r.method, path, "").status
		}
		name := r.method + " " + r.path
		if slices.Contains(isOpen, r.path) {
			equal(t, name+" without a key", status(""), 200)
			continue
		}
		if strings.HasPrefix(r.path, "/ingest/") {
			equal(t, name+" without a key, of no source", status(""), 404)
			continue
		}
		for _, key := range []string{"", "wrong", "expired", "revoked"} {
			equal(t, name+" with the key "+key, status(key), 401)
		}
		equal(t, name+" without a store", status("no store"), 503)
		instance := !strings.Contains(r.path, "{projectID}") || r.method == "DELETE" && strings.HasSuffix(r.path, "{projectID}")
		if instance {
			equal(t, name+" with a project's key", status(projectKey), 403)
			continue
		}
		a.as = foreignKey
		ans := a.call(r.method, path, "")
		ans.refused(millrace.CodeNotFound)
		equal(t, name+" with another project's key", ans.body.Message, errNoProject().Error())
		for _, key := range []string{projectKey, instanceKey} {
			if got := status(key); got == 401 || got == 403 {
				t.Errorf("%s with the key %s answered %d", name, key, got)
			}
		}
	}
}

// fill puts ids into a route's path.
func (a *api) fill(path string) string {
	path = strings.ReplaceAll(path, "{projectID}", a.project.String())
	for _, name := range []string{"eventID", "deliveryID", "attemptID", "endpointID", "subscriptionID", "sourceID", "maskID", "deadLetterID", "keyID"} {
		path = strings.ReplaceAll(path, "{"+name+"}", millrace.NewID(testNow).String())
	}
	return path
}

func TestBearer(t *testing.T) {
	for given, want := range map[string]string{
		"Bearer k": "k", "bearer k": "k", "BEARER  k ": "k", "Bearer": "", "Bearer ": "", "Basic k": "", "k": "", "": "",
	} {
		got, ok := bearer(http.Header{"Authorization": {given}})
		if got != want || ok != (want != "") {
			t.Errorf("of %q the token is %q, %v", given, got, ok)
		}
	}
}

func TestUnauthenticatedSaysHow(t *testing.T) {
	a := newAPI(t)
	a.as = ""
	ans := a.call("GET", "events", "")
	ans.refused(millrace.CodeUnauthenticated)
	equal(t, "WWW-Authenticate", ans.header.Get("WWW-Authenticate"), `Bearer realm="millrace"`)
}

func TestInstanceKeyFindsNoUnknownProject(t *testing.T) {
	a := newAPI(t)
	a.as = instanceKey
	for _, path := range []string{"events", "endpoints", "keys", "facts"} {
		a.call("GET", "/api/v1/projects/"+millrace.NewID(testNow).String()+"/"+path, "").refused(millrace.CodeNotFound)
	}
	a.call("GET", "/api/v1/projects/not-an-id/events", "").refused(millrace.CodeNotFound)
}

func TestUnmatched(t *testing.T) {
	a := newAPI(t)
	a.call("GET", "/nowhere", "").refused(millrace.CodeNotFound)
	a.call("POST", "//api/v1/projects", "{}").refused(millrace.CodeNotFound)
	for path, allow := range map[string]string{
		"/healthz": "GET, HEAD", "events": "GET, HEAD, POST", "endpoints/" + millrace.NewID(testNow).String(): "GET, HEAD, PUT, DELETE", "events/batch": "GET, HEAD, POST",
	} {
		ans := a.call("PATCH", path, "{}")
		ans.refused(millrace.CodeMethodNotAllowed)
		equal(t, "Allow of "+path, ans.header.Get("Allow"), allow)
	}
}

func TestHeadAsGet(t *testing.T) {
	equal(t, "the status", newAPI(t).call("HEAD", "/healthz", "").status, 200)
}

func TestRequestID(t *testing.T) {
	a := newAPI(t)
	for rule, c := range map[string]struct {
		given string
		taken bool
	}{
		"a sane one is taken":        {"req-1/2", true},
		"one with a space is not":    {"a b", false},
		"one with a line end is not": {"a\nb", false},
		"a long one is not":          {strings.Repeat("x", 129), false},
		"none is made up":            {"", false},
	} {
		t.Run(rule, func(t *testing.T) {
			for _, path := range []string{"/healthz", "/nowhere", "events"} {
				got := a.call("GET", path, "", "X-Request-Id: "+c.given).header.Get("X-Request-Id")
				if got == "" || (got == c.given) != c.taken {
					t.Errorf("%s answered with the id %q for %q", path, got, c.given)
				}
			}
		})
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	a := newAPI(t, func(a *api) {
		a.deps.Submitter = submitFunc(func(millrace.Submission) (millrace.Receipt, error) { panic("a bug at 10.0.0.7") })
	})
	ans := a.call("POST", "events", `{"event_type":"a","data":1}`, "X-Request-Id: req-7")
	ans.refused(millrace.CodeInternal)
	if !strings.Contains(ans.body.Message, "req-7") || strings.Contains(string(ans.raw), "10.0.0.7") {
		t.Errorf("the answer is %s", ans.raw)
	}
	if log := a.log.String(); !strings.Contains(log, "a bug at 10.0.0.7") || !strings.Contains(log, "request=req-7") || !strings.Contains(log, "submitOne") {
		t.Errorf("the log has no trace of it: %s", log)
	}
}

func TestPanicAfterTheAnswerBeganCutsTheConnection(t *testing.T) {
	a := newAPI(t, func(a *api) {
		a.deps.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic("a bug")
		})
	})
	server := httptest.NewServer(a.handler)
	defer server.Close()
	r, _ := http.NewRequest("GET", server.URL+"/metrics", nil)
	r.Header.Set("Authorization", "Bearer "+instanceKey)
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the answer came to a good end")
	}
}

func TestObserveAndAccessLog(t *testing.T) {
	var seen []string
	a := newAPI(t, func(a *api) {
		a.deps.Observe = func(route string, status int, took time.Duration) {
			seen = append(seen, fmt.Sprintf("%s %d %v", route, status, took >= 0))
		}
	})
	a.call("GET", "events/"+millrace.NewID(testNow).String(), "")
	a.call("GET", "/secret-path", "")
	equal(t, "what was seen", strings.Join(seen, "; "), "/api/v1/projects/{projectID}/events/{eventID} 404 true; unmatched 404 true")
	equal(t, "lines in the log", strings.Count(a.log.String(), "msg=request"), 2)
	if log := a.log.String(); !strings.Contains(log, "key=mr_p") || strings.Contains(log, projectKey) {
		t.Errorf("the log is %s", log)
	}
}

func TestReadyAndHealthy(t *testing.T) {
	a := newAPI(t)
	a.call("GET", "/readyz", "").want(200)
	a.store.err = errors.New("connection refused")
	ans := a.call("GET", "/readyz", "")
	ans.refused(millrace.CodeUnavailable)
	if strings.Contains(string(ans.raw), "refused") {
		t.Errorf("the answer tells of our insides: %s", ans.raw)
	}
	a.call("GET", "/healthz", "").want(200)
}

func TestMetrics(t *testing.T) {
	a := newAPI(t)
	a.as = instanceKey
	equal(t, "the metrics", string(a.call("GET", "/metrics", "").raw), "millrace_up 1\n")
}

func TestRequestsEndInTime(t *testing.T) {
	a := newAPI(t, func(a *api) {
		a.config.Timeout = 20 * time.Millisecond
		a.deps.Ready = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
	})
	a.call("GET", "/readyz", "").refused(millrace.CodeUnavailable)
}

func TestBodies(t *testing.T) {
	id := millrace.NewID(testNow)
	for rule, c := range map[string]struct {
		body, contentType string
		code              millrace.Code
		fields            []string
	}{
		"an empty body":              {" ", "application/json", millrace.CodeBadRequest, nil},
		"what is no object":          {`"{}"`, "application/json", millrace.CodeBadRequest, nil},
		"broken JSON":                {`{"name":`, "application/json", millrace.CodeBadRequest, nil},
		"anything after the object":  {`{"name":"a"} x`, "application/json", millrace.CodeBadRequest, nil},
		"a member of a wrong type":   {`{"name":5}`, "application/json", millrace.CodeInvalid, []string{"name"}},
		"a nested one":               {`{"strategy":{"retry_count":"many"}}`, "application/json", millrace.CodeInvalid, []string{"strategy.retry_count"}},
		"a duration that is none":    {`{"http_timeout":"soon"}`, "application/json", millrace.CodeInvalid, []string{"http_timeout"}},
		"a form":                     {`name=a`, "application/x-www-form-urlencoded", millrace.CodeUnsupportedMedia, nil},
		"a body beyond the bound":    {`{"name":"` + strings.Repeat("x", 1<<20) + `"}`, "application/json", millrace.CodeTooLarge, nil},
		"a missing name and a bad 1": {`{"name":null,"description":["a"]}`, "application/json", millrace.CodeInvalid, []string{"description"}},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			a.store.endpoints = []millrace.Endpoint{{ID: id, ProjectID: a.project}}
			a.call("PUT", "endpoints/"+id.String(), c.body, "Content-Type: "+c.contentType).refused(c.code, c.fields...)
		})
	}
}

// TestBodyOfUnknownLength: the bound holds also where the length is not said
// beforehand, and what came in pieces is one.
func TestBodyOfUnknownLength(t *testing.T) {
	a := newAPI(t, func(a *api) { a.config.MaxEventBytes = 1 << 17 })
	server := httptest.NewServer(a.handler)
	defer server.Close()
	post := func(size int) int {
		body := io.MultiReader(strings.NewReader(`{"event_type":"a","data":"`), strings.NewReader(strings.Repeat("x", size)), strings.NewReader(`"}`))
		r, _ := http.NewRequest("POST", server.URL+a.path("events"), body)
		r.Header.Set("Authorization", "Bearer "+projectKey)
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	equal(t, "within the bound", post(100_000), 201)
	equal(t, "the payload's length", len(a.pipeline.taken[0].Payload), 100_002)
	equal(t, "beyond the bound", post(1<<20), 413)
}
