package egress

import (
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func basic(user, password string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestClientsAreAuthenticated(t *testing.T) {
	p := startProxy(t, testConfig(), public(t)...)
	for _, c := range []struct {
		rule, header string
		status       int
	}{
		{"the token as a bearer", "Proxy-Authorization: Bearer s3cret", 200},
		{"the scheme in any case", "proxy-authorization: bearer s3cret", 200},
		{"the token as a password", basic("agent", "s3cret"), 200},
		{"the user does not matter", basic("", "s3cret"), 200},
		{"nothing", "X-Nothing: 1", 407},
		{"another token", "Proxy-Authorization: Bearer s3cret2", 407},
		{"a part of the token", "Proxy-Authorization: Bearer s3cre", 407},
		{"no token", "Proxy-Authorization: Bearer", 407},
		{"another password", basic("agent", "guess"), 407},
		{"the token as a user", basic("s3cret", ""), 407},
		{"another scheme", "Proxy-Authorization: Digest s3cret", 407},
		{"not base64", "Proxy-Authorization: Basic s3cret", 407},
		{"the header of another server", "Authorization: Bearer s3cret", 407},
	} {
		t.Run(c.rule, func(t *testing.T) {
			conn := p.open(t)
			conn.send(t, connectHead("public.example.com:443", c.header))
			res := conn.response(t)
			if res.StatusCode != c.status {
				t.Fatalf("got %s; want %d", res.Status, c.status)
			}
			if c.status == 407 && (res.Header.Get(ReasonHeader) != string(Unauthenticated) || len(res.Header.Values("Proxy-Authenticate")) != 2) {
				t.Errorf("got %v", res.Header)
			}
		})
	}
}

func TestOnlyConnectIsServed(t *testing.T) {
	p := startProxy(t, testConfig(), public(t)...)
	for _, head := range []string{
		"GET http://public.example.com/ HTTP/1.1\r\nHost: public.example.com\r\nProxy-Authorization: Bearer s3cret\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: public.example.com\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		conn := p.open(t)
		conn.send(t, head)
		res, err := http.ReadResponse(conn.reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, res, 405, MethodNotAllowed)
		if res.Header.Get("Allow") != "CONNECT" {
			t.Errorf("Allow: %q", res.Header.Get("Allow"))
		}
	}
}

func TestTargetsAreHostAndPort(t *testing.T) {
	p := startProxy(t, testConfig(), public(t)...)
	for _, target := range []string{"public.example.com", "public.example.com:", "public.example.com:https", "public.example.com:0443x", ":443", "2606:4700::1111:443"} {
		if _, res := p.connect(t, target); res.StatusCode != 403 && res.StatusCode != 400 {
			t.Errorf("CONNECT %s: %s", target, res.Status)
		}
	}
	conn := p.open(t)
	conn.send(t, connectHead("public.example.com:443", "Proxy-Authorization: Bearer s3cret", "Content-Length: 5")+"hello")
	wantAnswer(t, conn.response(t), 403, BadTarget)
}

func TestTheAnswerNamesThePeer(t *testing.T) {
	p := startProxy(t, testConfig(), public(t)...)
	conn, res := p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 200, Allowed)
	if res.Status != "200 Connection Established" || res.Header.Get(PeerHeader) != "93.184.216.34" {
		t.Errorf("got %s, %v", res.Status, res.Header)
	}
	conn.wantEcho(t, "hello")
}

func TestEarlyBytesAreCarried(t *testing.T) {
	p := startProxy(t, testConfig(), public(t)...)
	for _, early := range []string{"x", "early bytes", strings.Repeat("much ", 700), strings.Repeat("more than a buffer ", 10000)} {
		conn := p.open(t)
		var sent sync.WaitGroup
		sent.Go(func() {
			_, _ = io.WriteString(conn, connectHead("public.example.com:443", "Proxy-Authorization: Bearer s3cret")+early)
		})
		wantAnswer(t, conn.response(t), 200, Allowed)
		conn.wantText(t, early)
		sent.Wait()
		conn.wantEcho(t, "and the rest")
	}
}

// lockedLog is read while the proxy may still write to it.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTheTenantLearnsNoAddressAndTheOperatorDoes(t *testing.T) {
	var log lockedLog
	z, d := &zone{answers: map[string][][]string{"rebind.example.com": {{"93.184.216.34", "10.11.12.13"}}}}, &wire{}
	p := startProxy(t, testConfig(), withResolver(z), withDial(d.dial), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	_, res := p.connect(t, "rebind.example.com:443")
	wantAnswer(t, res, 403, AddressNotPublic)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range res.Header {
		body = append(body, name+strings.Join(values, "")...)
	}
	if strings.Contains(string(body), "10.1") || strings.Contains(string(body), "10/8") {
		t.Errorf("the client was told %q", body)
	}
	if !strings.Contains(log.String(), "address=10.11.12.13") || !strings.Contains(log.String(), "rule=10.0.0.0/8") {
		t.Errorf("the operator was told %q", log.String())
	}
}

func TestBeyondMaxTunnelsIsOverload(t *testing.T) {
	cfg := testConfig()
	cfg.MaxTunnels = 2
	p := startProxy(t, cfg, public(t)...)
	first, res := p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 200, Allowed)
	_, res = p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 200, Allowed)
	_, res = p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 503, Overloaded)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	first.Close()
	eventually(t, "a place is free again", func() bool { return p.Stats().Tunnels == 1 })
	_, res = p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 200, Allowed)
}

