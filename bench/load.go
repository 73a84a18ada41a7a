package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace-dev/millrace/app"
)

// sender hands events in by the API.
type sender struct {
	client *http.Client
	access app.DevAccess
	body   []byte
	ack    string

	mu   sync.Mutex
	sent map[string]time.Time // by the uid answered, when it was sent
}

func newSender(a app.DevAccess, payload int, ack string) *sender {
	filler := strings.Repeat("x", max(0, payload-20))
	return &sender{
		access: a, ack: ack, sent: map[string]time.Time{},
		body:   fmt.Appendf(nil, `{"event_type":"bench.event","data":{"filler":%q}}`, filler),
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 512}},
	}
}

// call makes one request to the project's API and reads the answer's data.
func (s *sender) call(ctx context.Context, path string, body []byte, data any) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.access.URL+"/api/v1/projects/"+s.access.ProjectID+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+s.access.APIKey)
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Prefer", "ack="+s.ack)
	a, err := s.client.Do(q)
	if err != nil {
		return err
	}
	defer func() { _ = a.Body.Close() }()
	answer, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusCreated {
		return fmt.Errorf("POST %s: %s: %s", path, a.Status, answer)
	}
	return json.Unmarshal(answer, &struct{ Data any }{data})
}

func (s *sender) send(ctx context.Context) error {
	start := time.Now()
	var event struct{ UID string }
	if err := s.call(ctx, "/events", s.body, &event); err != nil {
		return err
	}
	s.mu.Lock()
	s.sent[event.UID] = start
	s.mu.Unlock()
	return nil
}

// closedLoop sends so many events, with so many clients at once.
func (s *sender) closedLoop(ctx context.Context, events, clients int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tickets := make(chan struct{}, events)
	for range events {
		tickets <- struct{}{}
	}
	close(tickets)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range tickets {
				if err := s.send(ctx); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// steadily sends at a rate for a while, whatever the answers take.
func (s *sender) steadily(ctx context.Context, rate int, d time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var all sync.WaitGroup
	for range int(d.Seconds() * float64(rate)) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			all.Wait()
			return context.Cause(ctx)
		}
		all.Go(func() {
			if err := s.send(ctx); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// Latency are quantiles of the time from the request to the arrival at the
// receiver.
type Latency struct {
	P50, P95, P99 time.Duration
}

// reconcile compares what was accepted with what arrived: each exactly once.
func (s *sender) reconcile(arrived map[string][]time.Time) (Latency, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := make([]time.Duration, 0, len(s.sent))
	for id, at := range s.sent {
		times := arrived[id]
		if len(times) != 1 {
			return Latency{}, fmt.Errorf("event %s arrived %d times", id, len(times))
		}
		took = append(took, times[0].Sub(at))
	}
	if len(arrived) != len(s.sent) {
		return Latency{}, fmt.Errorf("%d events were accepted and %d arrived", len(s.sent), len(arrived))
	}
	s.sent = map[string]time.Time{}
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[min(len(took)-1, int(q*float64(len(took))))] }
	return Latency{at(0.50), at(0.95), at(0.99)}, nil
}
