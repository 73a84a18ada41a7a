package egress

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// FuzzCheckAddress holds that the address of a broker that was accepted is the one that is judged, by whatever name it goes: it reads the
// same everywhere, is accepted again as it is, and has no host that software without a policy would take for an address of another form.
func FuzzCheckAddress(f *testing.F) {
	for _, c := range ssrfCases(f) {
		_, rest, _ := strings.Cut(c.url, "//")
		host, _, _ := strings.Cut(rest, "/")
		f.Add(host)
		f.Add(host + ":9092")
	}
	f.Add("[::ffff:127.0.0.1]:9092")
	f.Add("①②⑦.⓪.⓪.①:9092")
	policy, err := NewPolicy(DefaultConfig())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		address, err := policy.CheckAddress(raw)
		if err != nil {
			return
		}
		host, port, err := net.SplitHostPort(address)
		number, notANumber := strconv.Atoi(port)
		if err != nil || notANumber != nil {
			t.Fatalf("%q is accepted as %q, which is no address: %v, %v", raw, address, err, notANumber)
		}
		if again, err := policy.CheckAddress(address); err != nil || again != address {
			t.Errorf("%q: accepted as %q, then %q, %v", raw, address, again, err)
		}
		if addr, ok := inetAton(host); ok && addr.String() != host {
			t.Errorf("%q: inet_aton reads %q as %s", raw, host, addr)
		}
		addr, err := netip.ParseAddr(host)
		switch d := policy.Decide(host, number, []netip.Addr{netip.MustParseAddr("93.184.216.34")}); {
		case err == nil && notPublic(addr):
			t.Errorf("%q leads to %s", raw, addr)
		case err != nil && policy.isPrivateName(host):
			t.Errorf("%q leads to the name %q", raw, host)
		case !d.Allow && d.Reason != PortNotAllowed: // a broker's port is for brokers
			t.Errorf("%q is accepted as %q, and then refused with %s", raw, address, d.Reason)
		}
	})
}
