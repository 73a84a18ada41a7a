package egress

import (
	"context"
	"net/netip"
)

// netResolver gives IPv4 addresses as such: net.Resolver may return those of A records in their IPv6 form, which the policy would take for
// an AAAA record that hides an IPv4 address.
type netResolver struct{ resolver }

// LookupNetIP is that of net.Resolver, with IPv4 addresses in their own form.
func (r netResolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := r.resolver.LookupNetIP(ctx, network, host)
	for i, addr := range addrs {
		addrs[i] = addr.Unmap()
	}
	return addrs, err
}
