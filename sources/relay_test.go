package sources

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
)

// relay stands before a broker, at an address of its own, and can be taken
// away while the broker goes on.
type relay struct {
	to, addr string
	tls      *tls.Config // nil: plain text

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	deaf     bool
	running  sync.WaitGroup
}

func newRelay(t testing.TB, to string, secured *tls.Config) *relay {
	t.Helper()
	r := &relay{to: to, addr: "127.0.0.1:0", tls: secured}
	r.mend(t)
	t.Cleanup(r.cut)
	return r
}

// mend lets clients in.
func (r *relay) mend(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		t.Fatalf("listen for the broker: %v", err)
	}
	r.addr = l.Addr().String()
	if r.tls != nil {
		l = tls.NewListener(l, r.tls)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener, r.deaf = l, false
	r.running.Go(func() { r.accept(l) })
}

// cut refuses new connections and ends all there are.
func (r *relay) cut() {
	r.mu.Lock()
	if r.listener != nil {
		_ = r.listener.Close() // nothing to lose
	}
	for _, c := range r.conns {
		_ = c.Close() // cut, as is asked for
	}
	r.listener, r.conns = nil, nil
	r.mu.Unlock()
	r.running.Wait()
}

// silence lets nothing through any more, and says nothing of it.
func (r *relay) silence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf = true
}

func (r *relay) accept(l net.Listener) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close() // there is nobody behind
			continue
		}
		r.mu.Lock()
		if r.listener != l {
			r.mu.Unlock()
			_, _ = in.Close(), out.Close() // too late
			return
		}
		r.conns = append(r.conns, in, out)
		r.running.Go(func() { r.copy(in, out) })
		r.running.Go(func() { r.copy(out, in) })
		r.mu.Unlock()
	}
}

func (r *relay) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }() // either's end is both's
	_, _ = io.Copy(deafening{r, to}, from)             // why it ended is the test's affair
}

// deafening drops what a silent relay is to pass on.
type deafening struct {
	*relay
	to io.Writer
}

// Write passes on, or seems to.
func (d deafening) Write(p []byte) (int, error) {
	d.mu.Lock()
	deaf := d.deaf
	d.mu.Unlock()
	if deaf {
		return len(p), nil
	}
	return d.to.Write(p)
}
