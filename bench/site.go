package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// site is a gateway under load: where its API is, and how its cost is read.
type site struct {
	name    string
	api     *api
	project string
	ids     bool // it answers ids and says how far it acknowledged
	signs   bool
	read    func(ctx context.Context) (reading, error)
	settle  func(ctx context.Context) error
}

// api makes what a scenario needs, by the calls that Convoy has, too.
type api struct {
	base   *url.URL
	key    string
	client *http.Client
}

func newAPI(base, key string) (*api, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the gateway's URL %q is no http or https URL", base)
	}
	return &api{base: u, key: key, client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: setupClients}}}, nil
}

// call makes one request and reads the answer's data.
func (a *api) call(ctx context.Context, path string, in, data any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+a.key)
	q.Header.Set("Content-Type", "application/json")
	answer, err := a.client.Do(q)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("POST %s: %s: %.300s", path, answer.Status, text)
	}
	return json.Unmarshal(text, &struct{ Data any }{data})
}

// made is what a call answers of what it made.
type made struct {
	UID     string `json:"uid"`
	Project struct {
		UID string `json:"uid"`
	} `json:"project"`
}

func (a *api) createProject(ctx context.Context, name string) (string, error) {
	var m made
	err := a.call(ctx, "/api/v1/projects", map[string]any{"name": name, "type": "outgoing"}, &m)
	return m.Project.UID, err
}

// newEndpoint is one to be made.
type newEndpoint struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	OwnerID string `json:"owner_id,omitempty"`
	Secret  string `json:"secret"`
}

// secret signs all deliveries.
const secret = "whsec_bWlsbHJhY2UtYmVuY2gtc2VjcmV0LTMyLWJ5dGVz"

func (a *api) createEndpoint(ctx context.Context, project string, e newEndpoint) (string, error) {
	var m made
	e.Secret = secret
	err := a.call(ctx, ofProject(project, "/endpoints"), e, &m)
	return m.UID, err
}

// newSubscription is one to be made; Body is an equality filter over the data.
type newSubscription struct {
	Endpoint, EventType string
	Body                map[string]string
}

func (a *api) subscribe(ctx context.Context, project string, s newSubscription) error {
	filter := map[string]any{"event_types": []string{s.EventType}}
	if s.Body != nil {
		filter["filter"] = map[string]any{"body": s.Body}
	}
	return a.call(ctx, ofProject(project, "/subscriptions"), map[string]any{
		"name": "bench", "endpoint_id": s.Endpoint, "filter_config": filter,
	}, &made{})
}

func ofProject(project, path string) string { return "/api/v1/projects/" + project + path }
