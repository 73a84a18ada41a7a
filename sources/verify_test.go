package sources

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// signedBody is what the signatures below are of, but for those that providers
// publish. They were made with Python's hmac, and one of them with openssl.
const signedBody = `{"id":7,"note":"café — 1.50"}` + "\n"

// slacksExample is the request that Slack's documentation signs.
const slacksExample = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar" +
	"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F" +
	"T1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"

const signedAt = 1700000000

// genuine is a request as its sender makes it.
type genuine struct {
	source millrace.Source
	header map[string]string
	body   string
	at     int64
	// signature is the header that has it, and stamp the one that has its
	// time; empty where there is none.
	signature, stamp string
}

func byProvider(p millrace.Provider, secret string) millrace.Source {
	return millrace.Source{Type: millrace.SourceHTTP, Provider: p, Verifier: millrace.Verifier{HMAC: &millrace.HMACVerifier{Secret: millrace.Sensitive(secret)}}}
}

func byHMAC(hash, encoding string) millrace.Source {
	v := millrace.Verifier{Type: millrace.VerifyHMAC, HMAC: &millrace.HMACVerifier{Header: "X-Signature", Hash: hash, Encoding: encoding, Secret: "s3cret"}}
	return millrace.Source{Type: millrace.SourceHTTP, Verifier: v}
}

