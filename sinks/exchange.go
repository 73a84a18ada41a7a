package sinks

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// exchange is one request on the wire, from looking for a connection to the
// end of the answer's headers.
type exchange struct {
	deadline time.Time
	lifetime time.Duration
	trace    httptrace.ClientTrace
	// passed is set when a proxy has our CONNECT: until then, what takes so
	// long is the egress.
	passed atomic.Bool
	// dialed is the tunnel made on behalf of this request, taken the one it
	// travelled by, which may be another that was idle; used if it had carried
	// others before, and writes what had been written on it.
	dialed       atomic.Pointer[tunnel]
	taken        *tunnel
	used         bool
	writes       int64
	wroteHeaders atomic.Bool // HTTP/2 alone: its connections are shared
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	return ctx.Value(exchangeKey{}).(*exchange)
}

func (w *Webhook) newExchange(deadline time.Time) *exchange {
	x := &exchange{deadline: deadline, lifetime: w.config.TunnelLifetime}
	x.trace.GotConn = x.gotConn
	x.trace.WroteHeaders = x.headersWritten
	return x
}

func (x *exchange) asked()          { x.passed.Store(true) }
func (x *exchange) headersWritten() { x.wroteHeaders.Store(true) }

func (x *exchange) gotConn(info httptrace.GotConnInfo) {
	t := tunnelOf(info.Conn)
	if t == nil {
		return
	}
	x.taken, x.used, x.writes = t, info.Reused, t.writes.Load()
	if !t.h2 && info.WasIdle && t.worn(info.IdleTime, x.lifetime) {
		t.retire()
	}
}

// unsent tells whether the request can be sent on another connection: it met
// one that had been idle, and nothing of it was written.
func (x *exchange) unsent() bool {
	if x.taken == nil || !x.used {
		return false
	}
	if x.taken.h2 {
		return !x.wroteHeaders.Load()
	}
	return x.taken.writes.Load() == x.writes
}

// tunnel is the connection that the request went or would have gone by; nil
// if there was none yet.
func (x *exchange) tunnel() *tunnel {
	if x.taken != nil {
		return x.taken
	}
	return x.dialed.Load()
}

// roundTrip sends a request once. Connections that turn out closed before a
// byte was written are passed over; whatever was written is never sent again.
func (w *Webhook) roundTrip(ctx context.Context, via *http.Transport, c call) (*http.Response, *exchange, error) {
	for stale := 0; ; stale++ {
		x := w.newExchange(c.deadline)
		inner := httptrace.WithClientTrace(context.WithValue(ctx, exchangeKey{}, x), &x.trace)
		res, err := via.RoundTrip(c.request(inner))
		if err == nil {
			if x.taken != nil {
				x.taken.heed(res.Header)
			}
			return res, x, nil
		}
		if ctx.Err() != nil || stale == w.config.MaxIdlePerHost || !x.unsent() {
			return nil, x, err
		}
	}
}

// readBody keeps the beginning of the answer's body and tells whether that is
// all of it. It reads as long as the request's context lives.
func readBody(res *http.Response, most int) (body []byte, whole bool) {
	switch {
	case res.Body == http.NoBody:
		return nil, true
	case res.StatusCode == http.StatusSwitchingProtocols:
		return nil, false // this is no body but the connection itself, which no context bounds
	}
	first := 512
	if n := res.ContentLength; n > 0 {
		first = int(min(n, int64(most)))
	}
	body = make([]byte, 0, first)
	for len(body) < most {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := res.Body.Read(body[len(body):min(cap(body), most)])
		body = body[:len(body)+n]
		if err != nil {
			return body, errors.Is(err, io.EOF)
		}
	}
	var beyond [1]byte
	n, err := res.Body.Read(beyond[:])
	return body, n == 0 && errors.Is(err, io.EOF)
}
