package egress

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// FuzzDial holds that no spelling of a host, no answer of a name server and no alias leads a connection to an address that is not public, or
// to another port than was named: whether it is a broker's address, or an endpoint's URL on its way through the proxy.
func FuzzDial(f *testing.F) {
	for _, c := range ssrfCases(f) {
		_, rest, _ := strings.Cut(c.url, "//")
		f.Add(rest, []byte{127, 0, 0, 1}, "")
	}
	mapped := netip.MustParseAddr("::ffff:10.0.0.1").As16()
	f.Add("example.com:9092", mapped[:], "example.com.")
	f.Add("example.com:443", []byte{93, 184, 216, 34}, "db.internal.")
	f.Add("[fe80::1%25eth0]:443", []byte{}, "")
	f.Add("user@0177.0.0.1:8443", []byte{8, 8, 8, 8}, "LOCALHOST.")
	f.Add("203.0.113.7:443", []byte{10, 0, 0, 1}, "a.b")
	own := netip.MustParseAddr("93.184.216.1")
	policy, err := newPolicy(DefaultConfig(), func() ([]netip.Addr, error) { return []netip.Addr{own}, nil })
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, where string, answer []byte, alias string) {
		var dialled []netip.AddrPort
		c := &connector{policy: policy, resolver: told{answer, alias}, resolveTimeout: time.Minute, dialTimeout: time.Minute}
		c.dial = func(ctx context.Context, to netip.AddrPort, control controlFunc) (net.Conn, error) {
			network := "tcp6"
			if to.Addr().Unmap().Is4() {
				network = "tcp4"
			}
			if err := control(ctx, network, to.String(), nil); err != nil {
				return nil, err
			}
			dialled = append(dialled, to)
			return nil, syscall.ECONNREFUSED
		}
		d := &Dialer{connector: c, log: quietLog()}
		d.refreshed.Store(time.Now().UnixNano())
		_, _ = d.DialContext(t.Context(), "udp", where) // it leads nowhere
		wantPublic(t, where, dialled, own)

		u, err := policy.CheckURL("https://" + where)
		if err != nil {
			return
		}
		dialled = nil
		if proxied, refusal := throughProxy(u); refusal == nil {
			_, _, _ = c.connect(t.Context(), proxied) // it leads nowhere
		}
		wantPublic(t, u.Host, dialled, own)
	})
}

// told is a resolver that always has the same answers: one address of 4 or 16 bytes after the other, and what the name stands for.
type told struct {
	answer []byte
	alias  string
}

func (a told) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	size := 16
	if len(a.answer)%16 != 0 {
		size = 4
	}
	var addrs []netip.Addr
	for one := range slices.Chunk(a.answer, size) {
		if addr, ok := netip.AddrFromSlice(one); ok {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{IsNotFound: true}
	}
	return addrs, nil
}

func (a told) LookupCNAME(context.Context, string) (string, error) { return a.alias, nil }

// throughProxy is the target of the CONNECT that a URL makes, as the proxy reads it.
func throughProxy(u *url.URL) (target, *Refusal) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	to := net.JoinHostPort(u.Hostname(), port)
	colon := strings.LastIndexByte(to, ':')
	return splitTarget(to[:colon], to[colon+1:])
}

func wantPublic(t *testing.T, where string, dialled []netip.AddrPort, own netip.Addr) {
	t.Helper()
	for _, to := range dialled {
		if notPublic(to.Addr()) || to.Addr() == own {
			t.Errorf("%q leads to %s", where, to)
		}
		if port := where[strings.LastIndexByte(where, ':')+1:]; strings.Contains(where, ":") && !strings.HasSuffix(where, "]") {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || uint16(n) != to.Port() {
				t.Errorf("%q leads to port %d", where, to.Port())
			}
		}
	}
}

// notPublic says by the registries of IANA, written out, which addresses no packet of a tenant's may go to.
func notPublic(addr netip.Addr) bool {
	if addr.Is6() && !netip.MustParsePrefix("2000::/3").Contains(addr) || addr.Zone() != "" {
		return true
	}
	for _, special := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
		"2001::/32", "2001:2::/48", "2001:10::/28", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		if netip.MustParsePrefix(special).Contains(addr) {
			return true
		}
	}
	return false
}
