package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	grpccredentials "google.golang.org/grpc/credentials"

	"github.com/millrace-dev/millrace"
)

// line is how one client of a broker reaches it: through the egress, like a
// webhook, so that each address is judged when it is dialled, those that the
// broker itself names too. The client dials when it likes, unseen by whoever
// waits for its answer; so the line remembers what became of the last dial.
type line struct {
	proxies *proxies
	tls     *tls.Config // nil: plain text
	base    context.Context
	end     context.CancelFunc

	mu       sync.Mutex
	failure  *dialError // of the last dial; nil: it came about
	failedAt time.Time
	last     *tunnel // the last one that was made
	// unasked are the dials that no proxy has taken yet, with their beginning:
	// until then, what takes so long is the egress.
	unasked map[*connectCall]time.Time
	conns   map[*lineConn]struct{}
}

// dialTimeout bounds the way to a broker: proxy, name, connection and TLS.
const dialTimeout = 15 * time.Second

func newLine(p *proxies, secure *tls.Config) *line {
	l := &line{proxies: p, tls: secure, unasked: map[*connectCall]time.Time{}, conns: map[*lineConn]struct{}{}}
	l.base, l.end = context.WithCancel(context.Background())
	return l
}

// dial connects to host:port, over TLS where the line has it.
func (l *line) dial(ctx context.Context, target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(l.base, cancel)()
	t, err := l.tunnel(ctx, target)
	if err != nil {
		return nil, l.failed(err)
	}
	conn := net.Conn(t)
	if l.tls != nil {
		if conn, err = l.secure(ctx, t, target); err != nil {
			t.Close()
			return nil, l.failed(err)
		}
	}
	return l.opened(t, conn)
}

func (l *line) tunnel(ctx context.Context, target string) (*tunnel, error) {
	call := &connectCall{target: target, broker: true}
	call.asked = func() {
		l.mu.Lock()
		delete(l.unasked, call)
		l.mu.Unlock()
	}
	l.mu.Lock()
	l.unasked[call] = time.Now()
	l.mu.Unlock()
	defer call.asked()
	return l.proxies.dial(ctx, *call)
}

func (l *line) secure(ctx context.Context, t *tunnel, target string) (net.Conn, error) {
	conf := l.tls.Clone()
	if conf.ServerName == "" {
		host, _, err := net.SplitHostPort(target)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", target, err)
		}
		conf.ServerName = host
	}
	secure := tls.Client(t, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, handshakeError(err, t.peer)
	}
	return secure, nil
}

// failed remembers why a dial came to nothing.
func (l *line) failed(err error) error {
	var why *dialError
	if !errors.As(err, &why) {
		why = &dialError{outcome: millrace.OutcomeConnect, text: "The broker cannot be reached: " + quotable(err) + "."}
	}
	if l.base.Err() != nil {
		return why // closed: this says nothing
	}
	l.mu.Lock()
	l.failure, l.failedAt = why, time.Now()
	l.mu.Unlock()
	return why
}

func (l *line) opened(t *tunnel, conn net.Conn) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.base.Err() != nil {
		conn.Close()
		return nil, errClosing
	}
	l.failure, l.last = nil, t
	c := &lineConn{Conn: conn, line: l}
	l.conns[c] = struct{}{}
	return c, nil
}

// trouble is why there was no connection for what began at a moment: the last
// dial came to nothing since, or nothing has been open from before. Nil: there
// was one.
func (l *line) trouble(since time.Time) *dialError {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil && (len(l.conns) == 0 || !l.failedAt.Before(since)) {
		return l.failure
	}
	for _, began := range l.unasked {
		if time.Since(began) >= atLeast { // and not one that began when the deadline ended another
			return &dialError{ours: true, text: "the egress did not accept a connection within the deadline"}
		}
	}
	return nil
}

// peer is the address that the egress connected to last.
func (l *line) peer() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		return ""
	}
	return l.last.peer
}

// lost tells whether the proxy that the broker was reached through has gone
// away: then what was cut says nothing about the broker.
func (l *line) lost() bool {
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	return last != nil && l.proxies.lost(l.base, last.proxy)
}

// cut closes all connections and ends the dials under way: what waits for an
// answer waits no longer.
func (l *line) cut() {
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Conn.Close()
	}
}

// lineConn is a connection that its line can cut.
type lineConn struct {
	net.Conn
	line *line
}

// Close implements net.Conn.
func (c *lineConn) Close() error {
	c.line.mu.Lock()
	delete(c.line.conns, c)
	c.line.mu.Unlock()
	return c.Conn.Close()
}

// grpc is TLS for a client that makes it for itself: the line learns what
// became of it.
func (l *line) grpc(conf *tls.Config) grpccredentials.TransportCredentials {
	return lineTLS{grpccredentials.NewTLS(conf), l}
}

type lineTLS struct {
	grpccredentials.TransportCredentials
	line *line
}

// ClientHandshake implements credentials.TransportCredentials.
func (s lineTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, grpccredentials.AuthInfo, error) {
	secure, info, err := s.TransportCredentials.ClientHandshake(ctx, authority, conn)
	if err != nil {
		return nil, nil, s.line.failed(handshakeError(err, s.line.peer()))
	}
	return secure, info, nil
}

// Clone implements credentials.TransportCredentials.
func (s lineTLS) Clone() grpccredentials.TransportCredentials {
	return lineTLS{s.TransportCredentials.Clone(), s.line}
}
