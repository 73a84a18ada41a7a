package bench

import "strconv"

// Report is what a run came to.
type Report struct {
	Headline Headline `json:"headline"`
	Results  []Result `json:"results"`
}

// Headline is the last line of a run. What was not measured is left out.
type Headline struct {
	Ratio      float64 `json:"ratio_to_null,omitempty"`    // events a second, to one endpoint
	Ratio10    float64 `json:"ratio_to_null_10,omitempty"` // deliveries a second, to ten
	CPURatio   float64 `json:"cpu_ratio_to_null,omitempty"`
	EventsPerS float64 `json:"events_per_s,omitempty"`
	NullPerS   float64 `json:"null_events_per_s,omitempty"`
	Deliveries float64 `json:"deliveries_per_s_10,omitempty"`
	SQL        float64 `json:"sql_per_event,omitempty"`
	Redis      float64 `json:"redis_per_event,omitempty"`
	CPU        float64 `json:"cpu_s_per_1000,omitempty"` // of the gateway and its stores
	TableBytes float64 `json:"postgres_bytes_per_event,omitempty"`
	P50        float64 `json:"p50_ms,omitempty"` // end to end, at 50 events a second
	P99        float64 `json:"p99_ms,omitempty"`
	P50At500   float64 `json:"p50_ms_500,omitempty"`
	P99At500   float64 `json:"p99_ms_500,omitempty"`
	// Persisted is the rate at which persisted events are accepted, by that
	// at which queued ones are delivered.
	Persisted float64 `json:"persisted_ratio,omitempty"`
	// Drained is the rate at which a backlog is delivered, by that of fanout-1.
	Drained float64 `json:"drained_ratio,omitempty"`
}

func newReport(all []Result) Report {
	one, null := found(all, "fanout-1", false), found(all, "fanout-1", true)
	ten, null10 := found(all, "fanout-10", false), found(all, "fanout-10", true)
	steady, fast := found(all, "steady-50", false), found(all, "steady-500", false)
	queued, persisted := found(all, "ingest-queued", false), found(all, "ingest-persisted", false)
	cost := *one.Cost
	return Report{Results: all, Headline: Headline{
		Ratio: ratio(one.PerS, null.PerS), Ratio10: ratio(ten.Deliveries, null10.Deliveries), CPURatio: ratio(cost.gatewayCPU(), null.Cost.gatewayCPU()),
		EventsPerS: short(one.PerS), NullPerS: short(null.PerS), Deliveries: short(ten.Deliveries),
		SQL: short(cost.SQL), Redis: short(cost.Redis), CPU: short(cost.gatewayCPU()), TableBytes: short(cost.TableBytes),
		P50: short(steady.EndToEnd.P50), P99: short(steady.EndToEnd.P99), P50At500: short(fast.EndToEnd.P50), P99At500: short(fast.EndToEnd.P99),
		Persisted: ratio(persisted.Accepted, queued.PerS), Drained: ratio(found(all, "backlog", false).PerS, one.PerS),
	}}
}

// found is a scenario's result, of the null gateway or of the one that is
// measured; nothing where it did not run.
func found(all []Result, scenario string, null bool) Result {
	for _, r := range all {
		if r.Scenario == scenario && (r.Gateway == nullName) == null && r.Cost != nil {
			return r
		}
	}
	return Result{Cost: &Cost{}}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return short(a / b)
}

// short rounds to four digits: no run is more exact.
func short(x float64) float64 {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64) // it was a number
	return rounded
}
