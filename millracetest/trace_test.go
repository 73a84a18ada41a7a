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
	gw.traced()
	got := r.Want(Attempts(1))[0].Header.Get("traceparent")
	if got[:36] != clientsTrace[:36] || got == clientsTrace {
		t.Errorf("the endpoint got traceparent %q; want the client's trace with a span of ours", got)
	}
	eventually(t, "every stage reports its span", func() error {
		return traces.names("millrace.ingest", "millrace.persist", "millrace.fanout", "millrace.deliver")
	})
}

func TestTheTriesOfAnEventAreOneTraceThoughItsClientIsInNone(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(&collector{})
	t.Cleanup(server.Close)
	gw := New(t, Set("tracing.endpoint="+server.URL+"/v1/traces"))
	r := gw.Receiver(Replies(500, 500, 200), Tries(5))
	for _, ack := range []string{"queued", "persisted"} {
		if _, err := gw.Try("/events", Event("order.paid"), "Prefer", "ack="+ack); err != nil {
			t.Fatal(err)
		}
	}
	traces := map[string]map[string]bool{}
	for _, q := range r.Want(Attempts(4)) { // 500, 500, and one more each
		id, trace := q.Header.Get("webhook-id"), q.Header.Get("traceparent")
		if len(trace) != 55 {
			t.Fatalf("a request bears the trace %q", trace)
		}
		if traces[id] == nil {
			traces[id] = map[string]bool{}
		}
		traces[id][trace[3:35]] = true
	}
	for id, of := range traces {
		if len(of) != 1 {
			t.Errorf("the tries of event %s are in %d traces", id, len(of))
		}
	}
}

// clientsTrace is a trace that a client is in.
const clientsTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// SameTrace wants the client's trace on each request.
func SameTrace() Expectation {
	return func(got []Request) error {
		for i, q := range got {
			if trace := q.Header.Get("traceparent"); trace != clientsTrace {
				return fmt.Errorf("request %d bears the trace %q, want %q", i+1, trace, clientsTrace)
			}
		}
		return nil
	}
}

// traced hands an event in by a client with a trace, and with these further
// headers.
func (g *Gateway) traced(header ...string) Sent {
	g.t.Helper()
	sent, err := g.Try("/events", Event("order.paid"), append(header, "traceparent", clientsTrace)...)
	if err != nil {
		g.t.Fatal(err)
	}
	return sent
}

func TestEachTryBearsTheClientsTrace(t *testing.T) {
	t.Parallel()
	for _, ack := range []string{"queued", "persisted"} {
		t.Run(ack, func(t *testing.T) {
			gw := New(t)
			r := gw.Receiver(Replies(500, 500, 200), Tries(5))
			gw.traced("Prefer", "ack="+ack)
			r.Want(Attempts(3), SameTrace())
		})
	}
}

func TestWhatIsSentOnceMoreBearsTheClientsTrace(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	sent := gw.traced()
	r.Want(Attempts(1), SameTrace())
	gw.Must(http.MethodPut, "/eventdeliveries/"+gw.deliveries("delivered", 1)[0].UID+"/resend", nil, nil)
	r.Want(Attempts(2), SameTrace())
	gw.Must(http.MethodPut, "/events/"+sent.UID+"/replay", nil, nil)
	r.Want(Attempts(3), SameTrace())
	toggle(gw, r)
	gw.traced()
	gw.deliveries("held", 1)
	toggle(gw, r)
	r.Want(Attempts(4), SameTrace())
}

func TestWhatRedisLostBearsTheClientsTrace(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	gw.Agent.Stop()
	gw.traced("Prefer", "ack=persisted")
	gw.Redis.FlushAll()
	gw.Agent.Start()
	r.Want(Attempts(1), SameTrace())
}

func TestWhatIsNoTraceIsNotSentOn(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Replies(500, 200), Tries(2))
	if _, err := gw.Try("/events", Event("order.paid"), "traceparent", "00-garbage"+strings.Repeat("-", 45)); err != nil {
		t.Fatal(err)
	}
	for _, q := range r.Want(Attempts(2)) {
		if trace := q.Header.Get("traceparent"); trace != "" {
			t.Errorf("the endpoint got traceparent %q", trace)
		}
	}
}
