package httpapi

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

// BenchmarkCreateEvent is what one POST /events costs from the router to the
// answer, with a pipeline that takes everything.
func BenchmarkCreateEvent(b *testing.B) {
	for _, size := range []int{200, 1 << 10, 10 << 10} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			id := millrace.NewID(testNow)
			a := newAPI(b, func(a *api) {
				a.deps.Log = slog.New(slog.DiscardHandler)
				a.deps.Submitter = submitFunc(func(s millrace.Submission) (millrace.Receipt, error) {
					return millrace.Receipt{Event: millrace.Event{ID: id, Type: s.Type}, Ack: millrace.AckQueued}, nil
				})
			})
			body := fmt.Sprintf(`{"event_type":"order.paid","data":{"id":"%s","lines":[%s{"sku":"x","n":1}]}}`, id, strings.Repeat(`{"sku":"a-b-c","amount":12.50},`, size/32))
			path := a.path("events")
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := httptest.NewRequest("POST", path, strings.NewReader(body))
					r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + projectKey}}
					w := &discard{header: http.Header{}}
					if a.handler.ServeHTTP(w, r); w.status != http.StatusCreated {
						b.Errorf("answered %d", w.status)
					}
				}
			})
		})
	}
}

// BenchmarkDecodeEvent is what reading the body costs of it.
func BenchmarkDecodeEvent(b *testing.B) {
	body := []byte(`{"event_type":"order.paid","data":{"lines":[` + strings.Repeat(`{"sku":"a-b-c","amount":12.50},`, 32) + `{}]},"idempotency_key":"k"}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeEvent(body); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return io.Discard.Write(b) }
