package egress

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// FuzzCheckURL holds that an accepted URL means the same to everybody who reads it, and leads to no forbidden address.
func FuzzCheckURL(f *testing.F) {
	for _, c := range ssrfCases(f) {
		f.Add(c.url)
	}
	f.Add("http://00.0\xb1")
	policy, err := NewPolicy(DefaultConfig())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := policy.CheckURL(raw)
		if err != nil {
			return
		}
		host := u.Hostname()
		if addr, err := netip.ParseAddr(host); err == nil && !decideRegistered(addr).Allow {
			t.Errorf("%q leads to %s", raw, addr)
		}
		if addr, ok := inetAton(host); ok && (addr.String() != host || !decideRegistered(addr).Allow) {
			t.Errorf("%q: inet_aton reads %q as %s", raw, host, addr)
		}
		if strings.ContainsAny(host, "@\\/?#% ") || policy.isPrivateName(host) && !strings.Contains(host, ":") {
			t.Errorf("%q: accepted host %q", raw, host)
		}
		again, err := policy.CheckURL(u.String())
		if err != nil || again.Host != u.Host || again.Scheme != u.Scheme {
			t.Errorf("%q: accepted as %q, then %v, %v", raw, u, again, err)
		}
		if other, err := url.Parse(u.String()); err != nil || other.Host != u.Host {
			t.Errorf("%q: others read %v, %v", u, other, err)
		}
	})
}

// inetAton reads an address as the C library does: one to four numbers, decimal, octal or hexadecimal, the last one filling the rest.
func inetAton(text string) (netip.Addr, bool) {
	parts := strings.Split(strings.TrimSuffix(text, "."), ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		number, err := strconv.ParseUint(part, 0, 32)
		if err != nil || strings.ContainsAny(part, "_ob") {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 {
			value |= number
			break
		}
		value |= number << (24 - 8*i)
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// FuzzDecide holds that whatever the host, a forbidden address among the answers refuses it, and that the form of an address is no way around.
func FuzzDecide(f *testing.F) {
	f.Add("example.com", 443, []byte{127, 0, 0, 1})
	f.Add("93.184.216.34", 80, []byte{10, 0, 0, 1})
	f.Add("localhost", 443, []byte("\x00\x64\xff\x9b\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x00\x00\x01"))
	policy, err := NewPolicy(DefaultConfig())
	if err != nil {
		f.Fatal(err)
	}
	public := netip.MustParseAddr("93.184.216.34")
	f.Fuzz(func(t *testing.T, host string, port int, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		d := policy.Decide(host, port, []netip.Addr{public, addr})
		if !d.Allow {
			if !d.Reason.denies() {
				t.Errorf("refused with %s", d.Reason)
			}
			return
		}
		if !decideRegistered(addr).Allow || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.Is4In6() {
			t.Errorf("Decide(%q, %d, %s) allows", host, port, addr)
		}
		if _, hidden := embedded4(addr); hidden {
			t.Errorf("Decide allows %s, which stands for an IPv4 address", addr)
		}
	})
}
