package millracetest

import (
	"context"
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
	wanted     []Expectation

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
	// Status is what was answered; Cut or Hang: nothing was.
	Status int
}

// Replies that are none.
const (
	// Cut closes the connection instead of an answer.
	Cut = 0
	// Hang answers nothing until the client leaves.
	Hang = -1
)

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
func Owner(id string) Option { return Endpoint("owner_id", id) }

// Tries is a policy of so many tries, a second apart, the first two at once.
func Tries(n int) Option {
	schedule := make([]int, n)
	for i := 2; i < n; i++ {
		schedule[i] = 1
	}
	return Endpoint("strategy", map[string]any{"type": "list", "schedule": schedule})
}

// Endpoint sets a member of the endpoint.
func Endpoint(member string, value any) Option {
	return func(o *options) { o.endpoint[member] = value }
}

// Types narrows the subscription to these event types.
func Types(names ...string) Option {
	return func(o *options) { filterConfig(o)["event_types"] = names }
}

// Body narrows the subscription by a filter over the body.
func Body(filter map[string]any) Option { return Filter(map[string]any{"body": filter}) }

// Filter narrows the subscription by a filter over several parts.
func Filter(parts map[string]any) Option {
	return func(o *options) { filterConfig(o)["filter"] = parts }
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

// Receiver makes an endpoint that this test plays, with a subscription to all
// events.
func (g *Gateway) Receiver(change ...Option) *Receiver {
	g.t.Helper()
	o := options{replies: []int{http.StatusOK}, endpoint: map[string]any{"name": "receiver"}, subscription: map[string]any{"name": "receiver"}}
	for _, c := range change {
		c(&o)
	}
	r := &Receiver{t: g.t, replies: o.replies, delay: o.delay}
	r.server = httptest.NewServer(http.HandlerFunc(r.take))
	g.receivers = append(g.receivers, r)
	o.endpoint["url"] = r.server.URL
	var endpoint struct {
		UID     string
		Secrets []struct{ Value string }
	}
	g.Must(http.MethodPost, "/endpoints", o.endpoint, &endpoint)
	r.EndpointID, r.Secret = endpoint.UID, endpoint.Secrets[0].Value
	if o.subscription != nil {
		o.subscription["endpoint_id"] = endpoint.UID
		g.Must(http.MethodPost, "/subscriptions", o.subscription, nil)
	}
	return r
}

func (r *Receiver) take(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	status := r.next()
	if !r.waited(q.Context(), status == Hang) {
		status = Hang
	}
	r.keep(Request{EventID: q.Header.Get("webhook-id"), Header: q.Header.Clone(), Body: string(body), Status: status})
	if status <= 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
}

// waited takes the receiver's time, or for ever; false: the client left.
func (r *Receiver) waited(client context.Context, forEver bool) bool {
	if forEver {
		<-client.Done()
		return false
	}
	if r.delay == 0 {
		return true
	}
	delay := time.NewTimer(r.delay)
	defer delay.Stop()
	select {
	case <-delay.C:
		return true
	case <-client.Done():
		return false
	}
}

func (r *Receiver) next() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.replies[0]
	if len(r.replies) > 1 {
		r.replies = r.replies[1:]
	}
	return status
}

func (r *Receiver) keep(q Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, q)
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
