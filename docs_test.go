package millrace_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestREADMEOperationsNameTheMetrics holds docs/operations.md to the metrics
// that the program has.
func TestREADMEOperationsNameTheMetrics(t *testing.T) {
	text, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`millrace_[a-z_]+`)
	var said []string
	for _, m := range name.FindAllString(string(text), -1) {
		said = append(said, strings.TrimSuffix(m, "_bucket"))
	}
	var made []string
	for _, folder := range []string{"app", "pipeline"} {
		source, err := os.ReadFile(filepath.Join(folder, "metrics.go"))
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, name.FindAllString(string(source), -1)...)
	}
	for _, m := range said {
		if !slices.Contains(made, m) {
			t.Errorf("%s is written of and does not exist", m)
		}
	}
	for _, m := range made {
		if !slices.Contains(said, m) {
			t.Errorf("%s exists and is not written of", m)
		}
	}
}

// TestREADMEDecisionsAreOnePage holds the decision records to their form.
func TestREADMEDecisionsAreOnePage(t *testing.T) {
	files, err := filepath.Glob("docs/adr/*.md")
	if err != nil || len(files) < 2 {
		t.Fatalf("there are %d records: %v", len(files), err)
	}
	seen := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		number, _, _ := strings.Cut(filepath.Base(file), "-")
		if other := seen[number]; other != "" {
			t.Errorf("%s bears the number of %s", file, other)
		}
		seen[number] = file
		if lines := strings.Count(string(text), "\n"); lines > 40 {
			t.Errorf("%s has %d lines; a record is one page, 40 at most", file, lines)
		}
		if number == "0000" { // the template
			continue
		}
		for _, part := range []string{"# " + number + ": ", "\nStatus: ", "\n## What was in question\n", "\n## Decision\n", "\n## What follows\n"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s lacks %q", file, strings.TrimSpace(part))
			}
		}
	}
}
