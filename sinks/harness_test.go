package sinks

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
)

func TestMain(m *testing.M) {
	// It is started when Pub/Sub's client is imported, and never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// listener accepts connections and waits for whoever serves them.
type listener struct {
	net.Listener
	mu    sync.Mutex
	dead  bool
	conns map[net.Conn]bool
	done  sync.WaitGroup
}

// listen serves each connection on a loopback port until the test ends, or
// kill is called.
func listen(t testing.TB, serve func(net.Conn)) *listener {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Listener: tcp, conns: make(map[net.Conn]bool)}
	l.done.Add(1)
	go func() {
		defer l.done.Done()
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			l.serve(conn, serve)
		}
	}()
	t.Cleanup(l.kill)
	return l
}

func (l *listener) serve(conn net.Conn, serve func(net.Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		conn.Close()
		return
	}
	l.conns[conn] = true
	l.done.Add(1)
	go func() {
		defer l.done.Done()
		defer conn.Close()
		serve(conn)
	}()
}

// kill ends it as the death of its process would: nothing listens, every
// connection is cut.
func (l *listener) kill() {
	l.Close()
	l.mu.Lock()
	l.dead = true
	for conn := range l.conns {
		conn.Close()
	}
	l.mu.Unlock()
	l.done.Wait()
}

func (l *listener) addr() string { return l.Addr().String() }

// connectProxy is an egress for tests: it tunnels every CONNECT, or answers as
// it is told.
type connectProxy struct {
	*listener
	tunnels atomic.Int32                 // ever made
	open    atomic.Int32                 // connections now
	seen    atomic.Pointer[http.Request] // the last CONNECT
	// to is where all tunnels go, if set, whatever is asked for.
	to atomic.Pointer[string]
	// forbidden is a target that the policy forbids, if set.
	forbidden atomic.Pointer[string]
	// answer is what CONNECT is answered with instead of a tunnel, if set.
	answer atomic.Pointer[string]
}

func newProxy(t testing.TB) *connectProxy {
	t.Helper()
	p := &connectProxy{}
	p.listener = listen(t, p.tunnel)
	return p
}

func (p *connectProxy) url() string { return "http://" + p.addr() }

func (p *connectProxy) answers(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	p.answer.Store(&s)
}

func (p *connectProxy) tunnel(client net.Conn) {
	p.open.Add(1)
	defer p.open.Add(-1)
	r, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	p.seen.Store(r)
	if s := p.answer.Load(); s != nil {
		io.WriteString(client, *s)
		return
	}
	if f := p.forbidden.Load(); f != nil && *f == r.Host {
		io.WriteString(client, "HTTP/1.1 403 Forbidden\r\nX-Millrace-Egress: address_not_public\r\nContent-Length: 0\r\n\r\n")
		return
	}
	target := r.Host
	if to := p.to.Load(); to != nil {
		target = *to
	}
	dest, err := net.Dial("tcp", target)
	if err != nil {
		io.WriteString(client, "HTTP/1.1 502 Bad Gateway\r\nX-Millrace-Egress: connect_refused\r\nContent-Length: 0\r\n\r\n")
		return
	}
	p.tunnels.Add(1)
	io.WriteString(client, "HTTP/1.1 200 OK\r\nX-Millrace-Egress-Peer: 127.0.0.1\r\n\r\n")
	pipe(client, dest)
}

// pipe copies both ways until either side ends; a reset is passed on as one.
func pipe(a, b net.Conn) {
	done := make(chan struct{}, 2)
	one := func(to, from net.Conn) {
		if _, err := io.Copy(to, from); err != nil {
			to.(*net.TCPConn).SetLinger(0)
		}
		to.Close()
		from.Close()
		done <- struct{}{}
	}
	go one(a, b)
	one(b, a)
	<-done
	<-done
}

// webhook makes a sink that leaves through the proxies.
func webhook(t testing.TB, change func(*Config), egress ...*connectProxy) *Webhook {
	t.Helper()
	c := DefaultConfig()
	c.Proxies = nil
	for _, p := range egress {
		c.Proxies = append(c.Proxies, p.url())
	}
	c.ReachTimeout = patience
	c.BodyTimeout = 200 * time.Millisecond
	c.Version = "1.2.3"
	if change != nil {
		change(&c)
	}
	w, err := NewWebhook(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

const (
	testSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	olderSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	testPayload = `{"order": 7,  "total":10.50}`
)

// deliveryTo is a delivery to a URL, with everything at its default.
func deliveryTo(url string) millrace.Request {
	now := time.Now()
	e := millrace.Endpoint{
		ID: millrace.NewID(now), URL: url, Method: "POST", Timeout: patience, ContentType: "application/json", AdvancedSignatures: true,
		Secrets: []millrace.Secret{{Value: testSecret}},
	}
	d := millrace.Delivery{ID: millrace.NewID(now), EventID: millrace.NewID(now), EndpointID: e.ID, EventType: "order.paid", Payload: []byte(testPayload)}
	return millrace.Request{Delivery: d, Endpoint: e, Signature: millrace.DefaultProjectConfig().Signature}
}

// sendOK sends and expects an attempt, whatever its outcome.
func sendOK(t testing.TB, w *Webhook, r millrace.Request) millrace.Attempt {
	t.Helper()
	a, err := w.Send(t.Context(), r)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	return a
}

// want fails unless the attempt has this outcome, and a sentence where it is
// no success.
func want(t testing.TB, a millrace.Attempt, o millrace.Outcome) {
	t.Helper()
	if a.Outcome != o {
		t.Fatalf("outcome %s (%d, %q), want %s", a.Outcome, a.StatusCode, a.Error, o)
	}
	if o.Success() != (a.Error == "") {
		t.Errorf("outcome %s with the sentence %q", o, a.Error)
	}
}

// heard is a request that a receiver got, with its body.
type heard struct {
	*http.Request
	body []byte
}

// receiver answers every request with the handler and keeps what it heard.
func receiver(t testing.TB, handle http.HandlerFunc) (*httptest.Server, func() []heard) {
	t.Helper()
	s, all := unstarted(handle)
	s.Start()
	t.Cleanup(s.Close)
	return s, all
}

func tlsReceiver(t testing.TB, handle http.HandlerFunc) (*httptest.Server, func() []heard) {
	t.Helper()
	s, all := unstarted(handle)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, all
}

// unread is a receiver that leaves the body to the handler.
func unread(t testing.TB, secure bool, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handle)
	s.Config.ErrorLog = silentLog()
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func unstarted(handle http.HandlerFunc) (*httptest.Server, func() []heard) {
	var mu sync.Mutex
	var all []heard
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		all = append(all, heard{Request: r, body: body})
		mu.Unlock()
		if handle != nil {
			handle(w, r)
		}
	}))
	s.Config.ErrorLog = silentLog()
	return s, func() []heard {
		mu.Lock()
		defer mu.Unlock()
		return append([]heard(nil), all...)
	}
}

// raw answers every request on a connection with what say does, after it was
// read whole.
func raw(t testing.TB, say func(net.Conn)) string {
	t.Helper()
	return "http://" + listen(t, func(conn net.Conn) {
		if swallow(conn) {
			say(conn)
		}
	}).addr()
}

func swallow(conn net.Conn) bool {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

// hold keeps a connection open until the other side closes it.
func hold(conn net.Conn) { io.Copy(io.Discard, conn) }

// reset makes the closing of a connection an RST.
func reset(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// caOf is the certificate of a TLS test server, as an endpoint's CA.
func caOf(s *httptest.Server) string { return pemOf("CERTIFICATE", s.Certificate().Raw) }
