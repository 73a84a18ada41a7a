package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Refusal is why an address that a tenant gave is not delivered to, in a sentence for the tenant.
type Refusal struct {
	Reason  Reason
	Message string
}

// Error returns the sentence.
func (r *Refusal) Error() string { return r.Message }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// parseHost reads a host as a URL or a CONNECT names it. It returns the name in the one form it is judged, resolved and dialled in (lower
// case, A-labels, no dot at the end), or the literal address. A spelling of an address that other software reads differently (127.1,
// 0x7f000001, ①②⑦.⓪.⓪.①) is refused, public or not.
func parseHost(raw string) (name string, addr netip.Addr, refusal *Refusal) {
	if inner, ok := strings.CutPrefix(raw, "["); ok {
		addr, refusal = parseBracketed(inner)
		return "", addr, refusal
	}
	if strings.ContainsAny(raw, "%\\@:/?#[] \t\r\n") {
		return "", addr, refuse(BadTarget, "The host %s holds a character that no host name has; write it without escapes, credentials or spaces.", quote(raw))
	}
	name, err := toASCII(raw)
	if err != nil {
		return "", addr, refuse(BadTarget, "The host %s is not a valid domain name; check its spelling.", quote(raw))
	}
	if !endsInNumber(name) {
		return parseName(raw, name)
	}
	addr, err = netip.ParseAddr(raw)
	if err != nil || !addr.Is4() {
		return "", addr, refuse(BadTarget, "The host %s is not an IPv4 address in its usual form; write four decimal numbers, such as 93.184.216.34.", quote(raw))
	}
	return "", addr, nil
}

func parseBracketed(inner string) (netip.Addr, *Refusal) {
	text, closed := strings.CutSuffix(inner, "]")
	addr, err := netip.ParseAddr(text)
	if !closed || err != nil || !addr.Is6() {
		return netip.Addr{}, refuse(BadTarget, "Square brackets hold an IPv6 address and nothing else; %s is none.", quote(text))
	}
	if addr.Zone() != "" {
		return netip.Addr{}, refuse(BadTarget, "The address %s has a zone, which means something on one machine only; give a public address.", quote(text))
	}
	return addr, nil
}

// toASCII maps a name by UTS 46 as browsers do, but leaves hyphens and underscores as they are: such names exist. What does not map to
// itself again, such as a name that was not UTF-8, means different things to different readers.
func toASCII(raw string) (string, error) {
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))
	ascii, err := profile.ToASCII(raw)
	if err != nil {
		return "", fmt.Errorf("map %s: %w", quote(raw), err)
	}
	if again, err := profile.ToASCII(ascii); err != nil || again != ascii {
		return "", fmt.Errorf("map %s: %s is no A-label of anything", quote(raw), ascii)
	}
	return ascii, nil
}

func parseName(raw, ascii string) (string, netip.Addr, *Refusal) {
	name := strings.TrimSuffix(ascii, ".")
	if name == "" {
		return "", netip.Addr{}, refuse(BadTarget, "The URL names no host; write one, such as https://example.com/hooks.")
	}
	if len(name) > 253 {
		return "", netip.Addr{}, refuse(BadTarget, "The host name is longer than 253 characters; give a shorter one.")
	}
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return "", netip.Addr{}, refuse(BadTarget, "The host %s is not a valid domain name; its parts are 1 to 63 letters, digits and hyphens.", quote(raw))
		}
	}
	return name, netip.Addr{}, nil
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, c := range []byte(label) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// endsInNumber tells whether some software would read the name as an IPv4 address: its last label is a number, decimal, octal or hex
// (WHATWG URL, "ends in a number").
func endsInNumber(name string) bool {
	name = strings.TrimSuffix(name, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" {
		return false
	}
	if strings.Trim(last, "0123456789") == "" {
		return true
	}
	digits, hex := strings.CutPrefix(last, "0x")
	return hex && strings.Trim(digits, "0123456789abcdef") == ""
}

// quote shows a stranger's text: escaped, and no longer than a line.
func quote(text string) string {
	if len(text) > 80 {
		text = text[:80] + "…"
	}
	return strconv.Quote(text)
}
