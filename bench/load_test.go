package bench

import (
	"testing"
	"time"
)

func TestReconcileRefusesARunThatLostOrRepeatedSomething(t *testing.T) {
	now := time.Now()
	sent := func() map[string]time.Time { return map[string]time.Time{"a": now, "b": now} }
	once, twice := []time.Time{now.Add(time.Millisecond)}, []time.Time{now, now}
	for name, c := range map[string]struct {
		arrived map[string][]time.Time
		fine    bool
	}{
		"each once":              {map[string][]time.Time{"a": once, "b": once}, true},
		"one lost":               {map[string][]time.Time{"a": once}, false},
		"one twice":              {map[string][]time.Time{"a": once, "b": twice}, false},
		"one that nobody sent":   {map[string][]time.Time{"a": once, "b": once, "c": once}, false},
		"another in one's stead": {map[string][]time.Time{"a": once, "c": once}, false},
	} {
		s := &sender{sent: sent()}
		latency, err := s.reconcile(c.arrived)
		if (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
		if c.fine && latency.P50 != time.Millisecond {
			t.Errorf("%s: the median is %s", name, latency.P50)
		}
	}
}

func TestARunPrintsWhatAnEventCosts(t *testing.T) {
	o := DefaultOptions()
	o.Events, o.Clients, o.Duration = 200, 16, time.Second
	var results []Result
	if err := Run(t.Context(), o, func(r Result) { results = append(results, r) }); err != nil {
		t.Fatal(err)
	}
	if len(results) != 5 {
		t.Fatalf("there are %d results", len(results))
	}
	for _, r := range results {
		if r.Events == 0 || r.PerS <= 0 || r.SQL <= 0 || r.Redis <= 0 || r.P50 <= 0 || r.P99 < r.P50 {
			t.Errorf("%s has no figures: %+v", r.Scenario, r)
		}
	}
}
