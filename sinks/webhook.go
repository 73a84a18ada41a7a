// Package sinks is how deliveries go out. A sink sends one delivery and says
// what became of it, as an Attempt with an outcome from a closed list; it
// decides nothing. An error is kept for what is no fault of the endpoint: the
// egress is away, and nothing may be charged.
//
//	compose (headers, form) ─▶ authenticate ─▶ sign ─▶ a kept connection, or CONNECT through a proxy ─▶ send once ─▶ judge
package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace-dev/millrace"
)

// Webhook sends deliveries as HTTP requests, all of them through the egress.
// It may be used by many goroutines at once.
type Webhook struct {
	config    Config
	userAgent string
	proxies   *proxies
	common    *http.Transport
	special   *lru[credentials, *http.Transport]
	tokens    *lru[tokenKey, *token]
	// base ends with Close, and with it every dial.
	base   context.Context
	cancel context.CancelFunc
	now    func() time.Time
}

// NewWebhook makes a Webhook. The proxies need not be up.
func NewWebhook(config Config) (*Webhook, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	egress, err := config.proxies()
	if err != nil {
		return nil, err
	}
	w := &Webhook{config: config, userAgent: "Millrace/" + config.Version, proxies: egress, now: time.Now}
	w.base, w.cancel = context.WithCancel(context.Background())
	plain, err := credentials{}.tls()
	if err != nil {
		return nil, err
	}
	w.common = w.newTransport(plain)
	w.special = newLRU[credentials](config.MaxTransports, (*http.Transport).CloseIdleConnections)
	w.tokens = newLRU[tokenKey, *token](config.MaxTokens, nil)
	return w, nil
}

// Close closes the connections that are idle and ends dials under way.
// Requests that were sent go on to their answer.
func (w *Webhook) Close() {
	w.cancel()
	w.common.CloseIdleConnections()
	w.special.clear()
}

// atLeast is what must be left of the deadline when the request sets out: with
// less, it would be the egress that seems slow.
const atLeast = 100 * time.Millisecond

// Send makes one attempt. The error is not nil only where the egress is away,
// overloaded or refuses us, or ctx ended: it is marked Unavailable, and the
// attempt is not to be counted.
func (w *Webhook) Send(ctx context.Context, r millrace.Request) (millrace.Attempt, error) {
	started := w.now()
	attempt := millrace.Attempt{URL: r.Endpoint.URL, Method: methodOf(&r.Endpoint), StartedAt: started}
	c, err := w.compose(&r, started)
	if err != nil {
		return failed(attempt, millrace.OutcomeUnsendable, sentence(err)), nil
	}
	attempt.URL = c.shownURL
	via, err := w.transportFor(&r.Endpoint)
	if err != nil {
		return failed(attempt, millrace.OutcomeUnsendable, sentence(err)), nil
	}
	if a := r.Endpoint.Authentication; a != nil && a.Type == millrace.AuthOAuth2 {
		authorization, err := w.bearer(ctx, &r.Endpoint, c.deadline)
		if err == nil && time.Until(c.deadline) < atLeast {
			err = errors.New("the token for the endpoint took too long")
		}
		if ctx.Err() != nil {
			return attempt, millrace.Unavailable(fmt.Errorf("send delivery: %w", context.Cause(ctx)))
		}
		if millrace.IsUnavailable(err) {
			return attempt, err
		}
		if err != nil {
			attempt.Latency = time.Since(started)
			return failed(attempt, millrace.OutcomeAuthentication, sentence(err)), nil
		}
		c.header.secret("Authorization", authorization)
	}
	return w.send(ctx, sending{via: via, call: c, attempt: attempt, endpoint: &r.Endpoint})
}

// sending is a request that is ready to go, with the attempt it belongs to.
type sending struct {
	via      *http.Transport
	call     call
	attempt  millrace.Attempt
	endpoint *millrace.Endpoint
}

func (w *Webhook) send(ctx context.Context, s sending) (millrace.Attempt, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(time.Until(s.call.deadline), cancel)
	defer timer.Stop()
	res, x, err := w.roundTrip(inner, s.via, s.call)
	s.attempt.Latency = time.Since(s.attempt.StartedAt)
	s.attempt.RequestHeader = s.call.header.shown()
	if err != nil {
		return w.unanswered(ctx, s, x, err)
	}
	timer.Reset(w.config.BodyTimeout)
	s.attempt.Body, _ = readBody(res, w.config.MaxBodyBytes)
	res.Body.Close() // drops the connection unless the body was read to its end
	return w.answered(s, x, res), nil
}

func (w *Webhook) answered(s sending, x *exchange, res *http.Response) millrace.Attempt {
	a := s.attempt
	a.StatusCode, a.ResponseHeader = res.StatusCode, res.Header
	a.Outcome = millrace.OutcomeOf(res.StatusCode)
	a.Error = complaint(res, a.Outcome)
	a.RetryAfter = retryAfter(res, w.now())
	if t := x.tunnel(); t != nil {
		a.IP = t.peer
	}
	if res.StatusCode == http.StatusUnauthorized {
		w.forget(s.endpoint)
	}
	return a
}

// unanswered says what became of a request without an answer. One that was cut
// because its proxy died says nothing about the endpoint: it will be sent
// again, under the same id.
func (w *Webhook) unanswered(ctx context.Context, s sending, x *exchange, err error) (millrace.Attempt, error) {
	if ctx.Err() != nil {
		return s.attempt, millrace.Unavailable(fmt.Errorf("send delivery: %w", context.Cause(ctx)))
	}
	if x.taken == nil && w.base.Err() != nil {
		return s.attempt, millrace.Unavailable(errClosed)
	}
	v := x.judge(err, !time.Now().Before(s.call.deadline))
	if v.ours == nil && (v.outcome == millrace.OutcomeReset || v.outcome == millrace.OutcomeTimeout) {
		if t := x.tunnel(); t != nil && w.proxies.lost(w.base, t.proxy) {
			v.ours = fmt.Errorf("egress %s went away", t.proxy.addr)
		}
	}
	if v.ours != nil {
		return s.attempt, millrace.Unavailable(fmt.Errorf("send delivery: %w", v.ours))
	}
	s.attempt.IP = v.peer
	return failed(s.attempt, v.outcome, v.text), nil
}

var errClosed = errors.New("send delivery: the sink is closed")

func failed(a millrace.Attempt, o millrace.Outcome, text string) millrace.Attempt {
	a.Outcome, a.Error = o, text
	return a
}
