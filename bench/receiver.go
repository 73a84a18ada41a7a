package bench

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// receiver answers 200 to every delivery and notes when each event arrived.
type receiver struct {
	url    string
	server *http.Server

	mu      sync.Mutex
	arrived map[string][]time.Time // by webhook-id
	more    chan struct{}          // one for each arrival that nobody waited for
}

func newReceiver() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{url: "http://" + listener.Addr().String(), arrived: map[string][]time.Time{}, more: make(chan struct{}, 1)}
	r.server = &http.Server{Handler: http.HandlerFunc(r.take), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.server.Serve(listener) }()
	return r, nil
}

func (r *receiver) take(_ http.ResponseWriter, q *http.Request) {
	now := time.Now()
	_, _ = io.Copy(io.Discard, q.Body)
	id := q.Header.Get("webhook-id")
	r.mu.Lock()
	r.arrived[id] = append(r.arrived[id], now)
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// wait blocks until so many different events have arrived, or ctx ends.
func (r *receiver) wait(ctx context.Context, events int) error {
	for {
		r.mu.Lock()
		n := len(r.arrived)
		r.mu.Unlock()
		if n >= events {
			return nil
		}
		select {
		case <-r.more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take all that arrived, and begin anew.
func (r *receiver) reset() map[string][]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.arrived
	r.arrived = map[string][]time.Time{}
	return all
}

func (r *receiver) close() { _ = r.server.Close() }
