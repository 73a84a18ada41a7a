package app

import (
	"context"
	"net/http"
	"net/url"
)

// SourceRow is what the commands read of a source.
type SourceRow struct {
	ID       string `json:"uid"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Provider string `json:"provider"`
	URL      string `json:"url"`
	State    string `json:"state"`
	Error    string `json:"error"`
	Lag      *int64 `json:"lag"`
	Verifier struct {
		Type string `json:"type"`
	} `json:"verifier"`
	PubSub *struct {
		Type string `json:"type"`
	} `json:"pub_sub"`
}

// Sources lists the project's sources; text, if any, is part of their name.
func (c *Client) Sources(ctx context.Context, text string) ([]Item[SourceRow], error) {
	query := url.Values{}
	if text != "" {
		query.Set("q", text)
	}
	return list[Item[SourceRow]](ctx, c, request{method: http.MethodGet, path: c.ofProject("/sources"), query: query}, maxListed)
}

// Source reads one source.
func (c *Client) Source(ctx context.Context, id string) (s Item[SourceRow], err error) {
	return s, c.call(ctx, request{method: http.MethodGet, path: c.ofProject("/sources/%s", url.PathEscape(id))}, &s)
}

// CreateSource makes a source of the members that the API has for one; its
// answer shows the secrets in full.
func (c *Client) CreateSource(ctx context.Context, members map[string]any) (made Item[SourceRow], err error) {
	return made, c.call(ctx, request{method: http.MethodPost, path: c.ofProject("/sources"), body: members}, &made)
}
