package egress

import (
	"bufio"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

type ssrfCase struct{ url, verdict, why string }

func ssrfCases(t testing.TB) []ssrfCase {
	t.Helper()
	file, err := os.Open("testdata/ssrf-cases.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var cases []ssrfCase
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 3 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		cases = append(cases, ssrfCase{fields[0], fields[1], fields[2]})
	}
	if len(cases) < 95 {
		t.Fatalf("only %d cases", len(cases))
	}
	return cases
}

// caseZone resolves the names of the cases as their notes say.
func caseZone() *zone {
	return &zone{
		answers: map[string][][]string{
			"public.example.com": {{"93.184.216.34"}},
			"rebind.example.com": {{"10.0.0.5"}},
			"mixed.example.com":  {{"93.184.216.34", "127.0.0.1"}},
			"mapped.example.com": {{"::ffff:10.0.0.5"}},
			"compat.example.com": {{"::7f00:1"}},
			"cname.example.com":  {{"93.184.216.34"}}, // public, so that it is the name that is refused
			"flip.example.com":   {{"93.184.216.34"}, {"127.0.0.1"}},
		},
		aliases: map[string]string{"cname.example.com": "metadata.google.internal."},
	}
}

func TestWhatIsRejectedWhenAnEndpointIsMade(t *testing.T) {
	policy, err := NewPolicy(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range ssrfCases(t) {
		t.Run(c.why+" "+c.url, func(t *testing.T) {
			u, err := policy.CheckURL(c.url)
			if c.verdict != "reject" {
				if err != nil {
					t.Fatalf("%s: %v", c.verdict, err)
				}
				return
			}
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("accepted as %v", u)
			}
			if !refusal.Reason.denies() || !strings.HasSuffix(refusal.Message, ".") || strings.ContainsAny(refusal.Message, "\r\n") {
				t.Errorf("not one sentence with a reason: %q %q", refusal.Reason, refusal.Message)
			}
		})
	}
}

func TestWhatIsRejectedIsDeniedAtTheEgressToo(t *testing.T) {
	z, d := caseZone(), &wire{to: destination(t, echo)}
	p := startProxy(t, testConfig(), withResolver(z), withDial(d.dial))
	for _, c := range ssrfCases(t) {
		target := rawTarget(c.url)
		if c.verdict != "reject" || target == "" {
			continue
		}
		t.Run(c.why+" "+c.url, func(t *testing.T) {
			_, res := p.connect(t, target)
			if res.StatusCode != 403 && res.StatusCode != 400 {
				t.Fatalf("CONNECT %s: %s", target, res.Status)
			}
		})
	}
	if got := d.addresses(); len(got) > 0 {
		t.Errorf("dialled %v", got)
	}
}

// rawTarget is what a careless client would CONNECT to for a URL: its authority as it stands. It is empty where the host is not what is
// wrong with the URL.
func rawTarget(raw string) string {
	scheme, _, _ := strings.Cut(strings.ToLower(raw), ":")
	if scheme != "http" && scheme != "https" || !strings.Contains(raw, "://") {
		return ""
	}
	host := authority(raw)
	if !hasPort(raw) {
		host += ":80"
	}
	return host
}

func TestWhatTheNameHidesIsDeniedAtTheEgress(t *testing.T) {
	z, d := caseZone(), &wire{to: destination(t, echo)}
	p := startProxy(t, testConfig(), withResolver(z), withDial(d.dial))
	for _, c := range ssrfCases(t) {
		u, err := url.Parse(c.url)
		if c.verdict == "reject" || err != nil {
			continue
		}
		t.Run(c.why+" "+c.url, func(t *testing.T) {
			port := u.Port()
			if port == "" {
				port = "443"
			}
			target := strings.TrimSuffix(u.Host, ":"+port) + ":" + port
			if c.verdict == "allow" {
				conn, res := p.connect(t, target)
				wantAnswer(t, res, 200, Allowed)
				conn.wantEcho(t, "hello")
				return
			}
			denied := 0
			for range 4 { // retries: flip is public every other time
				if _, res := p.connect(t, target); res.StatusCode == 403 {
					denied++
				} else if !strings.HasPrefix(target, "flip.") {
					t.Fatalf("CONNECT %s: %s", target, res.Status)
				}
			}
			if denied == 0 {
				t.Error("never denied")
			}
		})
	}
	for _, text := range d.addresses() {
		addr := netip.MustParseAddr(text)
		if !slices.Contains([]string{"93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"}, text) || !decideRegistered(addr).Allow {
			t.Errorf("dialled %s", addr)
		}
	}
}
