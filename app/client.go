package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// Client calls the REST API of a running Millrace. Refusals come back as
// *millrace.Error, in the API's words.
type Client struct {
	access DevAccess
	agent  string
	http   *http.Client
}

// NewClient makes a client; the version goes into its User-Agent.
func NewClient(a DevAccess, version string) *Client {
	return &Client{
		access: DevAccess{URL: strings.TrimRight(a.URL, "/"), ProjectID: a.ProjectID, APIKey: a.APIKey},
		agent:  "millrace-cli/" + version,
		http:   &http.Client{Timeout: time.Minute, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 64}},
	}
}

// Access is what the client calls with.
func (c *Client) Access() DevAccess { return c.access }

// Close closes the connections that are kept for reuse.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Item is a thing of the API: what the commands read of it, and all of it as
// the API gave it, which is what it is in JSON.
type Item[T any] struct {
	Is  T
	Raw json.RawMessage
}

// UnmarshalJSON keeps the bytes and reads them.
func (i *Item[T]) UnmarshalJSON(b []byte) error {
	i.Raw = bytes.Clone(b)
	return json.Unmarshal(b, &i.Is)
}

// MarshalJSON gives back what the API gave.
func (i Item[T]) MarshalJSON() ([]byte, error) { return i.Raw, nil }

// envelope is around every answer of the API.
type envelope struct {
	Status  bool                  `json:"status"`
	Message string                `json:"message"`
	Data    json.RawMessage       `json:"data"`
	Code    millrace.Code         `json:"code"`
	Errors  []millrace.FieldError `json:"errors"`
}

// request is one call of the API.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any // bytes as they are, or what is written as JSON
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 128 << 20

// call makes a request and reads the data of its answer into out.
func (c *Client) call(ctx context.Context, r request, out any) error {
	req, err := c.compose(ctx, r)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return c.unreached(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return c.unreached(ctx, err)
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("%s does not speak Millrace's API (it answered %s); is the URL right?", c.access.URL, answer.Status)
	}
	if !e.Status {
		return refusal(e)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(e.Data, out); err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", r.method, r.path, err)
	}
	return nil
}

func (c *Client) compose(ctx context.Context, r request) (*http.Request, error) {
	body, raw := r.body.([]byte)
	if !raw && r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("write the request %s %s: %w", r.method, r.path, err)
		}
	}
	if strings.HasPrefix(r.path+"/", "/api/v1/projects//") {
		return nil, errNoProject
	}
	address := c.access.URL + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%q is no URL such as http://127.0.0.1:5005", c.access.URL)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+c.access.APIKey)
	req.Header.Set("User-Agent", c.agent)
	return req, nil
}

// refusal is the API's error. A single fault stands in its message already.
func refusal(e envelope) error {
	if len(e.Errors) == 1 {
		e.Errors = nil
	}
	return &millrace.Error{Code: e.Code, Message: e.Message, Fields: e.Errors}
}

// unreached says in one sentence that nobody answers.
func (c *Client) unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var late net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return millrace.Unavailable(fmt.Errorf("nobody answers at %s: start `millrace dev` or `millrace server`, or name another URL (--url, MILLRACE_URL)", c.access.URL))
	case errors.As(err, &late) && late.Timeout():
		return millrace.Unavailable(fmt.Errorf("%s did not answer in time", c.access.URL))
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return millrace.Unavailable(fmt.Errorf("%s cannot be reached: %w", c.access.URL, err))
}

// ofProject is a path below the project.
func (c *Client) ofProject(format string, args ...any) string {
	return "/api/v1/projects/" + url.PathEscape(c.access.ProjectID) + fmt.Sprintf(format, args...)
}

// page is one page of a list.
type page[T any] struct {
	Content    []T `json:"content"`
	Pagination struct {
		HasNext bool   `json:"has_next_page"`
		Next    string `json:"next_page_cursor"`
	} `json:"pagination"`
}

// pageSize is how many rows one request of a list asks for.
const pageSize = 200

// list reads a list, page by page, up to so many rows.
func list[T any](ctx context.Context, c *Client, r request, most int) ([]T, error) {
	all := []T{}
	if r.query == nil {
		r.query = url.Values{}
	}
	for len(all) < most {
		r.query.Set("perPage", fmt.Sprint(min(pageSize, most-len(all))))
		var p page[T]
		if err := c.call(ctx, r, &p); err != nil {
			return nil, err
		}
		all = append(all, p.Content...)
		if !p.Pagination.HasNext {
			break
		}
		r.query.Set("direction", "next")
		r.query.Set("next_page_cursor", p.Pagination.Next)
	}
	return all, nil
}
