package sinks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
)

// Bounds of a token's life.
const (
	unknownLife  = 5 * time.Minute // the server does not say
	longestLife  = 24 * time.Hour
	refreshAhead = time.Minute
	failureLife  = time.Second // a failed fetch is not repeated at once
	maxToken     = 64 << 10
)

// tokenKey is an endpoint with everything that its token depends on: a change
// of any of it asks for a new token.
type tokenKey [sha256.Size]byte

// token is the access token of one endpoint. The slot lets one fetch through
// at a time.
type token struct {
	slot  chan struct{}
	grant atomic.Pointer[grant]
}

// grant is what the last fetch brought: a value of Authorization, or why there
// is none. It is good until then.
type grant struct {
	authorization string
	err           error
	until         time.Time
}

// bearer returns the Authorization of an OAuth2 endpoint, from memory while
// the token lives. Its errors are sentences for people; one that is the
// egress's fault is marked Unavailable.
func (w *Webhook) bearer(ctx context.Context, e *millrace.Endpoint, deadline time.Time) (string, error) {
	t := w.tokenOf(e)
	if g := t.grant.Load(); g != nil && w.now().Before(g.until) {
		return g.authorization, g.err
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	select {
	case t.slot <- struct{}{}:
		defer func() { <-t.slot }()
	case <-ctx.Done():
		return "", errors.New("the token server did not answer within the deadline")
	}
	if g := t.grant.Load(); g != nil && w.now().Before(g.until) {
		return g.authorization, g.err
	}
	g := w.fetch(ctx, e.Authentication.OAuth2, deadline)
	if !millrace.IsUnavailable(g.err) && !errors.Is(ctx.Err(), context.Canceled) {
		t.grant.Store(&g)
	}
	return g.authorization, g.err
}

// forget drops the token that an endpoint has just refused.
func (w *Webhook) forget(e *millrace.Endpoint) {
	if a := e.Authentication; a != nil && a.Type == millrace.AuthOAuth2 && a.OAuth2 != nil {
		w.tokenOf(e).grant.Store(nil)
	}
}

func (w *Webhook) tokenOf(e *millrace.Endpoint) *token {
	t, _ := w.tokens.of(keyOf(e.ID, e.Authentication.OAuth2), func() (*token, error) {
		return &token{slot: make(chan struct{}, 1)}, nil
	})
	return t
}

func keyOf(endpoint millrace.ID, o *millrace.OAuth2) tokenKey {
	h := sha256.New()
	h.Write(endpoint[:])
	for _, part := range []string{
		o.URL, o.ClientID, o.ClientSecret.Reveal(), o.GrantType, o.Scope, o.Audience, o.AuthenticationType, o.SigningKey.Reveal(),
		o.SigningAlgorithm, o.Issuer, o.Subject, o.ExpiryTimeUnit, o.FieldMapping["access_token"], o.FieldMapping["token_type"], o.FieldMapping["expires_in"],
	} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return tokenKey(h.Sum(nil))
}

func (w *Webhook) fetch(ctx context.Context, o *millrace.OAuth2, deadline time.Time) grant {
	now := w.now()
	refused := func(err error) grant { return grant{err: err, until: now.Add(failureLife)} }
	c, err := w.tokenCall(o, now)
	if err != nil {
		return refused(err)
	}
	c.deadline = deadline
	res, x, err := w.roundTrip(ctx, w.common, c)
	if err != nil {
		v := x.judge(err, !time.Now().Before(deadline))
		if v.ours != nil {
			return refused(millrace.Unavailable(fmt.Errorf("fetch a token: %w", v.ours)))
		}
		return refused(fmt.Errorf("the token server gave no answer (%s): %s", v.outcome, v.text))
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return refused(fmt.Errorf("the token server answered %d %s", res.StatusCode, http.StatusText(res.StatusCode)))
	}
	body, whole := readBody(res, maxToken)
	if !whole {
		return refused(errors.New("the token server's answer is cut off or too long"))
	}
	g, err := readGrant(o, body, now)
	if err != nil {
		return refused(err)
	}
	return g
}

func (w *Webhook) tokenCall(o *millrace.OAuth2, now time.Time) (call, error) {
	u, _, err := parseURL(o.URL)
	if err != nil {
		return call{}, errors.New("the token server's URL is not an http or https URL")
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {o.ClientID}}
	for name, value := range map[string]string{"grant_type": o.GrantType, "scope": o.Scope, "audience": o.Audience} {
		if value != "" {
			form.Set(name, value)
		}
	}
	if o.AuthenticationType == "client_assertion" {
		assertion, err := clientAssertion(o, now)
		if err != nil {
			return call{}, err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	} else {
		form.Set("client_secret", o.ClientSecret.Reveal())
	}
	c := call{method: http.MethodPost, url: u, body: []byte(form.Encode()), header: newHeaders(4)}
	if err := c.header.authenticate(nil, u.User); err != nil {
		return call{}, err
	}
	c.header.set("Content-Type", formType)
	c.header.set("Accept", "application/json")
	c.header.set("User-Agent", w.userAgent)
	return c, nil
}