func TestRefusedConnectsGiveTheirPlaceBack(t *testing.T) {
	cfg := testConfig()
	cfg.MaxTunnels = 1
	p := startProxy(t, cfg, public(t)...)
	for range 5 {
		_, res := p.connect(t, "vault.internal:443")
		wantAnswer(t, res, 403, NameNotPublic)
	}
	_, res := p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 200, Allowed)
}

func TestSlowHeadsAreCutAndDisturbNobody(t *testing.T) {
	cfg := testConfig()
	cfg.HeadTimeout = 300 * time.Millisecond
	p := startProxy(t, cfg, public(t)...)
	var slow []*client
	for range 50 {
		conn := p.open(t)
		conn.send(t, "CONNECT public.example.com:443 HTTP/1.1\r\nX-Drip: ")
		slow = append(slow, conn)
	}
	conn, res := p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 200, Allowed)
	conn.wantEcho(t, "hello")
	for _, conn := range slow {
		conn.wantEnd(t)
	}
	eventually(t, "nothing is pending", func() bool { return p.Stats().Pending == 0 })
}

func TestHeadsAreBounded(t *testing.T) {
	cfg := testConfig()
	cfg.MaxHeadBytes = 1 << 10
	p := startProxy(t, cfg, public(t)...)
	conn := p.open(t)
	conn.send(t, connectHead("public.example.com:443", "X-Long: "+strings.Repeat("a", 8<<10)))
	if res := conn.response(t); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", res.Status)
	}
}

func TestConnectionsBeyondMaxPendingAreClosed(t *testing.T) {
	cfg := testConfig()
	cfg.MaxPending, cfg.HeadTimeout = 3, time.Minute
	p := startProxy(t, cfg, public(t)...)
	for range 3 {
		p.open(t)
	}
	eventually(t, "three are pending", func() bool { return p.Stats().Pending == 3 })
	p.open(t).wantEnd(t)
	if got := p.Stats().Dropped; got != 1 {
		t.Errorf("%d dropped", got)
	}
}

func TestAClientThatLeavesStopsItsDial(t *testing.T) {
	d := &wire{hangs: map[string]bool{"93.184.216.2": true}}
	p := startProxy(t, testConfig(), withResolver(&zone{answers: map[string][][]string{"silent.example.com": {{"93.184.216.2"}}}}), withDial(d.dial))
	conn := p.open(t)
	conn.send(t, connectHead("silent.example.com:443", "Proxy-Authorization: Bearer s3cret"))
	eventually(t, "it is dialled", func() bool { return len(d.addresses()) == 1 })
	conn.Close()
	eventually(t, "its place is free", func() bool { return p.Stats().Tunnels == 0 })
	if got := p.Stats().Connects[ClientGone]; got != 1 {
		t.Errorf("%d clients gone", got)
	}
}
