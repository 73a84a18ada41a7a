package store_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// asSent is an attempt as a webhook's delivery has it, with all headers that
// are sent and those that a Go server answers.
func asSent() *millrace.Attempt {
	return &millrace.Attempt{
		Outcome: millrace.OutcomeSuccess, StatusCode: 200, URL: "https://receiver.example.com/hooks/orders", Method: http.MethodPost, IP: "203.0.113.80",
		RequestHeader: http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"Millrace/1.0.0"}, "Webhook-Id": {newID().String()},
			"Webhook-Signature": {"v1,Tc8pt6wSfwAFMdhdtF06PWoyLSpTi3gzHd39vgYw/so="}, "Webhook-Timestamp": {"1763991835"},
			"X-Convoy-Signature": {"t=1763991835,v1=" + strings.Repeat("5f", 32)},
		},
		ResponseHeader: http.Header{
			"Content-Length": {"2"}, "Content-Type": {"text/plain; charset=utf-8"}, "Date": {"Tue, 24 Nov 2026 13:43:55 GMT"},
		},
		Body: []byte("ok"), StartedAt: time.Now().UTC().Truncate(time.Microsecond), Latency: 3 * time.Millisecond,
	}
}

// deliver takes one event of 1 KiB through the store, to a delivery that
// succeeds at once.
func (w *world) deliver(ctx context.Context, to millrace.Target) error {
	event := w.kilobyte()
	event.Headers, event.TraceParent = nil, ""
	e, err := w.AppendEvent(ctx, event, false)
	if err != nil {
		return err
	}
	made, err := w.FanOut(ctx, millrace.FanOut{Event: e, ConfigVersion: 1, Targets: []millrace.Target{to}})
	if err != nil {
		return err
	}
	if mine, err := w.Claim(ctx, made[0].ID, 1, "millrace:deliveries.due/1763991835134-12"); err != nil || !mine {
		return fmt.Errorf("claimed %v: %w", mine, err)
	}
	f := attempted(made[0].ID, 1, millrace.Delivered)
	f.Attempt = asSent()
	if counted, err := w.Settle(ctx, f); err != nil || !counted {
		return fmt.Errorf("settled %v: %w", counted, err)
	}
	return nil
}

func TestADeliveredEventTakesAtMostThreeTimesItsKilobyteIndexesIncluded(t *testing.T) {
	const rounds, each, most = 8, 500, 3 << 10
	w := newWorld(t)
	noError(t, w.MakePartitions(t.Context(), time.Now(), 1))
	empty := w.logBytes()
	endpoints := targets(100)
	for range rounds {
		w.deliverAll(each, endpoints)
		// As autovacuum does while events come.
		for table := range empty {
			w.exec(`VACUUM ` + table)
		}
	}
	var all int
	for table, bytes := range w.logBytes() {
		taken := (bytes - empty[table]) / (rounds * each)
		t.Logf("%-12s %5d bytes an event", table, taken)
		all += taken
	}
	t.Logf("%-12s %5d bytes an event", "all", all)
	if all > most {
		t.Errorf("%d bytes an event, want %d at most", all, most)
	}
}

// deliverAll takes n events through the store, many at once.
func (w *world) deliverAll(n int64, endpoints []millrace.Target) {
	w.t.Helper()
	var next atomic.Int64
	in(64, func(int) {
		for i := next.Add(1); i <= n; i = next.Add(1) {
			if err := w.deliver(w.t.Context(), endpoints[i%int64(len(endpoints))]); err != nil {
				w.t.Error(err)
			}
		}
	})
}

// logBytes is the size of the log's tables, with their indexes.
func (w *world) logBytes() map[string]int {
	w.t.Helper()
	sizes := map[string]int{}
	for _, table := range []string{"events", "matches", "deliveries", "facts"} {
		sizes[table] = w.count(`SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree($1::regclass)`, table)
	}
	return sizes
}
