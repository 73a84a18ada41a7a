package millrace_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestREADMECapacityNamesWhatIsThere holds docs/capacity.md to the metrics, the
// settings and the scenarios of the benchmark.
func TestREADMECapacityNamesWhatIsThere(t *testing.T) {
	text := file(t, "docs/capacity.md")
	metric := regexp.MustCompile(`millrace_[a-z_]+`)
	checkNamed(t, metric.FindAllString(text, -1), metric.FindAllString(file(t, "app/metrics.go")+file(t, "pipeline/metrics.go"), -1))

	var example map[string]any
	if err := yaml.Unmarshal([]byte(file(t, "config.example.yml")), &example); err != nil {
		t.Fatal(err)
	}
	keys := settings(example, "")
	block := regexp.MustCompile(`\x60((?:postgres|redis|stages|streams|egress|webhook|server)\.[a-z_.]+)\x60`)
	var named []string
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		named = append(named, m[1])
	}
	checkNamed(t, named, keys)

	list := regexp.MustCompile(`--scenarios (\S+)`).FindStringSubmatch(text)
	if list == nil {
		t.Fatal("no command names scenarios")
	}
	var scenarios []string
	for _, m := range regexp.MustCompile(`(?m)^\t\t\{"([a-z0-9-]+)", "`).FindAllStringSubmatch(file(t, "bench/scenario.go"), -1) {
		scenarios = append(scenarios, m[1])
	}
	checkNamed(t, strings.Split(list[1], ","), scenarios)
}

// checkNamed wants what is written of to be there.
func checkNamed(t *testing.T, named, there []string) {
	t.Helper()
	if len(named) == 0 || len(there) == 0 {
		t.Fatalf("%d names are written of, %d are there", len(named), len(there))
	}
	for _, name := range named {
		if !slices.Contains(there, name) {
			t.Errorf("%s is written of and does not exist", name)
		}
	}
}

func file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settings are the keys of a configuration, dotted.
func settings(of map[string]any, prefix string) []string {
	var all []string
	for key, value := range of {
		all = append(all, prefix+key)
		if block, is := value.(map[string]any); is {
			all = append(all, settings(block, prefix+key+".")...)
		}
	}
	return all
}

// TestREADMECapacityAddsUp holds what so many events need to what one costs.
func TestREADMECapacityAddsUp(t *testing.T) {
	text := file(t, "docs/capacity.md")
	var first, further float64
	if _, err := fmt.Sscanf(text[strings.Index(text, "extrapolated from"):], "extrapolated from %f kB an event and %f kB a further delivery", &first, &further); err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(text, "| events/s | fan-out | server | agent |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[2:]
	if len(rows) != 6 {
		t.Fatalf("there are %d rows", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		rate, fan := number(t, cells[0]), number(t, cells[1])
		var cores float64
		for _, part := range cells[2:7] {
			cores += number(t, part)
		}
		near(t, row+": cores of all", number(t, cells[7]), cores)
		day := rate * 86400 * (first + (fan-1)*further) / 1e6
		near(t, row+": GB a day", gigabytes(t, cells[8]), day)
		near(t, row+": GB at 30 days", gigabytes(t, cells[9]), day*32)
	}
}

// near allows for figures that are rounded to one place.
func near(t *testing.T, what string, said, is float64) {
	t.Helper()
	if math.Abs(said-is) > 0.1*is {
		t.Errorf("%s are %.3g, it says %.3g", what, is, said)
	}
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(text), ",", ""), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func gigabytes(t *testing.T, text string) float64 {
	t.Helper()
	value, unit, _ := strings.Cut(strings.TrimSpace(text), " ")
	if unit == "TB" {
		return 1000 * number(t, value)
	}
	return number(t, value)
}
