package egress

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// record is what a name has on the test's name server.
type record struct {
	alias  string
	a      []string
	aaaa   []string
	rcode  dnsmessage.RCode
	silent bool
}

// nameServer serves records over UDP on loopback, and returns a resolver that asks nobody else.
func nameServer(t *testing.T, records map[string]record) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		query := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			if reply := answerQuery(query[:n], records); reply != nil {
				_, _ = server.WriteTo(reply, from)
			}
		}
	})
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	asking := &sockets{to: server.LocalAddr().String()}
	t.Cleanup(asking.close)
	return &net.Resolver{PreferGo: true, Dial: asking.dial}
}

// sockets ends what net.Resolver still waits for when its caller has long gone.
type sockets struct {
	to string

	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

func (s *sockets) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", s.to)
	if err == nil {
		s.conns = append(s.conns, conn)
	}
	return conn, err
}

func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, conn := range s.conns {
		conn.Close()
	}
}

func answerQuery(query []byte, records map[string]record) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	question := m.Questions[0]
	rec, known := records[strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))]
	if rec.silent {
		return nil
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: rec.rcode},
		Questions: m.Questions,
	}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	name := question.Name
	if rec.alias != "" {
		target := dnsmessage.MustNewName(rec.alias)
		reply.Answers = append(reply.Answers, resource(name, dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: target}))
		name = target
	}
	switch question.Type {
	case dnsmessage.TypeA:
		for _, addr := range parseAddrs(rec.a) {
			reply.Answers = append(reply.Answers, resource(name, dnsmessage.TypeA, &dnsmessage.AResource{A: addr.As4()}))
		}
	case dnsmessage.TypeAAAA:
		for _, addr := range parseAddrs(rec.aaaa) {
			reply.Answers = append(reply.Answers, resource(name, dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: addr.As16()}))
		}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func resource(name dnsmessage.Name, kind dnsmessage.Type, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Type: kind, Class: dnsmessage.ClassINET}, Body: body}
}

// The resolver is the real one here, with a name server of the test's own.
func TestAnswersOfARealNameServerAreJudged(t *testing.T) {
	resolver := nameServer(t, map[string]record{
		"public.example.com":   {a: []string{"93.184.216.34"}},
		"dual.example.com":     {a: []string{"93.184.216.34"}, aaaa: []string{"2606:2800:220:1::1"}},
		"rebind.example.com":   {a: []string{"10.0.0.5"}},
		"mixed.example.com":    {a: []string{"93.184.216.34", "127.0.0.1"}},
		"mapped.example.com":   {aaaa: []string{"::ffff:10.0.0.5"}},
		"compat.example.com":   {aaaa: []string{"::7f00:1"}},
		"v6.example.com":       {a: []string{"93.184.216.34"}, aaaa: []string{"fd00:ec2::254"}},
		"cname.example.com":    {alias: "metadata.google.internal.", a: []string{"93.184.216.34"}},
		"single.example.com":   {alias: "redis.", a: []string{"93.184.216.34"}},
		"alias.example.com":    {alias: "public.example.net.", a: []string{"93.184.216.34"}},
		"empty.example.com":    {},
		"servfail.example.com": {rcode: dnsmessage.RCodeServerFailure},
		"silent.example.com":   {silent: true},
	})
	policy, err := NewPolicy(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	c := &connector{policy: policy, resolver: netResolver{resolver}, dialTimeout: patience}
	d := &wire{to: destination(t, echo)}
	c.dial = d.dial
	for host, want := range map[string]Reason{
		"public.example.com": Allowed, "dual.example.com": Allowed, "alias.example.com": Allowed,
		"rebind.example.com": AddressNotPublic, "mixed.example.com": AddressNotPublic, "mapped.example.com": AddressNotPublic,
		"compat.example.com": AddressNotPublic, "v6.example.com": AddressNotPublic,
		"cname.example.com": NameNotPublic, "single.example.com": NameNotPublic,
		"empty.example.com": DNSNotFound, "nowhere.example.com": DNSNotFound,
		"servfail.example.com": DNSError, "silent.example.com": DNSTimeout,
	} {
		t.Run(host, func(t *testing.T) {
			c.resolveTimeout = patience
			if want == DNSTimeout {
				c.resolveTimeout = 200 * time.Millisecond
			}
			conn, peer, fail := c.connect(t.Context(), target{name: host, port: 443})
			if fail != nil {
				if fail.decision.Reason != want {
					t.Fatalf("got %s, %v; want %s", fail.decision.Reason, fail, want)
				}
				return
			}
			conn.Close()
			if want != Allowed || !decideRegistered(peer).Allow {
				t.Errorf("connected to %s; want %s", peer, want)
			}
		})
	}
	for _, text := range d.addresses() {
		if !decideRegistered(netip.MustParseAddr(text)).Allow {
			t.Errorf("dialled %s", text)
		}
	}
}

func TestIPv4AnswersInIPv6FormAreTakenForWhatTheyAre(t *testing.T) {
	resolver := netResolver{&zone{answers: map[string][][]string{"public.example.com": {{"::ffff:93.184.216.34", "2606:4700::1111"}}}}}
	addrs, err := resolver.LookupNetIP(t.Context(), "ip", "public.example.com.")
	if want := parseAddrs([]string{"93.184.216.34", "2606:4700::1111"}); err != nil || !slices.Equal(addrs, want) {
		t.Errorf("got %v, %v; want %v", addrs, err, want)
	}
}
