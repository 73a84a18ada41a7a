package bench

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// BenchmarkGateway prints what an event costs: SQL statements by
// pg_stat_statements, Redis commands by INFO commandstats, and the latency.
func BenchmarkGateway(b *testing.B) {
	o := DefaultOptions()
	if os.Getenv("MILLRACE_TEST_QUICK") != "" {
		o.Events, o.Duration = 5000, 3*time.Second
	}
	fmt.Printf("%-24s %8s %10s %10s %12s %9s %9s %9s\n", "scenario", "events", "events/s", "sql/event", "redis/event", "p50 ms", "p95 ms", "p99 ms")
	err := Run(b.Context(), o, func(r Result) {
		fmt.Printf("%-24s %8d %10.0f %10.3f %12.2f %9.1f %9.1f %9.1f\n", r.Scenario, r.Events, r.PerS, r.SQL, r.Redis, r.P50, r.P95, r.P99)
	})
	if err != nil {
		b.Fatal(err)
	}
}
