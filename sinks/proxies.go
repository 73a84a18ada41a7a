package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
)

// proxies are the egress addresses that everything leaves through, taken in
// turn. One that fails is passed over for a while.
type proxies struct {
	list  []*proxy
	next  atomic.Uint32
	reach time.Duration // to connect to a proxy
	rest  time.Duration // for how long one that failed is passed over
}

// proxy is one CONNECT proxy.
type proxy struct {
	addr          string
	tls           *tls.Config // nil: plain TCP
	authorization string      // value of Proxy-Authorization; empty: none
	// restsUntil is a moment in Unix nanoseconds: it failed, and is passed
	// over until then. Zero: it works.
	restsUntil atomic.Int64
}

// dialError is why there is no tunnel: the destination's fault, with an
// outcome, or (ours) the egress's.
type dialError struct {
	outcome millrace.Outcome
	text    string // one sentence; for an error of ours it is for the operator
	peer    string
	ours    bool
}

// Error implements error.
func (e *dialError) Error() string { return e.text }

// dial opens a tunnel through the first proxy that makes one. A
// proxy that is away, overloaded or does not know us is no answer about the
// destination: the next is asked.
func (p *proxies) dial(ctx context.Context, call connectCall) (*tunnel, error) {
	call.reach = p.reach
	var failures []error
	for _, candidate := range p.order(time.Now()) {
		t, err := candidate.connect(ctx, call)
		var answer *dialError
		if err == nil || errors.As(err, &answer) {
			return t, err
		}
		failures = append(failures, fmt.Errorf("egress %s: %w", candidate.addr, err))
		if ctx.Err() != nil {
			break // it may have had no time to answer
		}
		candidate.failed(p.rest)
	}
	return nil, &dialError{ours: true, text: errors.Join(failures...).Error()}
}

// order lists the proxies to be tried, the next in turn first and those that
// rest last: they are still better than none.
func (p *proxies) order(now time.Time) []*proxy {
	first := int(p.next.Add(1))
	ready := make([]*proxy, 0, len(p.list))
	var resting []*proxy
	for i := range p.list {
		candidate := p.list[(first+i)%len(p.list)]
		if candidate.ready(now, p.reach) {
			ready = append(ready, candidate)
		} else {
			resting = append(resting, candidate)
		}
	}
	return append(ready, resting...)
}

// ready tells whether to try a proxy. Of those that come when its rest ends,
// one goes ahead and the others wait for what it finds.
func (p *proxy) ready(now time.Time, reach time.Duration) bool {
	until := p.restsUntil.Load()
	if until == 0 {
		return true
	}
	return until <= now.UnixNano() && p.restsUntil.CompareAndSwap(until, now.Add(reach).UnixNano())
}

func (p *proxy) answered() { p.restsUntil.Store(0) }

func (p *proxy) failed(rest time.Duration) {
	p.restsUntil.Store(time.Now().Add(rest).UnixNano())
}

// lost tells whether a proxy has gone away: then what was cut on its tunnels
// says nothing about the endpoints behind them.
func (p *proxies) lost(ctx context.Context, suspect *proxy) bool {
	ctx, cancel := context.WithTimeout(ctx, p.reach)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", suspect.addr)
	if err != nil {
		suspect.failed(p.rest)
		return true
	}
	conn.Close()
	return false
}
