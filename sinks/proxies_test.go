package sinks

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestWhatTheEgressAnswersBecomesAnOutcome(t *testing.T) {
	cases := map[string]struct {
		answer  string
		outcome millrace.Outcome // empty: unavailable, nothing is charged
	}{
		"denied by the policy":          {"403 Forbidden\r\nX-Millrace-Egress: address_not_public", millrace.OutcomeBlocked},
		"denied without a word":         {"403 Forbidden", millrace.OutcomeBlocked},
		"denied by Smokescreen":         {"407 Request rejected by proxy\r\nX-Smokescreen-Error: Egress proxying is denied to host 'x'", millrace.OutcomeBlocked},
		"the name does not exist":       {"502 Bad Gateway\r\nX-Millrace-Egress: dns_not_found", millrace.OutcomeDNS},
		"the resolver failed":           {"502 Bad Gateway\r\nX-Millrace-Egress: dns_error", millrace.OutcomeDNS},
		"the resolver took too long":    {"504 Gateway Timeout\r\nX-Millrace-Egress: dns_timeout", millrace.OutcomeDNS},
		"Smokescreen does not resolve":  {"502 Bad gateway\r\nX-Smokescreen-Error: Failed to resolve remote hostname: x", millrace.OutcomeDNS},
		"connection refused":            {"502 Bad Gateway\r\nX-Millrace-Egress: connect_refused", millrace.OutcomeConnect},
		"unreachable":                   {"502 Bad Gateway\r\nX-Millrace-Egress: connect_error", millrace.OutcomeConnect},
		"Smokescreen does not connect":  {"502 Bad gateway\r\nX-Smokescreen-Error: Failed to connect to remote host: x", millrace.OutcomeConnect},
		"any proxy's 502":               {"502 Bad Gateway", millrace.OutcomeConnect},
		"connecting took too long":      {"504 Gateway Timeout\r\nX-Millrace-Egress: connect_timeout", millrace.OutcomeTimeout},
		"Smokescreen waited in vain":    {"504 Gateway timeout\r\nX-Smokescreen-Error: Timed out connecting to remote host: x", millrace.OutcomeTimeout},
		"a target it cannot read":       {"400 Bad Request", millrace.OutcomeUnsendable},
		"overloaded":                    {"503 Service Unavailable\r\nX-Millrace-Egress: overloaded", ""},
		"going down":                    {"503 Service Unavailable\r\nX-Millrace-Egress: shutting_down", ""},
		"it does not know us":           {"407 Proxy Authentication Required\r\nX-Millrace-Egress: unauthenticated", ""},
		"it is no CONNECT proxy":        {"405 Method Not Allowed", ""},
		"it is broken":                  {"500 Internal Server Error", ""},
		"it answers what is no success": {"302 Found\r\nLocation: http://x/", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			proxy := newProxy(t)
			proxy.answers("HTTP/1.1 %s\r\nX-Millrace-Egress-Peer: 192.0.2.7\r\nContent-Length: 0\r\n\r\n", c.answer)
			w := webhook(t, nil, proxy)
			for _, url := range []string{"http://example.com/", "https://example.com/"} {
				a, err := w.Send(t.Context(), deliveryTo(url))
				if c.outcome == "" {
					if !millrace.IsUnavailable(err) {
						t.Fatalf("%s: %v (%s), want it unavailable", url, err, a.Outcome)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", url, err)
				}
				want(t, a, c.outcome)
				if a.IP != "192.0.2.7" {
					t.Errorf("%s: the attempt does not say whom the egress dialled: %q", url, a.IP)
				}
			}
		})
	}
}

func TestTheEgressIsAskedForTheEndpointWithOurToken(t *testing.T) {
	for name, c := range map[string]struct {
		url, target string
	}{
		"https":          {"https://example.com/x", "example.com:443"},
		"http":           {"http://example.com/x", "example.com:80"},
		"a port":         {"https://example.com:8443/", "example.com:8443"},
		"an address":     {"http://[2001:db8::1]:8080/", "[2001:db8::1]:8080"},
		"a name by IDNA": {"https://bücher.example/", "xn--bcher-kva.example:443"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := newProxy(t)
			proxy.answers("HTTP/1.1 403 Forbidden\r\n\r\n")
			w := webhook(t, func(c *Config) { c.Token = "t0ken" }, proxy)
			want(t, sendOK(t, w, deliveryTo(c.url)), millrace.OutcomeBlocked)
			got := proxy.seen.Load()
			if got.Host != c.target || got.RequestURI != c.target || got.Header.Get("Proxy-Authorization") != "Bearer t0ken" {
				t.Errorf("the proxy was asked for %s (%s) by %q", got.RequestURI, got.Host, got.Header.Get("Proxy-Authorization"))
			}
		})
	}
}

