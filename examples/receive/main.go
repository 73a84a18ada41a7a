// Command receive is a receiver of webhooks with nothing but the standard
// library: it verifies each request, works it off once, and answers.
//
//	SECRET=whsec_… go run ./examples/receive
//
// The secret is shown when the endpoint is made:
//
//	bin/millrace endpoint create http://127.0.0.1:9000/hook
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

func main() {
	secret := os.Getenv("SECRET")
	if secret == "" {
		fmt.Fprintln(os.Stderr, "set SECRET to the endpoint's whsec_…")
		os.Exit(1)
	}
	receiver := NewReceiver(secret, func(_ context.Context, id string, body []byte) error {
		fmt.Printf("%s %s\n", id, body)
		return nil
	})
	server := &http.Server{Addr: "127.0.0.1:9000", Handler: receiver, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}

// maxBody bounds a request's body; Millrace's default bound of an event is
// 1 MiB.
const maxBody = 1 << 20

// Receiver answers webhooks. It works each event off once, as long as it
// remembers it; a real one remembers in its database, in the transaction of
// the work itself.
type Receiver struct {
	secret string
	work   func(ctx context.Context, id string, body []byte) error

	mu   sync.Mutex
	done map[string]bool // false: under way
}

// NewReceiver makes a receiver that does the given work for each event.
func NewReceiver(secret string, work func(ctx context.Context, id string, body []byte) error) *Receiver {
	return &Receiver{secret: secret, work: work, done: map[string]bool{}}
}

// ServeHTTP verifies a request and works its event off. Anything but a 2xx
// makes Millrace try again later.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	if err := Verify(r.secret, req.Header, body); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	id := req.Header.Get("webhook-id")
	done, underWay := r.begin(id)
	switch {
	case done: // a duplicate: yes again
		return
	case underWay: // ask again when the first has ended
		http.Error(w, "the event is being worked on", http.StatusConflict)
		return
	}
	err = r.work(req.Context(), id, body)
	r.end(id, err == nil)
	if err != nil {
		http.Error(w, "the work failed", http.StatusInternalServerError)
	}
}

func (r *Receiver) begin(id string) (done, underWay bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done, known := r.done[id]
	if !known {
		r.done[id] = false
	}
	return done, known && !done
}

// end remembers an event that was worked off, and forgets one that failed.
func (r *Receiver) end(id string, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if done {
		r.done[id] = true
		return
	}
	delete(r.done, id)
}
