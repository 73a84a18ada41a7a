package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestBenchEndsWithALineOfJSON(t *testing.T) {
	t.Parallel()
	s := shell{dir: t.TempDir(), env: []string{"TMPDIR=" + openTemp(t)}}
	out := s.run(t, "bench", "--quick", "--events", "300", "--duration", "500ms", "--scenarios", "fanout-1,steady-50", "--set", "log.level=warn")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var got map[string]float64
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		t.Fatalf("%v in the last line of\n%s", err, out)
	}
	for _, name := range []string{"ratio_to_null", "events_per_s", "sql_per_event", "redis_per_event", "p50_ms", "p99_ms"} {
		if got[name] <= 0 {
			t.Errorf("%s is missing from %s", name, lines[len(lines)-1])
		}
	}
	wantIn(t, out, "SCENARIO", "EACH EVENT COST", "steady-50")
}

// TestBenchStopsAllItStarted interrupts a run under way.
func TestBenchStopsAllItStarted(t *testing.T) {
	t.Parallel()
	temp := openTemp(t)
	r := shell{dir: t.TempDir(), env: []string{"TMPDIR=" + temp}}.start(t, "bench", "--scenarios", "steady-50", "--duration", "10m")
	r.await(r.err, "steady-50")
	if err := r.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r.wait(exitFailed)
	wantIn(t, r.err.String(), "millrace: interrupted")
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("it left behind %v, %v", left, err)
	}
	environments, err := filepath.Glob("/proc/[0-9]*/environ") // where there is such a thing
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range environments {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), temp) {
			t.Errorf("process %s still runs", filepath.Base(filepath.Dir(file)))
		}
	}
}

func TestBenchRefusesWhatItCannotMeasure(t *testing.T) {
	t.Parallel()
	s := shell{dir: t.TempDir()}
	s.refuse(t, exitUsage, `there is no scenario "fast"; there are idle, fanout-1`, "bench", "--scenarios", "fast")
	s.refuse(t, exitUsage, "needs its URL, an API key and a project", "bench", "--target", "convoy")
}

// openTemp is a temporary folder that PostgreSQL's user may get through.
func openTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "millrace-bench-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}
