package millracetest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Receiver is an endpoint of a test: it answers as told and keeps what came.
type Receiver struct {
	t          testing.TB
	server     *httptest.Server
	EndpointID string
	Secret     string

	mu      sync.Mutex
	replies []int
	delay   time.Duration
	got     []Request
}

// Request is one request that a receiver got.
type Request struct {
	EventID string
	Header  http.Header
	Body    string
	Status  int
}

// Option changes a receiver, its endpoint or its subscription.
type Option func(*options)

type options struct {
	replies      []int
	delay        time.Duration
	endpoint     map[string]any
	subscription map[string]any
}

// Replies are the statuses of the first answers; the last one goes on.
func Replies(statuses ...int) Option { return func(o *options) { o.replies = statuses } }

// Slow makes each answer take so long.
func Slow(d time.Duration) Option { return func(o *options) { o.delay = d } }

// Owner says whose endpoint it is.
func Owner(id string) Option { return func(o *options) { o.endpoint["owner_id"] = id } }

// Endpoint sets a member of the endpoint.
func Endpoint(member string, value any) Option {
	return func(o *options) { o.endpoint[member] = value }
}

// Types narrows the subscription to these event types.
func Types(names ...string) Option {
	return func(o *options) { filterConfig(o)["event_types"] = names }
}

// Body narrows the subscription by a filter over the body.
func Body(filter map[string]any) Option {
	return func(o *options) { filterConfig(o)["filter"] = map[string]any{"body": filter} }
}

// Unsubscribed makes no subscription for the endpoint.
func Unsubscribed() Option { return func(o *options) { o.subscription = nil } }

func filterConfig(o *options) map[string]any {
	c, ok := o.subscription["filter_config"].(map[string]any)
	if !ok {
		c = map[string]any{}
		o.subscription["filter_config"] = c
	}
	return c
}

func (r *Receiver) take(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	status := r.replies[0]
	if len(r.replies) > 1 {
		r.replies = r.replies[1:]
	}
	r.mu.Unlock()
	if r.delay > 0 {
		select {
		case <-time.After(r.delay):
		case <-q.Context().Done():
			return
		}
	}
	r.mu.Lock()
	r.got = append(r.got, Request{EventID: q.Header.Get("webhook-id"), Header: q.Header.Clone(), Body: string(body), Status: status})
	r.mu.Unlock()
	w.WriteHeader(status)
}

// Answer changes what is answered from now on.
func (r *Receiver) Answer(statuses ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replies = statuses
}

// Got is what came so far.
func (r *Receiver) Got() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.got...)
}

// Expectation judges what came; nil: it holds.
type Expectation func([]Request) error

// Want waits until everything expected holds.
func (r *Receiver) Want(all ...Expectation) []Request {
	r.t.Helper()
	eventually(r.t, "the receiver got what was expected", func() error {
		got := r.Got()
		for _, e := range all {
			if err := e(got); err != nil {
				return err
			}
		}
		return nil
	})
	return r.Got()
}

// Attempts wants exactly so many requests.
func Attempts(n int) Expectation {
	return func(got []Request) error {
		if len(got) != n {
			return fmt.Errorf("%d requests came, want %d", len(got), n)
		}
		return nil
	}
}

// SameID wants all requests to be of one event.
func SameID() Expectation {
	return func(got []Request) error {
		for _, q := range got {
			if q.EventID != got[0].EventID || q.EventID == "" {
				return fmt.Errorf("webhook-id %q and %q came", got[0].EventID, q.EventID)
			}
		}
		return nil
	}
}

// Events wants each of these events, and no other; repeats are fine.
func Events(ids ...string) Expectation {
	return func(got []Request) error {
		came := map[string]bool{}
		for _, q := range got {
			came[q.EventID] = true
		}
		for _, id := range ids {
			if !came[id] {
				return fmt.Errorf("event %s did not come; %d of %d did", id, len(came), len(ids))
			}
		}
		if len(came) != len(ids) {
			return fmt.Errorf("%d different events came, want %d", len(came), len(ids))
		}
		return nil
	}
}

// Once wants no event twice.
func Once() Expectation {
	return func(got []Request) error {
		came := map[string]int{}
		for _, q := range got {
			if came[q.EventID]++; came[q.EventID] > 1 {
				return fmt.Errorf("event %s came %d times", q.EventID, came[q.EventID])
			}
		}
		return nil
	}
}

// Came wants each of these events; others may have come, too.
func Came(ids ...string) Expectation {
	return func(got []Request) error {
		came := map[string]bool{}
		for _, q := range got {
			came[q.EventID] = true
		}
		missing := 0
		for _, id := range ids {
			if !came[id] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d events did not come", missing, len(ids))
		}
		return nil
	}
}
