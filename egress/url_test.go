package egress

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckURLReturnsWhatWillBeDialled(t *testing.T) {
	for _, c := range []struct{ rule, raw, want string }{
		{"scheme and host in lower case, the path as it is", "HTTPS://Public.Example.COM/Hooks?X=1", "https://public.example.com/Hooks?X=1"},
		{"a port stays", "https://public.example.com:8443/", "https://public.example.com:8443/"},
		{"the scheme's own port stays if it was given", "https://public.example.com:443/", "https://public.example.com:443/"},
		{"no dot at the end of a name", "https://public.example.com./a", "https://public.example.com/a"},
		{"another script becomes its A-label", "https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"},
		{"full-width letters become plain ones", "https://ｐublic.example.com/", "https://public.example.com/"},
		{"an IPv6 address in its short form", "https://[2606:2800:0220:0001:0248:1893:25C8:1946]:8443/", "https://[2606:2800:220:1:248:1893:25c8:1946]:8443/"},
		{"escapes in path and query stay", "https://public.example.com/a%2Fb?c=%20d", "https://public.example.com/a%2Fb?c=%20d"},
		{"a fragment is never sent", "https://public.example.com/a#b", "https://public.example.com/a"},
		{"no path is no fault", "https://public.example.com", "https://public.example.com"},
		{"a query right behind the host", "https://public.example.com?a=b@c:d", "https://public.example.com?a=b@c:d"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			policy, err := NewPolicy(DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			u, err := policy.CheckURL(c.raw)
			if err != nil || u.String() != c.want {
				t.Errorf("got %v, %v; want %s", u, err, c.want)
			}
		})
	}
}

func TestCheckURLTellsTheTenantWhatIsWrong(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DenyHosts = []string{"evil.example.com"}
	for _, c := range []struct {
		rule, raw string
		reason    Reason
		says      string
	}{
		{"scheme", "ftp://public.example.com/", BadTarget, "must begin with https:// or http://"},
		{"credentials", "https://user:pw@public.example.com/", BadTarget, "put them into the endpoint's authentication"},
		{"backslash", `https://public.example.com\a`, BadTarget, "backslash"},
		{"space", "https://public.example.com/a b", BadTarget, "percent-encoded"},
		{"line break", "https://public.example.com/\r\nX: y", BadTarget, "percent-encoded"},
		{"no host", "https:///a", BadTarget, "names no host"},
		{"short address", "https://127.1/", BadTarget, "four decimal numbers"},
		{"public address in octal", "https://0135.0270.0330.042/", BadTarget, "four decimal numbers"},
		{"zone", "https://[fe80::1%25eth0]/", BadTarget, "zone"},
		{"port", "https://public.example.com:6379/", PortNotAllowed, "port 6379 is not allowed"},
		{"port that does not exist", "https://public.example.com:0/", BadTarget, "from 1 to 65535"},
		{"private name", "https://vault.internal/", NameNotPublic, `"vault.internal" is not a public name`},
		{"private address", "https://10.0.0.1/", AddressNotPublic, `"10.0.0.1" is not a public one`},
		{"the operator's list", "https://evil.example.com/", DeniedByOperator, "ask its operator"},
		{"length", "https://public.example.com/" + strings.Repeat("a", maxURLBytes), BadTarget, "longer than 2048 bytes"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			policy, err := NewPolicy(cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = policy.CheckURL(c.raw)
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Reason != c.reason || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v; want %s, %q", err, c.reason, c.says)
			}
		})
	}
}

func TestLoopbackForDevelopment(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AllowLoopback = true
	policy, err := NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for raw, allowed := range map[string]bool{
		"http://localhost:9000/": true, "http://LOCALHOST.:22/": true, "http://127.0.0.1:6379/": true, "http://[::1]:9000/": true,
		"http://127.1/": false, "http://a.localhost/": false, "http://[::ffff:127.0.0.1]/": false, "http://10.0.0.1/": false,
		"http://redis:6379/": false, "http://0.0.0.0/": false, "http://public.example.com:22/": false,
	} {
		if _, err := policy.CheckURL(raw); (err == nil) != allowed {
			t.Errorf("%s: %v; want allowed: %t", raw, err, allowed)
		}
	}
}
