package sinks

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// tunnel is a connection to a destination through the egress. It remembers
// what net/http does not tell: whom the egress dialled, and whether anything
// of a request has been written.
type tunnel struct {
	net.Conn
	raw    syscall.RawConn // of the TCP connection to the proxy
	proxy  *proxy
	peer   string
	opened time.Time
	h2     bool // set before it is handed over
	// writes counts writes that may have carried part of a request.
	writes atomic.Int64
	// ended is set when the other side closed: what is written afterwards is
	// refused here, so that it is known not to have left.
	ended atomic.Bool
	// patience is how long the receiver said that it keeps an idle connection.
	patience atomic.Int64
}

// longestAlert is an upper bound of a TLS alert record. Closing a connection
// sends one, which is no part of a request, and no request is that short.
const longestAlert = 64

var errEnded = errors.New("the connection was closed by the other side")

// Read implements net.Conn.
func (t *tunnel) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.ended.Store(true)
	}
	return n, err
}

// Write implements net.Conn.
func (t *tunnel) Write(b []byte) (int, error) {
	if t.ended.Load() {
		return 0, errEnded
	}
	n, err := t.Conn.Write(b)
	if n > 0 && len(b) > longestAlert {
		t.writes.Add(1)
	}
	return n, err
}

// retire makes sure that nothing more is written.
func (t *tunnel) retire() {
	t.ended.Store(true)
	t.Conn.Close()
}

// worn tells whether a tunnel that was idle this long should not be used
// again: the other side has closed it, or may be closing it at this moment.
func (t *tunnel) worn(idle, lifetime time.Duration) bool {
	patience := time.Duration(t.patience.Load())
	return time.Since(t.opened) > lifetime || patience > 0 && idle > patience || t.raw != nil && !quiet(t.raw)
}

// heed reads "Keep-Alive: timeout=5" from an answer: servers that close idle
// connections soon (Node.js after 5 s) say so.
func (t *tunnel) heed(header http.Header) {
	if len(header["Keep-Alive"]) == 0 {
		return
	}
	for _, parameter := range strings.Split(header["Keep-Alive"][0], ",") {
		seconds, ok := strings.CutPrefix(strings.TrimSpace(parameter), "timeout=")
		if n, err := strconv.Atoi(seconds); ok && err == nil && n > 0 && n < 3600 {
			t.patience.Store(int64(time.Duration(n)*time.Second - 500*time.Millisecond))
		}
	}
}

// tunnelOf finds the tunnel under a connection of net/http.
func tunnelOf(conn net.Conn) *tunnel {
	t, _ := under(conn).(*tunnel)
	return t
}

// under is the connection below TLS, if there is TLS.
func under(conn net.Conn) net.Conn {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return conn
}

// newTunnel wraps a connection to a proxy that has answered CONNECT.
func newTunnel(conn net.Conn, by *proxy, peer string) *tunnel {
	t := &tunnel{Conn: conn, proxy: by, peer: peer, opened: time.Now()}
	if tcp, ok := under(conn).(*net.TCPConn); ok {
		t.raw, _ = tcp.SyscallConn()
	}
	return t
}
