package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// NullConfig says where the null gateway listens and where each event goes.
type NullConfig struct {
	Listen string
	To     []string
}

// nullQueue bounds what it keeps in memory; nullSenders are its requests at once.
const nullQueue, nullSenders = 1 << 16, 128

// RunNull runs the null gateway until ctx ends: net/http in, parse the JSON,
// queue in memory, net/http out. It keeps nothing, signs nothing and tries
// once, so it is the floor under what any gateway in Go costs.
func RunNull(ctx context.Context, c NullConfig) error {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	n := &null{
		queue:  make(chan nullDelivery, nullQueue),
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: nullSenders}},
		to:     c.To,
	}
	var sending sync.WaitGroup
	for range nullSenders {
		sending.Go(n.send)
	}
	server := &http.Server{Handler: http.HandlerFunc(n.take), ReadHeaderTimeout: 5 * time.Second}
	stopped := context.AfterFunc(ctx, func() {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(drain)
		close(n.queue)
	})
	defer stopped()
	err = server.Serve(listener)
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	sending.Wait()
	return nil
}

type null struct {
	queue  chan nullDelivery
	client *http.Client
	to     []string
}

type nullDelivery struct {
	url  string
	body []byte
}

// nullEvent is what it reads of an event.
type nullEvent struct {
	EventType string          `json:"event_type"`
	Data      json.RawMessage `json:"data"`
}

var nullAnswer = []byte(`{"status":true,"message":"Event queued successfully","data":{}}`)

func (n *null) take(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		return // asked whether it serves
	}
	var e nullEvent
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, url := range n.to {
		n.queue <- nullDelivery{url, e.Data}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(nullAnswer)
}

// send delivers what is queued; what fails is lost, and the benchmark sees it.
func (n *null) send() {
	for d := range n.queue {
		q, err := http.NewRequest(http.MethodPost, d.url, bytes.NewReader(d.body))
		if err != nil {
			continue
		}
		q.Header.Set("Content-Type", "application/json")
		answer, err := n.client.Do(q)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
}
