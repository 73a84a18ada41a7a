package sinks

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// FuzzAChangedDelivery holds that a delivery that verifies does so again, and
// that it does not once any one byte of what was signed, its id, its time or
// its body, is another, or one of the signature that does not still spell the
// same: by Standard Webhooks, symmetric or not, and by Convoy's signature,
// simple or advanced, in each hash and encoding.
func FuzzAChangedDelivery(f *testing.F) {
	f.Add("msg_1", []byte(testPayload), "a secret", uint16(0), byte(1))
	f.Add("a.b", []byte{}, "x", uint16(9), byte(0x20))
	f.Add("0193a1c0-7e5b-7cc0-8000-000000000000", []byte("\xff.1700000000."), "s", uint16(41), byte(4))
	signing := millrace.NewSigningKey()
	f.Fuzz(func(t *testing.T, id string, body []byte, secret string, place uint16, by byte) {
		if id == "" || secret == "" || strings.HasPrefix(secret, "whsec_") || strings.HasPrefix(secret, "whpk_") {
			return
		}
		for rule, s := range signedEveryWay(t, signed{id: id, unix: 1700000000, body: body}, secret, signing) {
			for range 2 {
				if err := s.verify(s.header, body); err != nil {
					t.Fatalf("%s: what was signed is refused: %v", rule, err)
				}
			}
			if by == 0 {
				continue
			}
			if len(body) > 0 && s.verify(s.header, []byte(altered(string(body), place, by))) == nil {
				t.Errorf("%s: it holds for another body", rule)
			}
			for name := range s.header {
				value := s.header.Get(name)
				other := altered(value, place, by)
				if s.verify(with(s.header, name, other), body) == nil && !(name == s.signature && sameSum(value, other)) {
					t.Errorf("%s: %s was %q, and %q holds", rule, name, value, other)
				}
			}
		}
	})
}

// proof is a signature with the header that has it, and how it is verified.
type proof struct {
	header    http.Header
	signature string
	verify    func(http.Header, []byte) error
}

func signedEveryWay(t *testing.T, s signed, secret string, signing millrace.Sensitive) map[string]proof {
	t.Helper()
	now := time.Unix(s.unix, 0)
	standard := func(secrets []millrace.Secret, signing millrace.Sensitive, by string) proof {
		value, err := s.standard(secrets, signing)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"Webhook-Id": {s.id}, "Webhook-Timestamp": {strconv.FormatInt(s.unix, 10)}, "Webhook-Signature": {value}}
		return proof{header, "Webhook-Signature", Verifier{Secrets: []string{by}, Now: now}.Standard}
	}
	all := map[string]proof{
		"v1":  standard(secretsOf(secret), "", secret),
		"v1a": standard(nil, signing, millrace.Endpoint{SigningKey: signing}.VerifyingKey()),
	}
	for _, version := range []millrace.SignatureVersion{{Hash: "SHA256", Encoding: "hex"}, {Hash: "SHA512", Encoding: "base64"}} {
		c := millrace.SignatureConfig{Versions: []millrace.SignatureVersion{version}}
		for kind, advanced := range map[string]bool{"simple": false, "advanced": true} {
			value, err := s.convoy(c, secretsOf(secret), advanced)
			if err != nil {
				t.Fatal(err)
			}
			verify := Verifier{Secrets: []string{secret}, Signature: c, Now: now}.Convoy
			all["Convoy, "+kind+", in "+version.Encoding] = proof{http.Header{"X-Convoy-Signature": {value}}, "X-Convoy-Signature", verify}
		}
	}
	return all
}

// altered is a text with one of its bytes changed.
func altered(text string, place uint16, by byte) string {
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
	return a[:cut] == b[:cut] && errX == nil && errY == nil && string(x) == string(y)
}
