package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// pace says when the events of a run are sent.
type pace struct {
	events int
	// window, in a closed loop, is how many may be on their way; 0: each
	// client sends its next event once the last one was accepted.
	window int
	// limit ends a closed loop early.
	limit time.Duration
	// every is the time between two events of a steady load, whatever the
	// answers take; 0: a closed loop.
	every time.Duration
	// stop, if set, ends the load early.
	stop <-chan struct{}
}

// load sends the events of a ledger over many connections.
type load struct {
	target  *url.URL
	ledger  *ledger
	pace    pace
	clients int
	next    atomic.Int64
}

// send sends all events. It ends with the first that is not accepted.
func (l *load) send(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := l.ledger.now()
	var all sync.WaitGroup
	for range l.clients {
		all.Go(func() {
			if err := l.client(ctx, begin); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// client is one connection: one request after the other.
func (l *load) client(ctx context.Context, begin int64) error {
	c, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	for {
		n, due, ok := l.turn(ctx, begin)
		if !ok {
			return nil
		}
		l.ledger.due[n] = due
		if err := c.exchange(l.ledger, n); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if c.in.last {
			c.close()
			if c, err = l.dial(ctx); err != nil {
				return err
			}
		}
	}
}

// turn waits until the next event is to be sent, and says when that was.
func (l *load) turn(ctx context.Context, begin int64) (n int, due int64, ok bool) {
	if l.pace.every > 0 {
		return l.steadily(ctx, begin)
	}
	if l.pace.window > 0 {
		select {
		case <-l.ledger.slots:
		case <-ctx.Done():
			return 0, 0, false
		}
	}
	now := l.ledger.now()
	if ctx.Err() != nil || l.pace.limit > 0 && now-begin > int64(l.pace.limit) {
		return 0, 0, false
	}
	n = int(l.next.Add(1)) - 1
	return n, now, n < l.pace.events
}

// steadily gives each event its time before it is known whether a connection
// is free: what the gateway delays is part of the latency.
func (l *load) steadily(ctx context.Context, begin int64) (n int, due int64, ok bool) {
	n = int(l.next.Add(1)) - 1
	due = begin + int64(n)*int64(l.pace.every)
	if n >= l.pace.events {
		return n, due, false
	}
	timer := time.NewTimer(time.Duration(due - l.ledger.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return n, due, true
	case <-l.pace.stop:
	case <-ctx.Done():
	}
	return n, due, false
}

// connection is one to the gateway, with its buffers.
type connection struct {
	net.Conn
	reader *bufio.Reader
	out    []byte
	in     message
	undo   func() bool
}

func (l *load) dial(ctx context.Context) (*connection, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addressOf(l.target))
	if err != nil {
		return nil, fmt.Errorf("reach the gateway: %w", err)
	}
	if l.target.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: l.target.Hostname(), MinVersion: tls.VersionTLS12})
	}
	undo := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends what waits for an answer
	return &connection{Conn: conn, reader: bufio.NewReaderSize(conn, 4096), undo: undo}, nil
}

func (c *connection) close() {
	c.undo()
	_ = c.Conn.Close()
}

// exchange sends one event and reads the answer to it.
func (c *connection) exchange(l *ledger, n int) error {
	r := l.route(n)
	c.out = append(c.out[:0], r.head...)
	c.out = l.data.append(c.out, n, r.key)
	c.out = append(c.out, '}')
	sent := l.now()
	if _, err := c.Write(c.out); err != nil {
		return fmt.Errorf("send event %d: %w", n, err)
	}
	if err := c.in.read(c.reader); err != nil {
		return fmt.Errorf("read the answer to event %d: %w", n, noEnd(err))
	}
	if c.in.status() != http.StatusCreated {
		return fmt.Errorf("event %d was answered %s: %.200s", n, c.in.start, c.in.body)
	}
	if !bytes.Contains(c.in.body, l.says) {
		return fmt.Errorf("the answer to event %d does not say %s: %.200s", n, l.says, c.in.body)
	}
	l.accepted(n, sent, answeredUID(c.in.body))
	return nil
}

// addressOf is where a URL's host listens.
func addressOf(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "https" {
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return net.JoinHostPort(u.Hostname(), "80")
}
