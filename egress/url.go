package egress

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const maxURLBytes = 2048

// CheckURL judges the URL that a tenant gives for an endpoint, by the same rules that judge it when it is dialled. It returns the URL with
// its host in the form that will be resolved and dialled, and without a fragment, or a *Refusal.
func (p *Policy) CheckURL(raw string) (*url.URL, error) {
	u, refusal := parseURL(raw)
	if refusal != nil {
		return nil, refusal
	}
	t, refusal := urlTarget(raw, u)
	if refusal != nil {
		return nil, refusal
	}
	d := p.decideTarget(t)
	if d.Allow && t.addr.IsValid() {
		d = p.decideAddrs(t, []netip.Addr{t.addr})
	}
	if !d.Allow {
		return nil, explain(d.Reason, t)
	}
	u.Host = t.urlHost()
	if hasPort(raw) {
		u.Host += ":" + strconv.Itoa(int(t.port))
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// CheckAddress judges the host:port of a broker that a tenant gives for an endpoint, as CheckURL does a URL. It returns the address in the
// form that will be resolved and dialled, or a *Refusal.
func (p *Policy) CheckAddress(raw string) (string, error) {
	colon := strings.LastIndexByte(raw, ':')
	if colon < 0 || len(raw) > maxURLBytes {
		return "", refuse(BadTarget, "The address %s names no host and port; write it like broker.example.com:9092.", quote(raw))
	}
	t, refusal := splitTarget(raw[:colon], raw[colon+1:])
	if refusal != nil {
		return "", refusal
	}
	t.broker = true
	d := p.decideTarget(t)
	if d.Allow && t.addr.IsValid() {
		d = p.decideAddrs(t, []netip.Addr{t.addr})
	}
	if !d.Allow {
		return "", explain(d.Reason, t)
	}
	return t.urlHost() + ":" + strconv.Itoa(int(t.port)), nil
}

func parseURL(raw string) (*url.URL, *Refusal) {
	if len(raw) > maxURLBytes {
		return nil, refuse(BadTarget, "The URL is longer than %d bytes; give a shorter one.", maxURLBytes)
	}
	if strings.ContainsRune(raw, '\\') {
		return nil, refuse(BadTarget, "The URL holds a backslash, which programs read differently; write %%5C in a path or query.")
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, refuse(BadTarget, "The URL holds a space or a control character; write it percent-encoded, such as %%20.")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refuse(BadTarget, "The URL %s cannot be read; write it like https://example.com/hooks.", quote(raw))
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, refuse(BadTarget, "The URL must begin with https:// or http://; %s does not.", quote(raw))
	}
	if u.User != nil {
		return nil, refuse(BadTarget, "The URL holds credentials before an @; put them into the endpoint's authentication instead.")
	}
	if u.Host == "" {
		return nil, refuse(BadTarget, "The URL names no host; write it like https://example.com/hooks.")
	}
	return u, nil
}

// authority cuts the part of a URL between // and the path as it was written: url.Parse has already undone its escapes.
func authority(raw string) string {
	_, rest, _ := strings.Cut(raw, "//")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

func hasPort(raw string) bool {
	host := authority(raw)
	return strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']')
}

func urlTarget(raw string, u *url.URL) (target, *Refusal) {
	host, port := authority(raw), "443"
	if u.Scheme == "http" {
		port = "80"
	}
	if hasPort(raw) {
		colon := strings.LastIndexByte(host, ':')
		host, port = host[:colon], host[colon+1:]
	}
	return splitTarget(host, port)
}

func splitTarget(host, port string) (target, *Refusal) {
	number, err := parsePort(port)
	if err != nil {
		return target{}, refuse(BadTarget, "The port %s does not exist; leave it out, or give a number from 1 to 65535.", quote(port))
	}
	name, addr, refusal := parseHost(host)
	return target{name: name, addr: addr, port: number}, refusal
}

// host is what is resolved and logged.
func (t target) host() string {
	if t.addr.IsValid() {
		return t.addr.String()
	}
	return t.name
}

func (t target) urlHost() string {
	if t.addr.Is6() {
		return "[" + t.addr.String() + "]"
	}
	return t.host()
}

func explain(reason Reason, t target) *Refusal {
	switch reason {
	case NameNotPublic:
		return refuse(reason, "The host %s is not a public name; this server connects to public hosts only, so give a name that the internet's DNS knows.", quote(t.host()))
	case PortNotAllowed:
		if t.broker {
			return refuse(reason, "The port %d is not allowed for a broker; use its usual port, or one from 1024 up that no other service has.", t.port)
		}
		return refuse(reason, "The port %d is not allowed; use 443, 80, or one from 1024 up that no well-known service has.", t.port)
	case AddressNotPublic:
		return refuse(reason, "The address %s is not a public one; this server connects to public hosts only, so give a public name or address.", quote(t.host()))
	default:
		return refuse(reason, "The host %s is closed on this server; use another one, or ask its operator.", quote(t.host()))
	}
}