func TestAUserOfTheProxysAddressIsSentAsBasic(t *testing.T) {
	proxy := newProxy(t)
	proxy.answers("HTTP/1.1 403 Forbidden\r\n\r\n")
	w := webhook(t, func(c *Config) { c.Proxies = []string{"http://me:word@" + proxy.addr()} })
	want(t, sendOK(t, w, deliveryTo("http://example.com")), millrace.OutcomeBlocked)
	if got := proxy.seen.Load().Header.Get("Proxy-Authorization"); got != "Basic bWU6d29yZA==" {
		t.Errorf("Proxy-Authorization: %q", got)
	}
}

func TestNoProxyOfTheEnvironmentIsUsed(t *testing.T) {
	other := newProxy(t)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, other.url())
	}
	server, _ := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	want(t, sendOK(t, w, deliveryTo(server.URL)), millrace.OutcomeSuccess)
	if other.tunnels.Load() > 0 || other.seen.Load() != nil {
		t.Error("it was")
	}
}

func TestProxiesAreTakenInTurn(t *testing.T) {
	server, _ := receiver(t, nil)
	one, two := newProxy(t), newProxy(t)
	w := webhook(t, func(c *Config) { c.TunnelLifetime = time.Nanosecond }, one, two)
	for range 20 {
		want(t, sendOK(t, w, deliveryTo(server.URL)), millrace.OutcomeSuccess)
	}
	if one.tunnels.Load() != 10 || two.tunnels.Load() != 10 {
		t.Errorf("%d and %d tunnels", one.tunnels.Load(), two.tunnels.Load())
	}
}

func TestOneOfTwoProxiesIsKilled(t *testing.T) {
	server, all := receiver(t, nil)
	one, two := newProxy(t), newProxy(t)
	w := webhook(t, nil, one, two)
	sent := atomic.Int32{}
	inParallel(4, func() {
		for i := range 50 {
			if i == 10 {
				one.kill()
			}
			a, err := w.Send(t.Context(), deliveryTo(server.URL))
			if err != nil && !millrace.IsUnavailable(err) || err == nil && !a.Outcome.Success() {
				t.Errorf("an attempt was charged: %s %q, %v", a.Outcome, a.Error, err)
			}
			if err == nil {
				sent.Add(1)
			}
		}
	})
	if n := sent.Load(); n < 180 {
		t.Errorf("%d of 200 were sent", n)
	}
	if n := int32(len(all())); n < sent.Load() {
		t.Errorf("%d requests for %d attempts", n, sent.Load())
	}
}

func TestADeadProxyIsPassedOverAndTriedAgain(t *testing.T) {
	dead := &proxy{addr: "dead"}
	alive := &proxy{addr: "alive"}
	p := &proxies{list: []*proxy{dead, alive}, reach: time.Second, rest: 2 * time.Second}
	dead.failed(p.rest)
	first := func(at time.Duration) string { return p.order(time.Now().Add(at))[0].addr }
	for range 4 {
		if got := first(0); got != "alive" {
			t.Fatalf("while it rests, %s comes first", got)
		}
		if n := len(p.order(time.Now())); n != 2 {
			t.Fatalf("%d proxies are tried, want the dead one last", n)
		}
	}
	tried := 0
	for range 10 {
		if first(3*time.Second) == "dead" {
			tried++
		}
	}
	if tried > 1 {
		t.Errorf("after its rest it is tried by %d at once, want at most one", tried)
	}
	dead.answered()
	if a, b := first(0), first(0); a == b {
		t.Errorf("it answered and is not taken in turn: %s, %s", a, b)
	}
}

func TestBothProxiesAreDown(t *testing.T) {
	server, all := receiver(t, nil)
	one, two := newProxy(t), newProxy(t)
	w := webhook(t, nil, one, two)
	one.kill()
	two.kill()
	if a, err := w.Send(t.Context(), deliveryTo(server.URL)); !millrace.IsUnavailable(err) {
		t.Errorf("%v (%s), want it unavailable", err, a.Outcome)
	}
	if len(all()) > 0 {
		t.Error("it went past the egress")
	}
}

