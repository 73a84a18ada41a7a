package egress

import "net/netip"

// embedded4 returns the IPv4 address that an IPv6 address of a transition mechanism stands for. All of these are refused by default; it
// matters where an operator opened one (NAT64 on a network without IPv4), or refused the address inside.
func embedded4(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	last := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case addr.Is4In6():
		return last, true
	case within(addr, "::/96"), within(addr, "::ffff:0:0:0/96"): // IPv4-compatible (RFC 4291), SIIT (RFC 7915)
		return last, true
	case within(addr, "64:ff9b::/96"), within(addr, "64:ff9b:1::/48"): // NAT64 (RFC 6052, RFC 8215)
		return last, true
	case within(addr, "2002::/16"): // 6to4 (RFC 3056)
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case within(addr, "2001::/32"): // Teredo (RFC 4380)
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return netip.Addr{}, false
}

func within(addr netip.Addr, prefix string) bool { return netip.MustParsePrefix(prefix).Contains(addr) }
