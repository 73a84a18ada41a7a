package app

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// ProjectRow is what the commands read of a project.
type ProjectRow struct {
	ID        string    `json:"uid"`
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	CreatedAt time.Time `json:"created_at"`
	Config    struct {
		Signature millrace.SignatureConfig `json:"signature"`
	} `json:"config"`
}

// KeyRow is what the commands read of an API key.
type KeyRow struct {
	ID        string     `json:"uid"`
	Name      string     `json:"name"`
	Type      string     `json:"key_type"`
	Prefix    string     `json:"prefix"`
	Key       string     `json:"key"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	LastUsed  *time.Time `json:"last_used_at"`
}

// EndpointRow is what the commands read of an endpoint.
type EndpointRow struct {
	ID      string `json:"uid"`
	Name    string `json:"name"`
	URL     string `json:"url"`
	Status  string `json:"status"`
	OwnerID string `json:"owner_id"`
	Secrets []struct {
		Value string `json:"value"`
	} `json:"secrets"`
	VerifyingKey string `json:"verifying_key"`
}

// DeadLetterRow is what the commands read of a dead letter.
type DeadLetterRow struct {
	ID         string     `json:"uid"`
	Stage      string     `json:"stage"`
	Reason     string     `json:"reason"`
	Error      string     `json:"error"`
	History    []string   `json:"history"`
	EventID    string     `json:"event_id"`
	DeliveryID string     `json:"delivery_id"`
	Settled    string     `json:"settled"`
	SettledAt  *time.Time `json:"settled_at"`
	CreatedAt  time.Time  `json:"created_at"`
	Raw        []byte     `json:"raw"`
}

// maxListed bounds what one command lists.
const maxListed = 10_000

// Projects lists the instance's projects; it needs an instance key.
func (c *Client) Projects(ctx context.Context) ([]Item[ProjectRow], error) {
	return list[Item[ProjectRow]](ctx, c, request{method: http.MethodGet, path: "/api/v1/projects"}, maxListed)
}

// Project reads the client's project.
func (c *Client) Project(ctx context.Context) (p Item[ProjectRow], err error) {
	return p, c.call(ctx, request{method: http.MethodGet, path: c.ofProject("")}, &p)
}

var errNoProject = errors.New("the project is missing: set --project or MILLRACE_PROJECT_ID")

// keysPath is where the keys of the project, or of the instance, are.
func (c *Client) keysPath(instance bool) string {
	if instance {
		return "/api/v1/keys"
	}
	return c.ofProject("/keys")
}

// Keys lists the API keys of the project, or of the instance.
func (c *Client) Keys(ctx context.Context, instance bool) (keys []Item[KeyRow], err error) {
	return keys, c.call(ctx, request{method: http.MethodGet, path: c.keysPath(instance)}, &keys)
}

// NewKey is an API key to be made.
type NewKey struct {
	Name      string     `json:"name"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// CreateKey makes an API key of the project; only this answer shows it.
func (c *Client) CreateKey(ctx context.Context, k NewKey) (made Item[KeyRow], err error) {
	return made, c.call(ctx, request{method: http.MethodPost, path: c.keysPath(false), body: k}, &made)
}

// RevokeKey makes an API key worthless.
func (c *Client) RevokeKey(ctx context.Context, id string, instance bool) error {
	return c.call(ctx, request{method: http.MethodDelete, path: c.keysPath(instance) + "/" + url.PathEscape(id)}, nil)
}

// Endpoints lists the project's endpoints; text, if any, is part of their
// name or URL.
func (c *Client) Endpoints(ctx context.Context, text string) ([]Item[EndpointRow], error) {
	query := url.Values{}
	if text != "" {
		query.Set("q", text)
	}
	return list[Item[EndpointRow]](ctx, c, request{method: http.MethodGet, path: c.ofProject("/endpoints"), query: query}, maxListed)
}

// NewEndpoint is an endpoint to be made.
type NewEndpoint struct {
	URL         string `json:"url"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	OwnerID     string `json:"owner_id,omitempty"`
	Secret      string `json:"secret,omitempty"`
}

// CreateEndpoint makes an endpoint; its answer shows the secret in full.
func (c *Client) CreateEndpoint(ctx context.Context, e NewEndpoint) (made Item[EndpointRow], err error) {
	return made, c.call(ctx, request{method: http.MethodPost, path: c.ofProject("/endpoints"), body: e}, &made)
}

// RollSecret gives an endpoint a new secret in place of the old, and shows it.
func (c *Client) RollSecret(ctx context.Context, endpoint string) (e Item[EndpointRow], err error) {
	path := c.ofProject("/endpoints/%s/expire_secret", url.PathEscape(endpoint))
	return e, c.call(ctx, request{method: http.MethodPut, path: path, body: struct{}{}}, &e)
}

// ActivateEndpoint lets a paused or disabled endpoint take deliveries again.
func (c *Client) ActivateEndpoint(ctx context.Context, endpoint string) error {
	return c.call(ctx, request{method: http.MethodPost, path: c.ofProject("/endpoints/%s/activate", url.PathEscape(endpoint))}, nil)
}

// Subscribed tells whether an endpoint has a subscription.
func (c *Client) Subscribed(ctx context.Context, endpoint string) (bool, error) {
	query := url.Values{"endpointId": {endpoint}}
	found, err := list[Item[struct{}]](ctx, c, request{method: http.MethodGet, path: c.ofProject("/subscriptions"), query: query}, 1)
	return len(found) > 0, err
}

// Subscribe subscribes an endpoint to event types: names, "*", or prefixes
// such as "order.*".
func (c *Client) Subscribe(ctx context.Context, e EndpointRow, types []string) error {
	in := map[string]any{"name": e.Name, "endpoint_id": e.ID, "filter_config": map[string]any{"event_types": types}}
	return c.call(ctx, request{method: http.MethodPost, path: c.ofProject("/subscriptions"), body: in}, nil)
}

// Replay is a replay of one event.
type Replay struct {
	EventID   string `json:"uid"`
	EventType string `json:"event_type"`
	ReplayID  string `json:"replay_id"`
}

// Replay matches an event once more and delivers it to all that match now.
func (c *Client) Replay(ctx context.Context, event string) (r Item[Replay], err error) {
	return r, c.call(ctx, request{method: http.MethodPut, path: c.ofProject("/events/%s/replay", url.PathEscape(event))}, &r)
}

// EventType reads the type of an event.
func (c *Client) EventType(ctx context.Context, event string) (string, error) {
	var e struct {
		Type string `json:"event_type"`
	}
	return e.Type, c.call(ctx, request{method: http.MethodGet, path: c.ofProject("/events/%s", url.PathEscape(event))}, &e)
}

// DeadLetterFilter picks dead letters.
type DeadLetterFilter struct {
	// Instance lists all projects' and those of none; it needs an instance key.
	Instance bool
	Stage    string
	// Settled lists those that are done with, too.
	Settled bool
}

func (c *Client) deadLettersPath(instance bool) string {
	if instance {
		return "/api/v1/dead-letters"
	}
	return c.ofProject("/dead-letters")
}

// DeadLetters lists what could not be processed.
func (c *Client) DeadLetters(ctx context.Context, f DeadLetterFilter) ([]Item[DeadLetterRow], error) {
	query := url.Values{}
	if f.Stage != "" {
		query.Set("stage", f.Stage)
	}
	if f.Settled {
		query.Set("settled", "true")
	}
	return list[Item[DeadLetterRow]](ctx, c, request{method: http.MethodGet, path: c.deadLettersPath(f.Instance), query: query}, maxListed)
}

// DeadLetter reads one, with its raw bytes.
func (c *Client) DeadLetter(ctx context.Context, id string, instance bool) (d Item[DeadLetterRow], err error) {
	return d, c.call(ctx, request{method: http.MethodGet, path: c.deadLettersPath(instance) + "/" + url.PathEscape(id)}, &d)
}

// Redrive processes a dead letter once more.
func (c *Client) Redrive(ctx context.Context, id string, instance bool) (d Item[DeadLetterRow], err error) {
	return d, c.call(ctx, request{method: http.MethodPost, path: c.deadLettersPath(instance) + "/" + url.PathEscape(id) + "/redrive"}, &d)
}

// Discard settles a dead letter without processing it.
func (c *Client) Discard(ctx context.Context, id string, instance bool) (d Item[DeadLetterRow], err error) {
	return d, c.call(ctx, request{method: http.MethodDelete, path: c.deadLettersPath(instance) + "/" + url.PathEscape(id)}, &d)
}
