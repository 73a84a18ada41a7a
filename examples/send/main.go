// Command send hands an event to Millrace with nothing but the standard
// library: under an idempotency key, so that it can be repeated until there is
// a yes.
//
//	MILLRACE_URL=… MILLRACE_PROJECT_ID=… MILLRACE_API_KEY=… go run ./examples/send
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sender := Sender{
		URL: os.Getenv("MILLRACE_URL"), ProjectID: os.Getenv("MILLRACE_PROJECT_ID"), APIKey: os.Getenv("MILLRACE_API_KEY"),
		Client: &http.Client{Timeout: 30 * time.Second}, Wait: time.Second,
	}
	id, err := sender.Send(ctx, Event{Type: "order.paid", Data: json.RawMessage(`{"id": 42}`), Key: "order-42-paid"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(id)
}

// Event is what happened. The key names it: the same key again is the same
// event.
type Event struct {
	Type string          `json:"event_type"`
	Data json.RawMessage `json:"data"`
	Key  string          `json:"idempotency_key"`
}

// Sender sends events to one project.
type Sender struct {
	URL, ProjectID, APIKey string
	Client                 *http.Client
	// Wait is how long to wait before it is tried again; it doubles.
	Wait time.Duration
}

// Send repeats the request until it is answered with yes or no, or ctx ends,
// and returns the event's id.
func (s Sender) Send(ctx context.Context, e Event) (string, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("write the event: %w", err)
	}
	for wait := s.Wait; ; wait *= 2 {
		id, again, err := s.try(ctx, body)
		if !again {
			return id, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", fmt.Errorf("send the event: %w; at last: %w", ctx.Err(), err)
		}
	}
}

// try makes one request. Again: the error is of the moment.
func (s Sender) try(ctx context.Context, body []byte) (id string, again bool, err error) {
	url := s.URL + "/api/v1/projects/" + s.ProjectID + "/events"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", false, err
	}
	req.Header.Set("Authorization", "Bearer "+s.APIKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.Client.Do(req)
	if err != nil {
		return "", true, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", true, err
	}
	var answer struct {
		Message string `json:"message"`
		Data    struct {
			ID string `json:"uid"`
		} `json:"data"`
	}
	unread := json.Unmarshal(text, &answer)
	if res.StatusCode == http.StatusCreated && unread == nil {
		return answer.Data.ID, false, nil
	}
	again = res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500
	return "", again, fmt.Errorf("%s: %s", res.Status, answer.Message)
}
