package egress

import "net/http"

// Reason says why the proxy answered as it did. The list is closed: a reason is the value of the header X-Millrace-Egress and a metric
// label, and none of them tells a tenant more than they could know themselves.
type Reason string

// The reasons of a policy's decision: all but Allowed are answered with 403.
const (
	Allowed          Reason = "allowed"
	BadTarget        Reason = "bad_target"         // not a host name or address as RFC 1123 and RFC 4291 write them, or no port
	NameNotPublic    Reason = "name_not_public"    // a name that no public resolver knows: localhost, .internal, single labels
	PortNotAllowed   Reason = "port_not_allowed"   // outside egress.ports
	AddressNotPublic Reason = "address_not_public" // one of the addresses is private, reserved, a platform's or our own
	DeniedByOperator Reason = "denied_by_operator" // on one of the operator's own lists
)

// The reasons of everything else that a CONNECT can end in.
const (
	MethodNotAllowed Reason = "method_not_allowed" // 405
	Unauthenticated  Reason = "unauthenticated"    // 407
	DNSNotFound      Reason = "dns_not_found"      // 502
	DNSError         Reason = "dns_error"          // 502
	DNSTimeout       Reason = "dns_timeout"        // 504
	ConnectRefused   Reason = "connect_refused"    // 502
	ConnectError     Reason = "connect_error"      // 502
	ConnectTimeout   Reason = "connect_timeout"    // 504
	Overloaded       Reason = "overloaded"         // 503
	ShuttingDown     Reason = "shutting_down"      // 503
	ClientGone       Reason = "client_gone"        // nobody is left to answer
)

// Reasons lists every reason once.
func Reasons() []Reason {
	return []Reason{
		Allowed, BadTarget, NameNotPublic, PortNotAllowed, AddressNotPublic, DeniedByOperator,
		MethodNotAllowed, Unauthenticated, DNSNotFound, DNSError, DNSTimeout,
		ConnectRefused, ConnectError, ConnectTimeout, Overloaded, ShuttingDown, ClientGone,
	}
}

// Status returns the HTTP status that a CONNECT with this outcome is answered with.
func (r Reason) Status() int {
	switch r {
	case Allowed:
		return http.StatusOK
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case Unauthenticated:
		return http.StatusProxyAuthRequired
	case DNSNotFound, DNSError, ConnectRefused, ConnectError, ClientGone:
		return http.StatusBadGateway
	case DNSTimeout, ConnectTimeout:
		return http.StatusGatewayTimeout
	case Overloaded, ShuttingDown:
		return http.StatusServiceUnavailable
	default:
		return http.StatusForbidden
	}
}

// denies tells whether the reason is a policy's refusal.
func (r Reason) denies() bool { return r.Status() == http.StatusForbidden }