func TestAnOverloadedProxyLeavesItToTheOther(t *testing.T) {
	server, all := receiver(t, nil)
	busy, free := newProxy(t), newProxy(t)
	busy.answers("HTTP/1.1 503 Service Unavailable\r\nX-Millrace-Egress: overloaded\r\n\r\n")
	w := webhook(t, func(c *Config) { c.TunnelLifetime = time.Nanosecond }, busy, free)
	for range 4 {
		want(t, sendOK(t, w, deliveryTo(server.URL)), millrace.OutcomeSuccess)
	}
	if len(all()) != 4 || free.tunnels.Load() != 4 {
		t.Errorf("%d requests over %d tunnels", len(all()), free.tunnels.Load())
	}
}

// What dies with its proxy says nothing about the endpoint.
func TestARequestCutByTheDeathOfItsProxyIsNotCharged(t *testing.T) {
	arrived := make(chan struct{})
	url := raw(t, func(conn net.Conn) {
		close(arrived)
		hold(conn)
	})
	proxy := newProxy(t)
	w := webhook(t, nil, proxy)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		<-arrived
		proxy.kill()
	}()
	if a, err := w.Send(t.Context(), deliveryTo(url)); !millrace.IsUnavailable(err) {
		t.Errorf("%v (%s: %s), want it unavailable", err, a.Outcome, a.Error)
	}
	<-killed
}

func TestAProxyThatNeverAnswersCONNECTIsATimeout(t *testing.T) {
	silent := listen(t, hold)
	w := webhook(t, func(c *Config) { c.Proxies = []string{"http://" + silent.addr()} })
	r := deliveryTo("http://example.com")
	r.Endpoint.Timeout = shortDeadline
	began := time.Now()
	want(t, sendOK(t, w, r), millrace.OutcomeTimeout)
	if took := time.Since(began); took > shortDeadline+overshoot {
		t.Errorf("it took %s with a deadline of %s", took, shortDeadline)
	}
}

func TestAProxyThatTakesNoConnectionInTimeIsNotCharged(t *testing.T) {
	silent := listen(t, hold) // it never answers our part of the TLS handshake
	w := webhook(t, func(c *Config) { c.Proxies = []string{"https://" + silent.addr()} })
	r := deliveryTo("http://example.com")
	r.Endpoint.Timeout = shortDeadline
	if a, err := w.Send(t.Context(), r); !millrace.IsUnavailable(err) {
		t.Errorf("%v (%s), want it unavailable", err, a.Outcome)
	}
}

func TestProxiesThatAreNone(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"closes at once":             closeIt,
		"speaks another protocol":    say("SSH-2.0-OpenSSH_9.2\r\n"),
		"answers without end":        flood("HTTP/1.1 200 OK\r\n"),
		"sends before it is sent to": say("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, func(conn net.Conn) {
				if swallow(conn) {
					serve(conn)
				}
			})
			w := webhook(t, func(c *Config) { c.Proxies = []string{"http://" + l.addr()} })
			if a, err := w.Send(t.Context(), deliveryTo("http://example.com")); !millrace.IsUnavailable(err) {
				t.Errorf("%v (%s), want it unavailable", err, a.Outcome)
			}
		})
	}
}

func TestACancelledSendIsNotCharged(t *testing.T) {
	arrived := make(chan struct{})
	url := raw(t, func(conn net.Conn) {
		close(arrived)
		hold(conn)
	})
	w := webhook(t, nil, newProxy(t))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if a, err := w.Send(ctx, deliveryTo(url)); !millrace.IsUnavailable(err) {
		t.Errorf("%v (%s), want it unavailable", err, a.Outcome)
	}
}

func TestConfigFaultsAreSaidAllAtOnce(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	c := DefaultConfig()
	c.Proxies = []string{"ftp://user:s3cr3t@x", "http://ok:1"}
	c.Cert, c.MaxIdle, c.IdleTimeout, c.MaxHeaderBytes = "only.pem", 0, -1, 1
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, key := range []string{"proxies:", "webhook.egress_cert, webhook.egress_key:", "max_idle:", "idle_timeout:", "max_header_bytes:"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not named in: %v", key, err)
		}
	}
	if strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("the password is shown: %v", err)
	}
	if _, err := NewWebhook(c); err == nil {
		t.Error("a Webhook was made of it")
	}
	if (&Config{}).Validate() == nil {
		t.Error("the zero Config was accepted")
	}
}
