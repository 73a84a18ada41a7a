package sinks

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/millrace-dev/millrace"
)

// call is one HTTP request, ready to be sent.
type call struct {
	method   string
	url      *url.URL
	shownURL string // without a password
	header   *headers
	body     []byte
	deadline time.Time
}

// request makes the request of net/http. GetBody stays nil: a body that cannot
// be had again is what keeps net/http from sending a request twice.
func (c *call) request(ctx context.Context) *http.Request {
	r := &http.Request{
		Method: c.method, URL: c.url, Host: c.url.Host, Header: c.header.sent,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody, ContentLength: int64(len(c.body)),
	}
	if len(c.body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	return r.WithContext(ctx)
}

const defaultTimeout = 10 * time.Second

func methodOf(e *millrace.Endpoint) string {
	if e.Method == "" {
		return http.MethodPost
	}
	return e.Method
}

func deadlineOf(e *millrace.Endpoint, now time.Time) time.Time {
	if e.Timeout <= 0 {
		return now.Add(defaultTimeout)
	}
	return now.Add(min(e.Timeout, millrace.MaxTimeout))
}

// compose makes the request of a delivery. Its errors are what makes a
// delivery unsendable, in words for people.
func (w *Webhook) compose(r *millrace.Request, now time.Time) (call, error) {
	e := &r.Endpoint
	c := call{method: methodOf(e), deadline: deadlineOf(e, now)}
	var err error
	if c.url, c.shownURL, err = parseURL(e.URL); err != nil {
		return c, err
	}
	contentType := contentTypeOf(r)
	c.body = r.Delivery.Payload
	if e.ContentType == formType {
		if c.body, err = formOf(r.Delivery.Payload); err != nil {
			return c, err
		}
	}
	c.header = newHeaders(len(r.Delivery.Headers) + 10)
	c.header.custom(r.Delivery.Headers)
	if err := c.header.authenticate(e.Authentication, c.url.User); err != nil {
		return c, err
	}
	c.header.set("Content-Type", contentType)
	c.header.set("User-Agent", w.userAgent)
	c.header.given("X-Convoy-Idempotency-Key", r.Delivery.IdempotencyKey)
	c.header.given("Traceparent", r.Delivery.TraceParent)
	return c, c.sign(r, now)
}

const jsonType = "application/json"

// contentTypeOf is what a body is said to be: what the endpoint asks for; or,
// where that is JSON and the payload is none, what the payload came in as.
func contentTypeOf(r *millrace.Request) string {
	asked := cmp.Or(r.Endpoint.ContentType, jsonType)
	came := r.Delivery.Headers[millrace.HeaderCameAs]
	if came == "" || asked != jsonType || json.Valid(r.Delivery.Payload) || !millrace.SendableHeader(millrace.HeaderCameAs, came) {
		return asked
	}
	return came
}

// sign adds the signatures, over exactly the bytes that are sent.
func (c *call) sign(r *millrace.Request, now time.Time) error {
	secrets := millrace.Live(r.Endpoint.Secrets, now)
	if len(secrets) == 0 {
		return errNoSecret
	}
	s := signed{id: r.Delivery.EventID.String(), unix: now.Unix(), body: c.body}
	var signing millrace.Sensitive
	if r.Endpoint.Asymmetric() {
		signing = r.Endpoint.SigningKey
		if signing == "" {
			return errors.New("the endpoint asks for v1a signatures and has no signing key")
		}
	}
	standard, err := s.standard(secrets, signing)
	if err != nil {
		return err
	}
	c.header.set("Webhook-Id", s.id)
	c.header.set("Webhook-Timestamp", strconv.FormatInt(s.unix, 10))
	c.header.set("Webhook-Signature", standard)
	if !r.Signature.Convoy {
		return nil
	}
	convoy, err := s.convoy(r.Signature, secrets, r.Endpoint.AdvancedSignatures)
	if err != nil {
		return err
	}
	c.header.set(textproto.CanonicalMIMEHeaderKey(convoyHeader(r.Signature)), convoy)
	return nil
}

func parseURL(raw string) (*url.URL, string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, "", errors.New("the endpoint's URL is not an http or https URL")
	}
	if u.User != nil {
		return u, u.Redacted(), nil
	}
	return u, raw, nil
}

// headers are those of one request. What is set later wins, so custom headers
// come first and the gateway's own last.
type headers struct {
	sent    http.Header
	values  []string // backs the values of sent: one allocation for all
	secrets []string // names of those that are not shown
}

func newHeaders(most int) *headers {
	return &headers{sent: make(http.Header, most), values: make([]string, 0, most)}
}

// set takes a name in canonical form.
func (h *headers) set(name, value string) {
	h.values = append(h.values, value)
	n := len(h.values)
	h.sent[name] = h.values[n-1 : n : n]
}

// given sets a header whose value a client chose; one that is empty or fits in
// no header is left out.
func (h *headers) given(name, value string) {
	if value != "" && millrace.SendableHeader("X-Any", value) {
		h.set(name, value)
	}
}

// secret sets a header whose value is not to be shown.
func (h *headers) secret(name, value string) {
	h.set(name, value)
	h.secrets = append(h.secrets, name)
}

// custom sets an event's own headers. Ingest refuses those that may not be
// sent; the ones it let through under older rules are left out.
func (h *headers) custom(own map[string]string) {
	for name, value := range own {
		key := textproto.CanonicalMIMEHeaderKey(name)
		if !millrace.SendableHeader(key, value) {
			continue
		}
		switch key {
		case millrace.HeaderCameAs: // it is the content type
		case "Authorization", "Cookie", "X-Api-Key":
			h.secret(key, value)
		case "Idempotency-Key", "X-Idempotency-Key":
			// Spelt like this, net/http takes it as leave to send twice.
			h.set(strings.ToLower(key), value)
		default:
			h.set(key, value)
		}
	}
}

// shown is what was sent, with the secrets blacked out. The maps are not
// changed afterwards: net/http may still be reading what was sent.
func (h *headers) shown() http.Header {
	if len(h.secrets) == 0 {
		return h.sent
	}
	shown := maps.Clone(h.sent)
	for _, name := range h.secrets {
		shown[name] = []string{redacted}
	}
	return shown
}

const redacted = "<secret>"

// sentence makes a text for people of an error: a capital letter and a stop.
func sentence(err error) string {
	text := err.Error()
	first, size := utf8.DecodeRuneInString(text)
	return fmt.Sprintf("%c%s.", unicode.ToUpper(first), strings.TrimSuffix(text[size:], "."))
}
