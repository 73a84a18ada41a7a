package millracetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// collector takes OpenTelemetry traces over HTTP and keeps their bytes.
type collector struct {
	mu  sync.Mutex
	got bytes.Buffer
}

func (c *collector) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.Write(body)
}

func (c *collector) names(spans ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range spans {
		if !bytes.Contains(c.got.Bytes(), []byte(s)) {
			return fmt.Errorf("no span %s in %d bytes", s, c.got.Len())
		}
	}
	return nil
}

func TestATraceGoesOnFromTheClientThroughEveryStageToTheEndpoint(t *testing.T) {
	t.Parallel()
	traces := &collector{}
	server := httptest.NewServer(traces)
	t.Cleanup(server.Close)
	gw := New(t, Set("tracing.endpoint="+server.URL+"/v1/traces"))
	r := gw.Receiver()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	if _, err := gw.Try("/events", Event("order.paid"), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01"); err != nil {
		t.Fatal(err)
	}
	got := r.Want(Attempts(1))[0].Header.Get("traceparent")
	if !strings.Contains(got, trace) || strings.Contains(got, "00f067aa0ba902b7") {
		t.Errorf("the endpoint got traceparent %q; want the client's trace with a span of ours", got)
	}
	eventually(t, "every stage reports its span", func() error {
		return traces.names("millrace.ingest", "millrace.persist", "millrace.fanout", "millrace.deliver")
	})
}

func TestWithoutACollectorTheClientsTraceReachesTheEndpointAsItIs(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if _, err := gw.Try("/events", Event("order.paid"), "traceparent", parent); err != nil {
		t.Fatal(err)
	}
	if got := r.Want(Attempts(1))[0].Header.Get("traceparent"); got != parent {
		t.Errorf("the endpoint got traceparent %q, want %q", got, parent)
	}
}
