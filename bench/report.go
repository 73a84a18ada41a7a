package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is what a run came to.
type Report struct {
	Headline Headline `json:"headline"`
	Results  []Result `json:"results"`
}

// Headline is the last line of a run. What was not measured is left out.
type Headline struct {
	Ratio       float64 `json:"ratio_to_null,omitempty"`    // events a second, to one endpoint
	Ratio10     float64 `json:"ratio_to_null_10,omitempty"` // deliveries a second, to ten
	CPURatio    float64 `json:"cpu_ratio_to_null,omitempty"`
	EventsPerS  float64 `json:"events_per_s,omitempty"`
	SQL         float64 `json:"sql_per_event,omitempty"`
	Redis       float64 `json:"redis_per_event,omitempty"`
	CPU         float64 `json:"cpu_s_per_1000,omitempty"`
	NullPerS    float64 `json:"null_events_per_s,omitempty"`
	Deliveries  float64 `json:"deliveries_per_s_10,omitempty"`
	P50         float64 `json:"p50_ms,omitempty"` // at 50 events a second
	P99         float64 `json:"p99_ms,omitempty"`
	P50At500    float64 `json:"p50_ms_500,omitempty"`
	P99At500    float64 `json:"p99_ms_500,omitempty"`
	BytesStored float64 `json:"postgres_bytes_per_event,omitempty"`
}

func newReport(all []Result) Report {
	find := func(scenario, gateway string) (Result, Cost) {
		for _, r := range all {
			if r.Scenario == scenario && (r.Gateway == gateway || gateway == "" && r.Gateway != nullName) {
				return r, *r.Cost
			}
		}
		return Result{}, Cost{}
	}
	one, cost := find("fanout-1", "")
	null, nullCost := find("fanout-1", nullName)
	ten, _ := find("fanout-10", "")
	null10, _ := find("fanout-10", nullName)
	steady, _ := find("steady-50", "")
	fast, _ := find("steady-500", "")
	return Report{Results: all, Headline: Headline{
		Ratio: ratio(one.PerS, null.PerS), Ratio10: ratio(ten.Deliveries, null10.Deliveries), CPURatio: ratio(cost.gatewayCPU(), nullCost.gatewayCPU()),
		EventsPerS: one.PerS, SQL: cost.SQL, Redis: cost.Redis, CPU: cost.gatewayCPU(), NullPerS: null.PerS, Deliveries: ten.Deliveries,
		P50: steady.EndToEnd.P50, P99: steady.EndToEnd.P99, P50At500: fast.EndToEnd.P50, P99At500: fast.EndToEnd.P99, BytesStored: cost.TableBytes,
	}}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Write prints the tables.
func (r Report) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "scenario\tgateway\tevents\tevents/s\tdeliveries/s\taccepted/s\taccept p50\tp99 ms\tend to end p50\tp95\tp99 ms\tnote\t")
	for _, s := range r.Results {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.0f\t%.0f\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%s\t\n", s.Scenario, s.Gateway, s.Events, s.PerS, s.Deliveries, s.Accepted,
			s.Request.P50, s.Request.P99, s.EndToEnd.P50, s.EndToEnd.P95, s.EndToEnd.P99, s.Note)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "what an event cost\tgateway\tSQL\tRedis\tallocations\tbytes in PostgreSQL\tin Redis\tCPU s/1000\t")
	for _, s := range r.Results {
		fmt.Fprintf(w, "%s\t%s\t%.3f\t%.2f\t%.0f\t%.0f\t%.0f\t%.3f\t\n", s.Scenario, s.Gateway, s.Cost.SQL, s.Cost.Redis, s.Cost.Allocations,
			s.Cost.TableBytes, s.Cost.RedisBytes, s.Cost.gatewayCPU())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(to)
	for _, s := range r.Results {
		_, err := fmt.Fprintf(to, "%s, %s: CPU s/1000: %s; peak MB: %s; rows a statement: %s\n", s.Scenario, s.Gateway,
			listed(s.Cost.CPU, "%.3f"), listed(s.Cost.PeakMB, "%.0f"), listed(s.Cost.Batches, "%.1f"))
		if err != nil {
			return err
		}
	}
	return nil
}

// listed writes a table's entries in the order of their names.
func listed(all map[string]float64, format string) string {
	if len(all) == 0 {
		return "-"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, fmt.Sprintf("%s "+format, name, all[name]))
	}
	return strings.Join(parts, ", ")
}
