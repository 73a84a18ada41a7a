package egress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// withResolver replaces the system's resolver.
func withResolver(r resolver) Option { return func(p *Proxy) { p.connector.resolver = r } }

// withDial replaces connecting itself. The function must call control with the network ("tcp4" or "tcp6") and address it connects to, and
// obey its error.
func withDial(dial dialFunc) Option { return func(p *Proxy) { p.connector.dial = dial } }

// zone is a resolver of the test's own: each lookup of a name takes the next of its answers, round and round.
type zone struct {
	answers map[string][][]string
	aliases map[string]string
	errs    map[string]error
	hangs   map[string]bool

	mu      sync.Mutex
	lookups map[string]int
}

func (z *zone) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	name, absolute := strings.CutSuffix(host, ".")
	if !absolute { // a search list would be tried as well
		return nil, fmt.Errorf("look up %s: no dot at the end", host)
	}
	if z.hangs[name] {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := z.errs[name]; err != nil {
		return nil, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.lookups == nil {
		z.lookups = make(map[string]int)
	}
	answers := z.answers[name]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	answer := answers[z.lookups[name]%len(answers)]
	z.lookups[name]++
	var addrs []netip.Addr
	for _, text := range answer {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs, nil
}

func (z *zone) LookupCNAME(ctx context.Context, host string) (string, error) {
	alias, ok := z.aliases[strings.TrimSuffix(host, ".")]
	if alias == "never told" {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if ok {
		return alias, nil
	}
	return host, nil
}

// wire is a dial of the test's own: every address leads to the same listener, but for those that hang or fail. No packet leaves the machine.
type wire struct {
	to    string
	hangs map[string]bool
	errs  map[string]error

	mu      sync.Mutex
	dialled []string
}

func (d *wire) dial(ctx context.Context, addr netip.AddrPort, control controlFunc) (net.Conn, error) {
	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6"
	}
	if err := control(ctx, network, addr.String(), nil); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.dialled = append(d.dialled, addr.Addr().String())
	d.mu.Unlock()
	ip := addr.Addr().String()
	if d.hangs[ip] {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := d.errs[ip]; err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", d.to)
}

func (d *wire) addresses() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.dialled...)
}

// running is a proxy that serves on loopback.
type running struct {
	*Proxy
	addr string
}

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Token = "s3cret"
	return cfg
}

func startProxy(t testing.TB, cfg Config, opts ...Option) *running {
	t.Helper()
	p, err := New(cfg, append([]Option{WithLogger(quietLog())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
	return &running{p, ln.Addr().String()}
}

// client is one connection to a proxy.
type client struct {
	net.Conn
	reader *bufio.Reader
}

func (r *running) open(t testing.TB) *client {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{conn, bufio.NewReader(conn)}
}

// connect asks for a tunnel with the right token.
func (r *running) connect(t testing.TB, target string) (*client, *http.Response) {
	t.Helper()
	c := r.open(t)
	c.send(t, connectHead(target, "Proxy-Authorization: Bearer s3cret"))
	return c, c.response(t)
}

func connectHead(target string, headers ...string) string {
	head := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\n", target, target)
	for _, header := range headers {
		head += header + "\r\n"
	}
	return head + "\r\n"
}

func (c *client) send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func (c *client) response(t testing.TB) *http.Response {
	t.Helper()
	res, err := http.ReadResponse(c.reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatalf("read the proxy's answer: %v", err)
	}
	return res
}

func (c *client) wantEcho(t testing.TB, text string) {
	t.Helper()
	c.send(t, text)
	c.wantText(t, text)
}

func (c *client) wantText(t testing.TB, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c.reader, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v; want %q", got, err, text)
	}
}

// wantEnd waits until the other side has ended the connection.
func (c *client) wantEnd(t testing.TB) {
	t.Helper()
	if rest, err := io.ReadAll(c.reader); len(rest) > 0 || isTimeout(err) {
		t.Fatalf("got %q, %v; want the end", rest, err)
	}
}

func isTimeout(err error) bool {
	netErr, ok := err.(net.Error)
	return ok && netErr.Timeout()
}

// destination is a listener; handle gets every connection, which is closed after it.
func destination(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		conns.Wait()
	})
	return ln.Addr().String()
}

func echo(conn net.Conn) { _, _ = io.Copy(conn, conn) }

// public is a zone in which example.com has a public address, and a wire on which it is an echo server.
func public(t testing.TB) []Option {
	t.Helper()
	z := &zone{answers: map[string][][]string{"public.example.com": {{"93.184.216.34"}}}}
	d := &wire{to: destination(t, echo)}
	return []Option{withResolver(z), withDial(d.dial)}
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func wantAnswer(t testing.TB, res *http.Response, status int, reason Reason) {
	t.Helper()
	if res.StatusCode != status || res.Header.Get(ReasonHeader) != string(reason) {
		t.Fatalf("got %s, %s: %q; want %d, %q", res.Status, ReasonHeader, res.Header.Get(ReasonHeader), status, reason)
	}
}
