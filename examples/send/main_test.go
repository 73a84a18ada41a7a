package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// api answers with these statuses, one after the other, and keeps the bodies.
func api(t *testing.T, bodies *[]string, statuses ...int) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Path != "/api/v1/projects/p1/events" || r.Header.Get("Authorization") != "Bearer k1" {
			t.Errorf("%s with %q", r.URL.Path, r.Header.Get("Authorization"))
		}
		status := statuses[min(len(*bodies), len(statuses)-1)]
		*bodies = append(*bodies, string(body))
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status": %t, "message": "as told", "data": {"uid": "e1"}}`, status == http.StatusCreated)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestAnEventIsSentUntilThereIsAnAnswer(t *testing.T) {
	for _, c := range []struct {
		rule     string
		statuses []int
		tries    int
		fault    string
	}{
		{"a yes is the end", []int{201}, 1, ""},
		{"a store that is away is asked again", []int{503, 503, 201}, 3, ""},
		{"too many requests are asked again", []int{429, 201}, 2, ""},
		{"a refusal is the end", []int{422}, 1, "422 Unprocessable Entity: as told"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var bodies []string
			server := api(t, &bodies, c.statuses...)
			s := Sender{URL: server.URL, ProjectID: "p1", APIKey: "k1", Client: server.Client(), Wait: time.Millisecond}
			id, err := s.Send(context.Background(), Event{Type: "order.paid", Data: json.RawMessage(`{"id":42}`), Key: "key1"})
			if c.fault == "" && (err != nil || id != "e1") {
				t.Errorf("got %q, %v", id, err)
			}
			if c.fault != "" && (err == nil || err.Error() != c.fault) {
				t.Errorf("got %v, want %s", err, c.fault)
			}
			if len(bodies) != c.tries {
				t.Errorf("%d tries, want %d", len(bodies), c.tries)
			}
			for _, body := range bodies {
				if want := `{"event_type":"order.paid","data":{"id":42},"idempotency_key":"key1"}`; body != want {
					t.Errorf("sent %s, want %s", body, want)
				}
			}
		})
	}
}

func TestSendingEndsWithItsContext(t *testing.T) {
	var bodies []string
	server := api(t, &bodies, http.StatusServiceUnavailable)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	s := Sender{URL: server.URL, ProjectID: "p1", APIKey: "k1", Client: server.Client(), Wait: time.Hour}
	if _, err := s.Send(ctx, Event{}); err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Errorf("got %v, want the context's end", err)
	}
}