func genuineRequests(t testing.TB) map[string]genuine {
	t.Helper()
	const (
		github, shopify = "X-Hub-Signature-256", "X-Shopify-Hmac-Sha256"
		twitter, stripe = "X-Twitter-Webhooks-Signature", "Stripe-Signature"
		slack, slackAt  = "X-Slack-Signature", "X-Slack-Request-Timestamp"
		standard        = "Webhook-Signature"
		standardAt      = "Webhook-Timestamp"
	)
	stripeSecret, slackSecret := "whsec_test_secret", "8f742231b10e8888abcd99yyyzzz85a5"
	all := map[string]genuine{
		"GitHub, its own example": {
			byProvider(millrace.ProviderGitHub, "It's a Secret to Everybody"),
			map[string]string{github: "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, "Hello, World!", signedAt, github, "",
		},
		"Slack, its own example": {
			byProvider(millrace.ProviderSlack, slackSecret),
			map[string]string{slack: "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503", slackAt: "1531420618"}, slacksExample, 1531420618, slack, slackAt,
		},
		"Slack": {
			byProvider(millrace.ProviderSlack, slackSecret),
			map[string]string{slack: "v0=fcbafc69a6f6b3f940c7921501325b51413665277da2c7134457af982dc10ac3", slackAt: "1700000000"}, signedBody, signedAt, slack, slackAt,
		},
		"Shopify": {
			byProvider(millrace.ProviderShopify, "hush"),
			map[string]string{shopify: "iTK9dIFcbwNEclp3CRORBh69Odflx0ykvRT3ZWzKAuA="}, signedBody, signedAt, shopify, "",
		},
		"Twitter": {
			byProvider(millrace.ProviderTwitter, "consumer-secret"),
			map[string]string{twitter: "sha256=DRO5B95/trkW/IqeaIOp3dHyDpP0MrU8bfToGAM7zr4="}, signedBody, signedAt, twitter, "",
		},
		"Stripe": {
			byProvider(millrace.ProviderStripe, stripeSecret),
			map[string]string{stripe: "v0=00ff,t=1700000000,v1=9509fc77611c33bf72e913b253d84d28fc1a6d8eafb3862fca4c99dd401a8448"}, signedBody, signedAt, stripe, stripe,
		},
		"Stripe, while a secret is replaced": {
			byProvider(millrace.ProviderStripe, stripeSecret),
			map[string]string{stripe: "t=1700000000, v1=4a995ac62300e4cd2209caee618eae54f1df818ad06ea0e4a1ad19724f338a7b, v1=9509fc77611c33bf72e913b253d84d28fc1a6d8eafb3862fca4c99dd401a8448"},
			signedBody, signedAt, stripe, stripe,
		},
		"an HMAC of SHA-256 in hex": {byHMAC("SHA256", "hex"), map[string]string{
			"X-Signature": "12fba74c1212fda3082e97af41c2276373d2cef5ca9d709c27bd1d587c5dc6bd"}, signedBody, signedAt, "X-Signature", ""},
		"an HMAC in capital hex": {byHMAC("SHA256", "hex"), map[string]string{
			"X-Signature": "12FBA74C1212FDA3082E97AF41C2276373D2CEF5CA9D709C27BD1D587C5DC6BD"}, signedBody, signedAt, "X-Signature", ""},
		"an HMAC of SHA-256 in base64": {byHMAC("SHA256", "base64"), map[string]string{
			"X-Signature": "EvunTBIS/aMILpevQcInY3PSzvXKnXCcJ70dWHxdxr0="}, signedBody, signedAt, "X-Signature", ""},
		"an HMAC of SHA-512 in hex": {byHMAC("SHA512", "hex"), map[string]string{
			"X-Signature": "f5d1f7c9f35d2b1cced0cd40579ad16f2d4bafc446e67b740e69a26705787c8c635b928133ef2db4f0d3875367bb334c45077dc7d4385764cb98433390519cb4"},
			signedBody, signedAt, "X-Signature", ""},
		"an HMAC of SHA-512 in base64": {byHMAC("SHA512", "base64"), map[string]string{
			"X-Signature": "9dH3yfNdKxzO0M1AV5rRby1Lr8RG5nt0DmmiZwV4fIxjW5KBM+8ttPDTh1NnuzNMRQd9x9Q4V2TLmEMzkFGctA=="}, signedBody, signedAt, "X-Signature", ""},
		"Standard Webhooks by the secret's characters": {
			byProvider(millrace.ProviderStandardWebhooks, "plain characters!"),
			map[string]string{"Webhook-Id": "msg_1", standardAt: "1700000000", standard: "v1,JyFA8t3dyBbwYkT+Zhal0tBYKXibuaKbtPn0HKdLa+I="}, signedBody, signedAt, standard, standardAt,
		},
		"Standard Webhooks by base64 without a prefix, one of several": {
			byProvider(millrace.ProviderStandardWebhooks, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
			map[string]string{"Webhook-Id": "msg_1", standardAt: "1700000000", standard: "v1a,AAAA v1,AAAA v1,rhv/mP1ONtpF5bQ/EvItRGH7184i+zmnoLANLX5fTYo= v2,x"},
			signedBody, signedAt, standard, standardAt,
		},
	}
	for _, v := range standardVectors(t) {
		secret := v.Secret
		if v.Public != "" {
			secret = v.Public
		}
		all["the vector of Standard Webhooks for "+v.Scheme] = genuine{
			byProvider(millrace.ProviderStandardWebhooks, secret),
			map[string]string{"Webhook-Id": v.ID, standardAt: "1614265330", standard: v.Signature}, v.Body, v.Timestamp, standard, standardAt,
		}
	}
	return all
}

type standardVector struct {
	Scheme, Secret, Public, ID, Body, Signature string
	Timestamp                                   int64
}

func standardVectors(t testing.TB) (vectors []standardVector) {
	t.Helper()
	text, err := os.ReadFile("testdata/standard-webhooks.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) != 2 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	return vectors
}

// verify judges the request, so much later than it was signed.
func (g genuine) verify(after time.Duration) error {
	r := httptest.NewRequest(http.MethodPost, "/ingest/x", http.NoBody)
	for name, value := range g.header {
		r.Header.Set(name, value)
	}
	in := Inbound{Now: func() time.Time { return time.Unix(g.at, 0).Add(after) }}
	return in.Verify(g.source, r, []byte(g.body))
}

// with is the same request with another header; an empty value: without it.
func (g genuine) with(name, value string) genuine {
	next := map[string]string{}
	for n, v := range g.header {
		next[n] = v
	}
	next[name] = value
	if value == "" {
		delete(next, name)
	}
	g.header = next
	return g
}

func TestVerifyTakesWhatIsGenuine(t *testing.T) {
	for name, g := range genuineRequests(t) {
		t.Run(name, func(t *testing.T) {
			if err := g.verify(0); err != nil {
				t.Errorf("just sent: %v", err)
			}
			for _, off := range []time.Duration{-tolerance, tolerance} {
				if err := g.verify(off); err != nil {
					t.Errorf("received %s after it was signed: %v", off, err)
				}
			}
		})
	}
}

func TestVerifyRefusesWhatIsNot(t *testing.T) {
	for name, g := range genuineRequests(t) {
		t.Run(name, func(t *testing.T) {
			tampered, cut, long := g, g, g
			tampered.body = strings.Replace(g.body, "e", "f", 1)
			cut.body, long.body = g.body[:len(g.body)-1], g.body+"\n"
			g.refuses(t, "a tampered body", tampered)
			g.refuses(t, "a body cut short", cut)
			g.refuses(t, "a body with more behind it", long)
			g.refuses(t, "no body", genuine{source: g.source, header: g.header, at: g.at})
			g.refuses(t, "a signature with another end", g.with(g.signature, flipped(g.header[g.signature])))
			g.refuses(t, "a signature that cannot be read", g.with(g.signature, "sha256=zz"))
			for header := range g.header {
				g.refuses(t, "no "+header, g.with(header, ""))
			}
			other := g
			other.source.Verifier.HMAC = &millrace.HMACVerifier{Secret: "another"}
			if g.source.Provider == millrace.ProviderNone {
				v := *g.source.Verifier.HMAC
				v.Secret = "another"
				other.source.Verifier.HMAC = &v
			}
			g.refuses(t, "another secret", other)
			other.source.Verifier.HMAC = nil
			g.refuses(t, "a source without a secret", other)
			if g.stamp == "" {
				return
			}
			for _, off := range []time.Duration{-tolerance - time.Second, tolerance + time.Second} {
				if err := g.verify(off); millrace.CodeOf(err) != millrace.CodeUnauthenticated {
					t.Errorf("received %s after it was signed: %v", off, err)
				}
			}
			for _, stamp := range []string{"soon", "", "1e9", "9223372036854775807", "-9223372036854775808", "99999999999999999999"} {
				value := stamp
				if g.stamp == g.signature {
					value = strings.Replace(g.header[g.stamp], "1700000000", stamp, 1)
				}
				g.refuses(t, "the time "+stamp, g.with(g.stamp, value))
			}
		})
	}
}

// refuses requires that another request is refused, without a hint of what
// would have been right.
func (g genuine) refuses(t *testing.T, what string, other genuine) {
	t.Helper()
	err := other.verify(0)
	if millrace.CodeOf(err) != millrace.CodeUnauthenticated {
		t.Errorf("%s: %v", what, err)
		return
	}
	_, right, _ := strings.Cut(g.header[g.signature], "=")
	for _, secret := range []string{g.source.Verifier.HMAC.Secret.Reveal(), g.header[g.signature], right} {
		if len(secret) > 3 && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error tells %q: %v", what, secret, err)
		}
	}
}

// flipped changes a digit of the signature: one of the last, as hex and base64
// have them.
func flipped(signature string) string {
	i := strings.LastIndexAny(signature, "0123456789abcdefABCDEF")
	for i > 0 && strings.ContainsAny(signature[i:i+1], "=") {
		i--
	}
	i -= 4
	other := byte('0')
	if signature[i] == '0' {
		other = '1'
	}
	return signature[:i] + string(other) + signature[i+1:]
}

func TestVerifyByBasicAuthAndByKey(t *testing.T) {
	basic := millrace.Source{Verifier: millrace.Verifier{Type: millrace.VerifyBasic, Basic: &millrace.BasicVerifier{Username: "hook", Password: "pass:word"}}}
	key := millrace.Source{Verifier: millrace.Verifier{Type: millrace.VerifyAPIKey, APIKey: &millrace.APIKeyVerifier{Header: "X-Key", Value: "k3y"}}}
	noop := millrace.Source{Verifier: millrace.Verifier{Type: millrace.VerifyNothing}}
	for rule, c := range map[string]struct {
		source millrace.Source
		change func(*http.Request)
		taken  bool
	}{
		"the user and the password":              {basic, func(r *http.Request) { r.SetBasicAuth("hook", "pass:word") }, true},
		"another password":                       {basic, func(r *http.Request) { r.SetBasicAuth("hook", "pass:worD") }, false},
		"another user":                           {basic, func(r *http.Request) { r.SetBasicAuth("hooks", "pass:word") }, false},
		"no user":                                {basic, func(*http.Request) {}, false},
		"a bearer token":                         {basic, func(r *http.Request) { r.Header.Set("Authorization", "Bearer hook") }, false},
		"the key":                                {key, func(r *http.Request) { r.Header.Set("x-key", "k3y") }, true},
		"another key":                            {key, func(r *http.Request) { r.Header.Set("X-Key", "k3Y") }, false},
		"the beginning of the key":               {key, func(r *http.Request) { r.Header.Set("X-Key", "k3") }, false},
		"no key":                                 {key, func(*http.Request) {}, false},
		"anything, where nothing is verified":    {noop, func(*http.Request) {}, true},
		"anything, where no verifier is set":     {millrace.Source{}, func(*http.Request) {}, true},
		"a provider that is not known":           {byProvider("acme", "s"), func(*http.Request) {}, false},
		"a verifier that is not known":           {millrace.Source{Verifier: millrace.Verifier{Type: "magic"}}, func(*http.Request) {}, false},
		"a verifier whose part is not there":     {millrace.Source{Verifier: millrace.Verifier{Type: millrace.VerifyAPIKey}}, func(*http.Request) {}, false},
		"an empty password of a broken source":   {emptyBasic(), func(r *http.Request) { r.SetBasicAuth("hook", "") }, false},
		"a source of a provider without secrets": {millrace.Source{Provider: millrace.ProviderGitHub}, func(*http.Request) {}, false},
	} {
		t.Run(rule, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/ingest/x", http.NoBody)
			c.change(r)
			err := Inbound{Now: time.Now}.Verify(c.source, r, nil)
			if (err == nil) != c.taken || err != nil && millrace.CodeOf(err) != millrace.CodeUnauthenticated {
				t.Errorf("error %v", err)
			}
			if err != nil && (strings.Contains(err.Error(), "k3y") || strings.Contains(err.Error(), "pass:word")) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func emptyBasic() millrace.Source {
	return millrace.Source{Verifier: millrace.Verifier{Type: millrace.VerifyBasic, Basic: &millrace.BasicVerifier{Username: "hook"}}}
}

func TestNoMoreSignaturesAreLookedAtThanASenderHas(t *testing.T) {
	if _, found := parseStripe("t=1" + strings.Repeat(",v1=00", 100)); len(found) != mostSignatures {
		t.Errorf("%d of Stripe's", len(found))
	}
	if found := parseStandard(strings.Repeat("v1,AAAA ", 100), "v1"); len(found) != mostSignatures {
		t.Errorf("%d of Standard Webhooks'", len(found))
	}
}

func TestOfTwoTimesNoneIsBelieved(t *testing.T) {
	g := genuineRequests(t)["Stripe"]
	g.refuses(t, "a second time", g.with(g.signature, g.header[g.signature]+",t=1700000000"))
}

// FuzzVerify: strangers' headers end in a refusal, and never in a panic.
func FuzzVerify(f *testing.F) {
	var sources []millrace.Source
	var names []string
	for name, g := range genuineRequests(f) {
		sources, names = append(sources, g.source), append(names, name)
		f.Add(g.header[g.signature], g.header[g.stamp], g.body)
	}
	f.Add("t=1700000000,v1=,v1=zz,=,,t", "-1", "")
	f.Add("v1, v1a,AAAA v1,", "1700000000", "{")
	f.Fuzz(func(t *testing.T, signature, stamp, body string) {
		for i, s := range sources {
			s.Verifier.HMAC = &millrace.HMACVerifier{
				Header: s.Verifier.HMAC.Header, Hash: s.Verifier.HMAC.Hash, Encoding: s.Verifier.HMAC.Encoding,
				Secret: "a secret that signed none of the seeds",
			}
			r := httptest.NewRequest(http.MethodPost, "/ingest/x", http.NoBody)
			for _, header := range []string{
				"X-Hub-Signature-256", "X-Shopify-Hmac-Sha256", "X-Twitter-Webhooks-Signature", "Stripe-Signature", "X-Slack-Signature", "Webhook-Signature", "X-Signature",
			} {
				r.Header.Set(header, signature)
			}
			r.Header.Set("X-Slack-Request-Timestamp", stamp)
			r.Header.Set("Webhook-Timestamp", stamp)
			r.Header.Set("Webhook-Id", "msg_1")
			in := Inbound{Now: func() time.Time { return time.Unix(signedAt, 0) }}
			if err := in.Verify(s, r, []byte(body)); millrace.CodeOf(err) != millrace.CodeUnauthenticated {
				t.Errorf("%s took it: %v", names[i], err)
			}
		}
	})
}

// Of an id that is there twice the first alone is signed, and both would be
// the key of the event: what was taken before would be taken again.
func TestASignedIDIsThereOnce(t *testing.T) {
	g := genuineRequests(t)["Standard Webhooks by the secret's characters"]
	r := httptest.NewRequest(http.MethodPost, "/ingest/x", http.NoBody)
	for name, value := range g.header {
		r.Header.Set(name, value)
	}
	r.Header.Add("Webhook-Id", "msg_2")
	in := Inbound{Now: func() time.Time { return time.Unix(g.at, 0) }}
	if err := in.Verify(g.source, r, []byte(g.body)); millrace.CodeOf(err) != millrace.CodeUnauthenticated {
		t.Errorf("a second id beside the signed one: %v", err)
	}
}

func TestASignatureOfAnotherFormIsToldWhichItMustHave(t *testing.T) {
	for _, c := range []struct {
		rule   string
		source millrace.Source
		header string
		form   string
	}{
		{"without a prefix", byHMAC("SHA256", "hex"), "X-Signature", "it must be the hex of an HMAC"},
		{"with a prefix", byProvider(millrace.ProviderGitHub, "s"), "X-Hub-Signature-256", "it must be sha256= and the hex of an HMAC"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			g := genuine{source: c.source, header: map[string]string{c.header: "zz"}, body: "x"}
			if err := g.verify(0); err == nil || !strings.HasSuffix(err.Error(), c.form) {
				t.Errorf("it says %v, want %q", err, c.form)
			}
		})
	}
}
