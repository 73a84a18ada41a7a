package millracetest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Sent is what the API answers to an event.
type Sent struct {
	UID       string
	Ack       string
	Duplicate bool
	// Applied is the answer's Preference-Applied.
	Applied string `json:"-"`
}

// Event is the body of a call that sends one; members may follow as name and
// value.
func Event(name string, with ...any) map[string]any {
	e := map[string]any{"event_type": name, "data": json.RawMessage(`{"n":1}`)}
	for i := 0; i+1 < len(with); i += 2 {
		e[with[i].(string)] = with[i+1]
	}
	return e
}

// Send hands an event in.
func (g *Gateway) Send(e map[string]any) Sent {
	g.t.Helper()
	return g.SendTo("/events", e)
}

// SendTo hands an event in by another call, such as /events/broadcast.
func (g *Gateway) SendTo(path string, e map[string]any) Sent {
	g.t.Helper()
	sent, err := g.Try(path, e)
	if err != nil {
		g.t.Fatal(err)
	}
	return sent
}

// Try hands an event in that may be refused; a header may follow as name and
// value. What is taken, the gateway is held to when the test is over.
func (g *Gateway) Try(path string, e any, header ...string) (Sent, error) {
	return g.try(call{method: http.MethodPost, path: path, body: e, header: header})
}

func (g *Gateway) try(c call) (Sent, error) {
	var sent Sent
	answered, err := g.exchange(c, &sent)
	if err != nil {
		return sent, err
	}
	sent.Applied = answered.Get("Preference-Applied")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken = append(g.taken, sent)
	return sent, nil
}

// Must calls the project's API and fails the test if that is refused.
func (g *Gateway) Must(method, path string, body, data any) {
	g.t.Helper()
	if err := g.Call(method, path, body, data); err != nil {
		g.t.Fatal(err)
	}
}

// Call calls the project's API.
func (g *Gateway) Call(method, path string, body, data any) error {
	_, err := g.exchange(call{method: method, path: path, body: body}, data)
	return err
}

// Refusal is an answer of the API that is no success.
type Refusal struct {
	Status int
	Header http.Header
	Body   string
}

// Error is the answer.
func (r *Refusal) Error() string { return fmt.Sprintf("%d: %s", r.Status, r.Body) }

// Refused is the refusal in an error; the zero one where there was no answer
// or a success.
func Refused(err error) Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return *r
	}
	return Refusal{}
}

// call is one call of the project's API. Its body is text as it is, or what
// is to be JSON.
type call struct {
	at           string // a server's URL; empty: the gateway's
	method, path string
	body         any
	header       []string
}

func (g *Gateway) exchange(c call, data any) (http.Header, error) {
	q, err := g.request(c)
	if err != nil {
		return nil, err
	}
	a, err := g.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.Body.Close() }()
	answer, err := io.ReadAll(a.Body)
	if err != nil {
		return nil, err
	}
	if a.StatusCode >= 300 {
		return nil, &Refusal{a.StatusCode, a.Header, string(answer)}
	}
	if data == nil {
		return a.Header, nil
	}
	return a.Header, json.Unmarshal(answer, &struct{ Data any }{data})
}

func (g *Gateway) request(c call) (*http.Request, error) {
	var content io.Reader
	switch b := c.body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	q, err := http.NewRequest(c.method, cmp.Or(c.at, g.Access.URL)+"/api/v1/projects/"+g.Access.ProjectID+c.path, content)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+g.Access.APIKey)
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(c.header); i += 2 {
		q.Header.Set(c.header[i], c.header[i+1])
	}
	return q, nil
}
