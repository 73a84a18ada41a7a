package egress

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"code.dny.dev/ssrf"
)

// Policy judges destinations. It holds no state but this machine's own addresses, so the same policy answers for an endpoint that is being
// created and for one that is being dialled.
type Policy struct {
	rules
	local func() ([]netip.Addr, error)
	own   atomic.Pointer[[]netip.Addr]
}

// Decision is a policy's verdict. Reason is for everybody; Rule and Addr are for the operator's log.
type Decision struct {
	Allow  bool
	Reason Reason
	Rule   string
	Addr   netip.Addr
}

// target is a destination in the one form it is judged, resolved and dialled in.
type target struct {
	name string     // empty for a literal address
	addr netip.Addr // the literal address
	port uint16
	// broker is set for an endpoint that is a broker: its ports are allowed.
	broker bool
}

// NewPolicy returns the policy that the configuration describes. The machine's own addresses are read once now; the proxy reads them
// again every minute.
func NewPolicy(cfg Config) (*Policy, error) { return newPolicy(cfg, interfaceAddrs) }

func newPolicy(cfg Config, local func() ([]netip.Addr, error)) (*Policy, error) {
	rules, err := newRules(cfg)
	if err != nil {
		return nil, err
	}
	p := &Policy{rules: rules, local: local}
	return p, p.refreshOwn()
}

// Decide judges a destination by its host, its port and every address that the host resolved to: one forbidden address refuses it. A
// literal host is judged as well, whatever addrs says. Decide resolves nothing.
func (p *Policy) Decide(host string, port int, addrs []netip.Addr) Decision {
	t, refusal := newTarget(host, port)
	if refusal != nil {
		return Decision{Reason: refusal.Reason, Rule: refusal.Message}
	}
	if t.addr.IsValid() {
		addrs = append([]netip.Addr{t.addr}, addrs...)
	}
	if d := p.decideTarget(t); !d.Allow {
		return d
	}
	return p.decideAddrs(t, addrs)
}

func newTarget(host string, port int) (target, *Refusal) {
	if port < 1 || port > 65535 {
		return target{}, refuse(BadTarget, "The port %d does not exist; ports go from 1 to 65535.", port)
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	name, addr, refusal := parseHost(host)
	return target{name: name, addr: addr, port: uint16(port)}, refusal
}

// decideTarget judges what is known before anything is resolved: the name and the port.
func (p *Policy) decideTarget(t target) Decision {
	if t.name != "" {
		if d := p.decideName(t); !d.Allow {
			return d
		}
	}
	if !p.allowsPort(t) && !p.isLoopbackTarget(t) {
		return Decision{Reason: PortNotAllowed, Rule: fmt.Sprintf("port %d is not in egress.ports", t.port)}
	}
	return Decision{Allow: true, Reason: Allowed}
}

func (p *Policy) allowsPort(t target) bool {
	return p.ports[t.port] || t.broker && p.brokerPorts[t.port]
}

func (p *Policy) decideName(t target) Decision {
	if matchesHost(p.deniedHosts, t.name) {
		return Decision{Reason: DeniedByOperator, Rule: "egress.deny_hosts"}
	}
	if !p.isLoopbackTarget(t) && !matchesHost(p.allowedHosts, t.name) && p.isPrivateName(t.name) {
		return Decision{Reason: NameNotPublic, Rule: fmt.Sprintf("%s is never a public name", t.name)}
	}
	return Decision{Allow: true, Reason: Allowed}
}

func (p *Policy) isPrivateName(name string) bool {
	return !strings.Contains(name, ".") || slices.ContainsFunc(p.privateNames, func(domain string) bool {
		return name == domain || strings.HasSuffix(name, "."+domain)
	})
}

// decideAlias judges the canonical name that a destination's name turned out to stand for. An alias that the operator allowed may stand
// for a name that is not public.
func (p *Policy) decideAlias(t target, canonical string) Decision {
	canonical = strings.ToLower(strings.TrimSuffix(canonical, "."))
	if canonical == "" || canonical == t.name || matchesHost(p.allowedHosts, t.name) {
		return Decision{Allow: true, Reason: Allowed}
	}
	return p.decideName(target{name: canonical, port: t.port, broker: t.broker})
}

func (p *Policy) decideAddrs(t target, addrs []netip.Addr) Decision {
	if len(addrs) == 0 {
		return Decision{Reason: DNSNotFound, Rule: "no address to judge"}
	}
	for _, addr := range addrs {
		if d := p.decideAddr(t, addr); !d.Allow {
			d.Addr = addr
			return d
		}
	}
	return Decision{Allow: true, Reason: Allowed}
}

// decideAddr judges one address. The order of the rules is the order of their authority: the operator's refusals, what serves the platform,
// what the operator opened, this machine, and the registries.
func (p *Policy) decideAddr(t target, addr netip.Addr) Decision {
	inner, hasInner := embedded4(addr)
	switch {
	case !addr.IsValid() || addr.Zone() != "":
		return Decision{Reason: AddressNotPublic, Rule: "no address, or one with a zone"}
	case containsAddr(p.denied, addr) || hasInner && containsAddr(p.denied, inner):
		return Decision{Reason: DeniedByOperator, Rule: "egress.deny_cidrs"}
	case containsAddr(p.platform, addr) || hasInner && containsAddr(p.platform, inner):
		return Decision{Reason: AddressNotPublic, Rule: "platform address"}
	case isLoopback(addr) && p.isLoopbackTarget(t):
		return Decision{Allow: true, Reason: Allowed}
	case slices.Contains(p.allowed, netip.PrefixFrom(addr, addr.BitLen())):
		return Decision{Allow: true, Reason: Allowed}
	case slices.Contains(*p.own.Load(), addr):
		return Decision{Reason: AddressNotPublic, Rule: "address of this machine"}
	case containsAddr(p.allowed, addr) && hasInner:
		return p.decideAddr(t, inner)
	case containsAddr(p.allowed, addr):
		return Decision{Allow: true, Reason: Allowed}
	}
	return decideRegistered(addr)
}

// decideRegistered judges by IANA's registries of special-purpose addresses, and refuses every IPv6 address outside 2000::/3, the only
// block that public addresses are given from.
func decideRegistered(addr netip.Addr) Decision {
	special := ssrf.IPv4DeniedPrefixes
	if !addr.Is4() {
		if !ssrf.IPv6GlobalUnicast.Contains(addr) {
			return Decision{Reason: AddressNotPublic, Rule: "outside 2000::/3"}
		}
		special = ssrf.IPv6DeniedPrefixes
	}
	for _, prefix := range special {
		if prefix.Contains(addr) {
			return Decision{Reason: AddressNotPublic, Rule: prefix.String()}
		}
	}
	return Decision{Allow: true, Reason: Allowed}
}

// isLoopbackTarget tells whether the tenant asked for this machine by name or address, and may. A name that merely resolves to a loopback
// address does not count.
func (p *Policy) isLoopbackTarget(t target) bool {
	return p.allowLoopback && (t.name == "localhost" || isLoopback(t.addr))
}

func isLoopback(addr netip.Addr) bool { return addr.IsLoopback() && !addr.Is4In6() }

func (p *Policy) refreshOwn() error {
	addrs, err := p.local()
	if err != nil {
		return fmt.Errorf("list own addresses: %w", err)
	}
	p.own.Store(&addrs)
	return nil
}

func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, entry := range list {
		if prefix, err := netip.ParsePrefix(entry.String()); err == nil {
			addrs = append(addrs, prefix.Addr().Unmap())
		}
	}
	return addrs, nil
}

func containsAddr(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}
