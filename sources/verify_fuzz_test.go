package sources

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

const fuzzKey = "a secret of the two of us"

// sender makes the headers that prove a body, as its documentation says.
type sender struct {
	source millrace.Source
	// signature is the header that has it.
	signature string
	sign      func(body string) map[string]string
}

// senders write down each way to sign once more, plainly.
func senders() map[string]sender {
	const at = "1700000000"
	mac := func(h func() hash.Hash, text string) []byte {
		m := hmac.New(h, []byte(fuzzKey))
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	inHex := func(text string) string { return hex.EncodeToString(mac(sha256.New, text)) }
	inBase64 := func(text string) string { return base64.StdEncoding.EncodeToString(mac(sha256.New, text)) }
	alone := func(source millrace.Source, header string, value func(body string) string) sender {
		if source.Provider == millrace.ProviderNone {
			source.Verifier.HMAC.Secret = fuzzKey
		}
		return sender{source, header, func(body string) map[string]string { return map[string]string{header: value(body)} }}
	}
	return map[string]sender{
		"GitHub":  alone(byProvider(millrace.ProviderGitHub, fuzzKey), "X-Hub-Signature-256", func(b string) string { return "sha256=" + inHex(b) }),
		"Shopify": alone(byProvider(millrace.ProviderShopify, fuzzKey), "X-Shopify-Hmac-Sha256", inBase64),
		"Twitter": alone(byProvider(millrace.ProviderTwitter, fuzzKey), "X-Twitter-Webhooks-Signature", func(b string) string { return "sha256=" + inBase64(b) }),
		"Stripe":  alone(byProvider(millrace.ProviderStripe, fuzzKey), "Stripe-Signature", func(b string) string { return "t=" + at + ",v1=" + inHex(at+"."+b) }),
		"Slack": {byProvider(millrace.ProviderSlack, fuzzKey), "X-Slack-Signature", func(b string) map[string]string {
			return map[string]string{"X-Slack-Signature": "v0=" + inHex("v0:"+at+":"+b), "X-Slack-Request-Timestamp": at}
		}},
		"Standard Webhooks": {byProvider(millrace.ProviderStandardWebhooks, fuzzKey), "Webhook-Signature", func(b string) map[string]string {
			return map[string]string{"Webhook-Signature": "v1," + inBase64("msg_1."+at+"."+b), "Webhook-Id": "msg_1", "Webhook-Timestamp": at}
		}},
		"Convoy, simple": alone(byHMAC("SHA512", "base64"), "X-Signature", func(b string) string { return base64.StdEncoding.EncodeToString(mac(sha512.New, b)) }),
		"an HMAC in hex": alone(byHMAC("SHA256", "hex"), "X-Signature", inHex),
	}
}

// FuzzAChangedRequest holds that what a sender signed is taken, and taken
// again, and that a request in which any one byte is another is refused: of
// the body, of what else is signed, and of the signature itself, but for one
// that still spells the same sum.
func FuzzAChangedRequest(f *testing.F) {
	f.Add(signedBody, uint16(0), byte(1))
	f.Add("", uint16(7), byte(0x20))
	f.Add("\xff\x00", uint16(40), byte(3))
	f.Fuzz(func(t *testing.T, body string, place uint16, by byte) {
		for name, s := range senders() {
			if s.source.Provider == millrace.ProviderTwitter {
				body = "{" + body
			}
			header := s.sign(body)
			for range 2 {
				if err := s.taken(header, body); err != nil {
					t.Fatalf("%s: what was signed is refused: %v", name, err)
				}
			}
			if by == 0 {
				continue
			}
			if changed := altered(body, place, by); changed != body && s.taken(header, changed) == nil {
				t.Errorf("%s: signed was %q, and %q is taken", name, body, changed)
			}
			for of, value := range header {
				other := maps.Clone(header)
				other[of] = altered(value, place, by)
				if s.taken(other, body) == nil && !(of == s.signature && sameSum(value, other[of])) {
					t.Errorf("%s: %s was %q, and %q is taken", name, of, value, other[of])
				}
			}
		}
	})
}

func (s sender) taken(header map[string]string, body string) error {
	r := httptest.NewRequest(http.MethodPost, "/ingest/x", http.NoBody)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return Inbound{Now: func() time.Time { return time.Unix(signedAt, 0) }}.Verify(s.source, r, []byte(body))
}

// altered is a text with one of its bytes changed.
func altered(text string, place uint16, by byte) string {
	if text == "" {
		return text
	}
	b := []byte(text)
	b[int(place)%len(b)] ^= by
	return string(b)
}

// sameSum tells whether two spellings of a signature decode to the same bytes:
// hex has two cases, and the last digit of base64 some bits that say nothing.
func sameSum(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	cut := strings.LastIndexAny(strings.TrimRight(a, "="), "=,") + 1
	x, errX := base64.StdEncoding.DecodeString(a[cut:])
	y, errY := base64.StdEncoding.DecodeString(b[cut:])
	return a[:cut] == b[:cut] && errX == nil && errY == nil && bytes.Equal(x, y)
}
