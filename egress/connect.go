package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// maxDialled bounds how many of a destination's addresses are tried, so that each gets a fair part of DialTimeout.
const maxDialled = 4

// aliasTimeout bounds the lookup of what a name stands for, so that a name server that ignores such questions delays nobody for long.
const aliasTimeout = time.Second

// resolver is the part of *net.Resolver that the proxy needs.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
}

// dialFunc connects to one address. It calls control before it connects, with what it is about to connect to.
type dialFunc func(ctx context.Context, addr netip.AddrPort, control controlFunc) (net.Conn, error)

// controlFunc is the hook of net.Dialer.ControlContext.
type controlFunc = func(ctx context.Context, network, address string, conn syscall.RawConn) error

// failure is a CONNECT that came to nothing: the reason is for the client, the rest for the log.
type failure struct {
	decision Decision
	cause    error
}

// Error returns the cause, or the rule that was broken.
func (f *failure) Error() string {
	if f.cause == nil {
		return f.decision.Rule
	}
	return f.cause.Error()
}

func failed(reason Reason, cause error) *failure {
	return &failure{decision: Decision{Reason: reason}, cause: cause}
}

func dialNet(ctx context.Context, addr netip.AddrPort, control controlFunc) (net.Conn, error) {
	dialer := net.Dialer{ControlContext: control}
	return dialer.DialContext(ctx, "tcp", addr.String())
}

// connector takes a destination from its name to a connection.
type connector struct {
	policy         *Policy
	resolver       resolver
	dial           dialFunc
	resolveTimeout time.Duration
	dialTimeout    time.Duration
}

func newConnector(cfg Config) (*connector, error) {
	policy, err := NewPolicy(cfg)
	if err != nil {
		return nil, err
	}
	return &connector{
		policy:         policy,
		resolver:       netResolver{&net.Resolver{PreferGo: true}},
		dial:           dialNet,
		resolveTimeout: cfg.ResolveTimeout,
		dialTimeout:    cfg.DialTimeout,
	}, nil
}

// connect judges the destination, resolves it once, judges every address, and dials a judged one: what is connected to is an address, so
// a name that changes its mind in between changes nothing.
func (c *connector) connect(ctx context.Context, t target) (net.Conn, netip.Addr, *failure) {
	if d := c.policy.decideTarget(t); !d.Allow {
		return nil, netip.Addr{}, &failure{decision: d}
	}
	addrs, fail := c.resolve(ctx, t)
	if fail != nil {
		return nil, netip.Addr{}, fail
	}
	if d := c.policy.decideAddrs(t, addrs); !d.Allow {
		return nil, netip.Addr{}, &failure{decision: d}
	}
	return c.dialFirst(ctx, t, addrs)
}

func (c *connector) resolve(ctx context.Context, t target) ([]netip.Addr, *failure) {
	if t.addr.IsValid() {
		return []netip.Addr{t.addr}, nil
	}
	if c.policy.isLoopbackTarget(t) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.resolveTimeout)
	defer cancel()
	alias := make(chan Decision, 1)
	go func() { alias <- c.judgeAlias(ctx, t) }()
	addrs, err := c.resolver.LookupNetIP(ctx, "ip", t.name+".") // the dot: no search list
	if err != nil {
		cancel()
	}
	d := <-alias
	switch {
	case err != nil:
		return nil, failed(resolveReason(ctx, err), fmt.Errorf("resolve %s: %w", t.name, err))
	case !d.Allow:
		return nil, &failure{decision: d}
	}
	return addrs, nil
}

// judgeAlias asks what the name stands for. It runs beside the lookup of the addresses and adds to it: what cannot be found out is
// left to them, which are judged in any case.
func (c *connector) judgeAlias(ctx context.Context, t target) Decision {
	ctx, cancel := context.WithTimeout(ctx, aliasTimeout)
	defer cancel()
	canonical, err := c.resolver.LookupCNAME(ctx, t.name+".")
	if err != nil {
		canonical = ""
	}
	return c.policy.decideAlias(t, canonical)
}

func resolveReason(ctx context.Context, err error) Reason {
	var dns *net.DNSError
	switch isDNS := errors.As(err, &dns); {
	case isDNS && dns.IsNotFound:
		return DNSNotFound
	case isDNS && dns.IsTimeout, errors.Is(err, context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return DNSTimeout
	}
	return DNSError
}

// dialFirst tries the addresses in the resolver's order. Each gets an equal part of the time that is left, so that one that never
// answers leaves enough for the next.
func (c *connector) dialFirst(ctx context.Context, t target, addrs []netip.Addr) (net.Conn, netip.Addr, *failure) {
	deadline := time.Now().Add(c.dialTimeout)
	addrs = addrs[:min(len(addrs), maxDialled)]
	var last *failure
	for i, addr := range addrs {
		conn, err := c.dialOne(ctx, t, attempt{addr, time.Until(deadline) / time.Duration(len(addrs)-i)})
		if err == nil {
			return conn, addr, nil
		}
		last = dialFailure(err)
		if ctx.Err() != nil || last.decision.Reason.denies() {
			break
		}
	}
	return nil, netip.Addr{}, last
}

type attempt struct {
	addr    netip.Addr
	timeout time.Duration
}

func (c *connector) dialOne(ctx context.Context, t target, try attempt) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, try.timeout)
	defer cancel()
	control := func(_ context.Context, network, address string, _ syscall.RawConn) error {
		return c.judgeDial(t, network, address)
	}
	conn, err := c.dial(ctx, netip.AddrPortFrom(try.addr, t.port), control)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", netip.AddrPortFrom(try.addr, t.port), err)
	}
	return conn, nil
}

// judgeDial is the last word before connect(2): whatever led here, the address about to be connected to is judged again.
func (c *connector) judgeDial(t target, network, address string) error {
	dialled, err := netip.ParseAddrPort(address)
	if err != nil || dialled.Port() != t.port || network != "tcp4" && network != "tcp6" {
		return &failure{decision: Decision{Reason: BadTarget, Rule: fmt.Sprintf("unexpected dial of %s %s", network, address)}}
	}
	if d := c.policy.decideAddrs(t, []netip.Addr{dialled.Addr()}); !d.Allow {
		return &failure{decision: d}
	}
	return nil
}

func dialFailure(err error) *failure {
	var judged *failure
	if errors.As(err, &judged) {
		return judged
	}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return failed(ConnectRefused, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return failed(ConnectTimeout, err)
	}
	return failed(ConnectError, err)
}
