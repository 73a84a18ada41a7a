package millracetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/brokertest"
)

// These tests send what Convoy's k6 scripts send
// (https://github.com/frain-dev/convoy-bench, producer/): the same members and
// types, in JSON as JavaScript writes it, by a connection for each call, with
// no more headers than those.

// k6Records are so many rows of the kind that the scripts have for data.
func k6Records(n int) string {
	const row = `{"_id":"65ab%020d","index":%d,"isActive":true,"balance":"$1,250.50","picture":"http://example.com/32x32","age":47,` +
		`"about":"Tea <green> & \"black\", of every kind there is.\r\n","registered":"2021-03-04T05:06:07 -02:00","latitude":-12.75,"longitude":1e-7,` +
		`"tags":["one","two"],"friends":[{"id":0,"name":"Ada"},{"id":1,"name":"Zoë"}],"favoriteFruit":null}`
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(row, i, i)
	}
	return "[" + strings.Join(rows, ",") + "]"
}

// k6Data are the scripts' payloads, by their size.
var k6Data = map[string]string{
	"small": `{"player_name":"jane","email":"jane@example.com"}`,
	"1 KB":  k6Records(3),
	"50 KB": k6Records(140),
}

// k6Event is the body of a call, with a custom header.
func k6Event(endpoint, header, value, data string) string {
	return fmt.Sprintf(`{"endpoint_id":%q,"event_type":"benchmark.event","custom_headers":{%q:%q},"data":%s}`, endpoint, header, value, data)
}

// k6Posts posts as the scripts do, and wants 201.
func (g *Gateway) k6Posts(url, body string, header ...string) Sent {
	g.t.Helper()
	q, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	q.Close = true // noConnectionReuse
	q.Header.Set("User-Agent", "Grafana k6/1.8.1")
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	a, err := g.client.Do(q)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusCreated {
		g.t.Fatalf("POST %s was answered with %d %s, %v; the scripts want 201", url, a.StatusCode, text, err)
	}
	var answer struct{ Data Sent }
	if err := json.Unmarshal(text, &answer); err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken = append(g.taken, answer.Data)
	return answer.Data
}

// k6Now is the value of the scripts' header, Date.now().toString().
func k6Now() string { return fmt.Sprint(time.Now().UnixMilli()) }

// k6Came wants one request, with a body and a header.
func (r *Receiver) k6Came(body, header, value string) {
	r.t.Helper()
	got := r.Want(Attempts(1), Carries(body))[0]
	if came := got.Header.Get(header); came != value {
		r.t.Errorf("%s came as %q, want %q", header, came, value)
	}
}

func TestTheEventsAPITakesWhatConvoysK6ScriptsSend(t *testing.T) {
	t.Parallel()
	gw := New(t)
	for name, data := range k6Data {
		for _, header := range []string{"X-Benchmark-Timestamp-Ms", "X-Benchmark-Timestamp"} {
			t.Run(name+" with "+header, func(t *testing.T) {
				r, now := gw.Receiver(Unsubscribed()), k6Now()
				gw.k6Posts(gw.Access.URL+"/api/v1/projects/"+gw.Access.ProjectID+"/events", k6Event(r.EndpointID, header, now, data),
					"Authorization", "Bearer "+gw.Access.APIKey)
				r.k6Came(data, header, now)
			})
		}
	}
}

func TestAnIngestURLTakesWhatConvoysK6ScriptsSend(t *testing.T) {
	t.Parallel()
	const header = "X-Benchmark-Timestamp-Ms"
	for name, data := range k6Data {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gw := New(t)
			r := gw.Receiver()
			var source struct{ URL string }
			gw.Must(http.MethodPost, "/sources", map[string]any{
				"name": "k6", "type": "http", "verifier": map[string]any{"type": "noop"}, "forward_headers": []string{header},
			}, &source)
			body, now := k6Event(r.EndpointID, header, k6Now(), data), k6Now()
			gw.k6Posts(source.URL, body, header, now)
			r.k6Came(body, header, now) // what comes in by a URL is the payload, all of it
		})
	}
}

func TestAQueueOfSQSBringsWhatConvoysK6ScriptsSend(t *testing.T) {
	t.Parallel()
	const header = "X-Benchmark-Timestamp-Ms"
	for queue, attributes := range map[string]map[string]string{"benchmark.fifo": {"FifoQueue": "true"}, "benchmark": nil} {
		t.Run(queue, func(t *testing.T) {
			t.Parallel()
			gw, s := New(t), brokertest.NewSQS(t)
			s.CreateQueue(queue, attributes)
			source := gw.Source(SQS(s.URL(), queue))
			for _, data := range k6Data {
				r, now := gw.Receiver(Unsubscribed()), k6Now()
				s.Send(queue, k6Event(r.EndpointID, header, now, data), nil)
				r.k6Came(data, header, now)
			}
			source.Stored(len(k6Data))
		})
	}
}
