package bench

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// smallest is the least that still goes through everything.
func smallest() Options {
	o := DefaultOptions()
	o.Events, o.Duration, o.Clients, o.Rounds, o.Projects, o.Subscriptions = 200, 500*time.Millisecond, 16, 1, 2, 20
	o.Stored, o.patience, o.Binary = 5000, time.Minute, binary
	return o
}

// TestEveryScenarioRuns holds that all of them reconcile and have figures, and
// that nothing is left behind.
func TestEveryScenarioRuns(t *testing.T) {
	t.Setenv("TMPDIR", openTemp(t))
	var told []string
	o := smallest()
	o.Scenarios = Scenarios()
	o.Told = func(sentence string) { told = append(told, sentence) }
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Scenarios() {
		if !slices.ContainsFunc(told, func(s string) bool { return strings.HasPrefix(s, name+":") }) {
			t.Errorf("%s did not run", name)
		}
	}
	for _, r := range report.Results {
		if r.Scenario == "idle" {
			if !strings.Contains(r.Note, "server: ready in") || measured && !strings.Contains(r.Note, "% of a core,") {
				t.Errorf("idling is told as %q", r.Note)
			}
			continue
		}
		if r.Events == 0 || r.PerS <= 0 || r.Deliveries < r.PerS || r.Accepted <= 0 || r.Request.P50 <= 0 || r.Request.P99 < r.Request.P50 {
			t.Errorf("%s (%s) has no rates: %+v", r.Scenario, r.Gateway, r)
		}
		if r.Cost != nil && r.Gateway != nullName {
			wantCost(t, r)
		}
	}
	wantHeadline(t, report)
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("the run left behind %v, %v", left, err)
	}
}

// openTemp is a temporary folder that PostgreSQL's user may get through.
func openTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "millrace-bench-temp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Clean(dir)
}

func wantCost(t *testing.T, r Result) {
	t.Helper()
	c := r.Cost
	if c.SQL <= 0 || c.Redis <= 0 || c.Allocations <= 0 || c.TableBytes <= 0 || len(c.Batches) == 0 {
		t.Errorf("%s has no costs: %+v", r.Scenario, c)
	}
	if !measured {
		return
	}
	for _, name := range []string{serverRole, agentRole, egressRole, postgresName, redisName} {
		if _, counted := c.CPU[name]; !counted || c.PeakMB[name] <= 1 || c.PeakMB[name] > 4096 {
			t.Errorf("%s does not tell what %s used: %+v", r.Scenario, name, c)
		}
	}
	if c.CPU[loadName] <= 0 {
		t.Errorf("%s does not tell what the load used", r.Scenario)
	}
}

// wantHeadline holds the last line of a run to what it must have.
func wantHeadline(t *testing.T, report Report) {
	t.Helper()
	line, err := json.Marshal(report.Headline)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]float64
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ratio_to_null", "events_per_s", "sql_per_event", "redis_per_event", "p50_ms", "p99_ms", "ratio_to_null_10", "p99_ms_500", "persisted_ratio", "drained_ratio"} {
		if got[name] <= 0 {
			t.Errorf("%s is missing from %s", name, line)
		}
	}
	var out bytes.Buffer
	if err := report.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"slow-1000", "places allow", "ROWS A STATEMENT", "append events", "null", "2 projects", "growth-5000", "times what they were"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("the tables do not have %q:\n%s", word, out.String())
		}
	}
}

// TestARunningGatewayIsDriven holds that nothing but the API is needed.
func TestARunningGatewayIsDriven(t *testing.T) {
	t.Setenv("TMPDIR", openTemp(t))
	g, err := newGateway(t.Context(), setup{binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	}()
	for kind, scenarios := range map[string][]string{"millrace": {"fanout-10", "filters"}, "convoy": {"fanout-1", "tenants"}} {
		o := smallest()
		o.Target = Target{Kind: kind, URL: g.access.URL, Key: g.access.APIKey, Project: g.access.ProjectID}
		o.Scenarios = scenarios
		report, err := Run(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		want := map[string]int{"millrace": 3, "convoy": 2}[kind] // it has one project
		if n := len(report.Results); n != want || report.Headline.Ratio+report.Headline.Ratio10 <= 0 || report.Headline.SQL != 0 {
			t.Errorf("%s has %d results and the headline %+v", kind, n, report.Headline)
		}
	}
}

// TestARunHasALimit holds that one which hangs ends, and says why.
func TestARunHasALimit(t *testing.T) {
	over := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	defer hangs.Close()
	defer close(over)
	o := smallest()
	o.Target = Target{Kind: "convoy", URL: hangs.URL, Key: "key", Project: "project"}
	o.Limit = 200 * time.Millisecond
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "fanout-1: the run took longer than 200ms") {
		t.Errorf("it ends with %v", err)
	}
}

func TestOptionsAreHeldToWhatIsThere(t *testing.T) {
	for fault, change := range map[string]func(*Options){
		"":                     func(*Options) {},
		"events must be":       func(o *Options) { o.Events = 0 },
		"duration must be":     func(o *Options) { o.Duration = time.Millisecond },
		"clients must be":      func(o *Options) { o.Clients = 0 },
		"window must be":       func(o *Options) { o.Window = 0 },
		"limit must be":        func(o *Options) { o.Limit = 0 },
		"rounds must be":       func(o *Options) { o.Rounds = 0 },
		"stored must be":       func(o *Options) { o.Stored = 0 },
		"projects and":         func(o *Options) { o.Projects = 0 },
		`no scenario "lost"`:   func(o *Options) { o.Scenarios = []string{"lost"} },
		"millrace or convoy":   func(o *Options) { o.Target.Kind = "other" },
		"needs its URL, an AP": func(o *Options) { o.Target.Kind = "convoy" },
	} {
		o := DefaultOptions()
		change(&o)
		err := o.Validate()
		if fault == "" && err != nil || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%q: %v", fault, err)
		}
	}
	if err := DefaultOptions().Quick().Validate(); err != nil {
		t.Errorf("the quick ones are refused: %v", err)
	}
}
