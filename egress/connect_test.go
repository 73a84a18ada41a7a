package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestWhatTheDestinationDoesIsTold(t *testing.T) {
	z := &zone{
		answers: map[string][][]string{
			"refused.example.com": {{"93.184.216.1"}}, "silent.example.com": {{"93.184.216.2"}}, "unreachable.example.com": {{"93.184.216.3"}},
		},
		errs: map[string]error{
			"servfail.example.com": &net.DNSError{Err: "server misbehaving", IsTemporary: true},
			"slow.example.com":     &net.DNSError{Err: "i/o timeout", IsTimeout: true},
			"broken.example.com":   errors.New("resolv.conf is gone"),
		},
		hangs: map[string]bool{"hang.example.com": true},
	}
	d := &wire{
		errs:  map[string]error{"93.184.216.1": syscall.ECONNREFUSED, "93.184.216.3": syscall.EHOSTUNREACH},
		hangs: map[string]bool{"93.184.216.2": true},
	}
	cfg := testConfig()
	cfg.ResolveTimeout, cfg.DialTimeout = 50*time.Millisecond, 50*time.Millisecond
	p := startProxy(t, cfg, withResolver(z), withDial(d.dial))
	for _, c := range []struct {
		host   string
		status int
		reason Reason
	}{
		{"nowhere.example.com", 502, DNSNotFound},
		{"servfail.example.com", 502, DNSError},
		{"broken.example.com", 502, DNSError},
		{"slow.example.com", 504, DNSTimeout},
		{"hang.example.com", 504, DNSTimeout},
		{"refused.example.com", 502, ConnectRefused},
		{"unreachable.example.com", 502, ConnectError},
		{"silent.example.com", 504, ConnectTimeout},
		{"vault.internal", 403, NameNotPublic},
	} {
		t.Run(string(c.reason)+" "+c.host, func(t *testing.T) {
			before := p.Stats().Connects[c.reason]
			_, res := p.connect(t, c.host+":443")
			wantAnswer(t, res, c.status, c.reason)
			if got := p.Stats().Connects[c.reason]; got != before+1 {
				t.Errorf("counted %d times", got-before)
			}
		})
	}
}

func TestANameIsResolvedOnceAndItsAddressIsDialled(t *testing.T) {
	z := &zone{answers: map[string][][]string{"rebind.example.com": {{"93.184.216.34"}, {"127.0.0.1"}}}}
	d := &wire{to: destination(t, echo)}
	p := startProxy(t, testConfig(), withResolver(z), withDial(d.dial))

	conn, res := p.connect(t, "rebind.example.com:443")
	wantAnswer(t, res, 200, Allowed)
	conn.wantEcho(t, "hello")
	if got := z.lookups["rebind.example.com"]; got != 1 {
		t.Errorf("resolved %d times", got)
	}
	_, res = p.connect(t, "rebind.example.com:443") // the retry, after the name has changed its mind
	wantAnswer(t, res, 403, AddressNotPublic)
	if got := d.addresses(); !slices.Equal(got, []string{"93.184.216.34"}) {
		t.Errorf("dialled %v", got)
	}
}

func TestANameServerThatTellsNoAliasDelaysNobodyForLong(t *testing.T) {
	z := &zone{answers: map[string][][]string{"mute.example.com": {{"93.184.216.34"}}}, aliases: map[string]string{"mute.example.com": "never told"}}
	cfg := testConfig()
	cfg.ResolveTimeout = 2 * patience
	p := startProxy(t, cfg, withResolver(z), withDial((&wire{to: destination(t, echo)}).dial))
	conn, res := p.connect(t, "mute.example.com:443")
	wantAnswer(t, res, 200, Allowed)
	conn.wantEcho(t, "hello")
}

func TestTheNextAddressIsDialled(t *testing.T) {
	for _, c := range []struct {
		rule  string
		addrs []string
		want  []string
	}{
		{"when the first refuses", []string{"93.184.216.1", "93.184.216.34"}, []string{"93.184.216.1", "93.184.216.34"}},
		{"when the first never answers", []string{"93.184.216.2", "93.184.216.34"}, []string{"93.184.216.2", "93.184.216.34"}},
		{"when all but the last never answer", []string{"93.184.216.2", "93.184.216.2", "93.184.216.2", "93.184.216.34"}, []string{"93.184.216.2", "93.184.216.2", "93.184.216.2", "93.184.216.34"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			d := &wire{
				to:    destination(t, echo),
				errs:  map[string]error{"93.184.216.1": syscall.ECONNREFUSED},
				hangs: map[string]bool{"93.184.216.2": true},
			}
			cfg := testConfig()
			cfg.DialTimeout = 2 * time.Second
			z := &zone{answers: map[string][][]string{"many.example.com": {c.addrs}}}
			p := startProxy(t, cfg, withResolver(z), withDial(d.dial))
			conn, res := p.connect(t, "many.example.com:443")
			wantAnswer(t, res, 200, Allowed)
			if got := res.Header.Get(PeerHeader); got != "93.184.216.34" {
				t.Errorf("peer %s", got)
			}
			conn.wantEcho(t, "hello")
			if got := d.addresses(); !slices.Equal(got, c.want) {
				t.Errorf("dialled %v", got)
			}
		})
	}
}

func TestOnlySomeAddressesAreDialled(t *testing.T) {
	var many []string
	errs := make(map[string]error)
	for addr := netip.MustParseAddr("93.184.217.1"); len(many) < 100; addr = addr.Next() {
		many, errs[addr.String()] = append(many, addr.String()), syscall.ECONNREFUSED
	}
	d := &wire{errs: errs}
	p := startProxy(t, testConfig(), withResolver(&zone{answers: map[string][][]string{"many.example.com": {many}}}), withDial(d.dial))
	_, res := p.connect(t, "many.example.com:443")
	wantAnswer(t, res, 502, ConnectRefused)
	if got := len(d.addresses()); got != maxDialled {
		t.Errorf("dialled %d addresses", got)
	}
}

// The dial is the system's here: the destination is a real listener on loopback, and only the judgement before connect(2) is in the way.
func TestTheAddressIsJudgedAgainBeforeItIsConnectedTo(t *testing.T) {
	accepted := make(chan struct{}, 1)
	addr := netip.MustParseAddrPort(destination(t, func(net.Conn) { accepted <- struct{}{} }))
	policy, err := NewPolicy(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	c := &connector{policy: policy, dial: dialNet, dialTimeout: patience}
	_, _, fail := c.dialFirst(context.Background(), target{name: "public.example.com", port: addr.Port()}, []netip.Addr{addr.Addr()})
	if fail == nil || fail.decision.Reason != AddressNotPublic || fail.decision.Addr != addr.Addr() {
		t.Errorf("got %+v", fail)
	}
	select {
	case <-accepted:
		t.Error("connected")
	default:
	}
	for _, dialled := range []struct{ network, address string }{
		{"udp4", "93.184.216.34:443"}, {"unix", "/run/docker.sock"}, {"tcp4", "93.184.216.34:22"}, {"tcp4", "public.example.com:443"},
	} {
		if err := c.judgeDial(target{name: "public.example.com", port: 443}, dialled.network, dialled.address); err == nil {
			t.Errorf("%v may be dialled", dialled)
		}
	}
}

func TestLoopbackIsReachedInDevelopment(t *testing.T) {
	addr := destination(t, echo)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.AllowLoopback = true
	p := startProxy(t, cfg)
	for _, target := range []string{"localhost:" + port, addr} {
		conn, res := p.connect(t, target)
		wantAnswer(t, res, 200, Allowed)
		conn.wantEcho(t, "hello")
	}
}
