package sources

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// tolerance is how far the time of a signature may be from the clock, either
// way, as Standard Webhooks, Stripe and Slack have it.
const tolerance = 5 * time.Minute

// evidence is what a request is verified by: its raw bytes, and the moment.
type evidence struct {
	request *http.Request
	body    []byte
	now     time.Time
}

// Verify says why a request does not come from whom its source expects; nil:
// it does. The error says what is missing or wrong, and never what would have
// been right.
func (i Inbound) Verify(s millrace.Source, r *http.Request, body []byte) error {
	e := evidence{request: r, body: body, now: i.Now()}
	if s.Provider != millrace.ProviderNone {
		if s.Verifier.HMAC == nil || s.Verifier.HMAC.Secret == "" {
			return errNoSecret
		}
		return e.ofProvider(s.Provider, s.Verifier.HMAC.Secret)
	}
	return e.ofVerifier(s.Verifier)
}

// A source that could not tell right from wrong takes nothing.
var (
	errNoSecret   = refused("the source has no secret to verify by")
	errNoVerifier = refused("the source does not say how to verify")
)

func refused(format string, args ...any) error {
	return millrace.Errorf(millrace.CodeUnauthenticated, format, args...)
}

func missing(header string) error { return refused("the header %s is missing", header) }

func unreadable(header, form string) error {
	return refused("the header %s cannot be read: it must be %s", header, form)
}

func mismatch(header string) error {
	return refused("the signature in %s does not match: the body is another than was signed, or the secret is", header)
}

func (e evidence) ofProvider(p millrace.Provider, secret millrace.Sensitive) error {
	key := []byte(secret.Reveal())
	switch p {
	case millrace.ProviderGitHub:
		return e.signed(plain{header: "X-Hub-Signature-256", prefix: "sha256=", hash: sha256.New, encoding: "hex", key: key})
	case millrace.ProviderShopify:
		return e.signed(plain{header: "X-Shopify-Hmac-Sha256", hash: sha256.New, encoding: "base64", key: key})
	case millrace.ProviderTwitter:
		return e.twitter(key)
	case millrace.ProviderStripe:
		return e.stripe(key)
	case millrace.ProviderSlack:
		return e.slack(key)
	case millrace.ProviderStandardWebhooks:
		return e.standard(secret)
	}
	return errNoVerifier
}

func (e evidence) ofVerifier(v millrace.Verifier) error {
	switch {
	case v.Type == millrace.VerifyNothing || v.Type == "":
		return nil
	case v.Type == millrace.VerifyHMAC && v.HMAC != nil && v.HMAC.Secret != "":
		p := plain{header: v.HMAC.Header, hash: sha256.New, encoding: v.HMAC.Encoding, key: []byte(v.HMAC.Secret.Reveal())}
		if v.HMAC.Hash == "SHA512" {
			p.hash = sha512.New
		}
		return e.signed(p)
	case v.Type == millrace.VerifyBasic && v.Basic != nil && v.Basic.Password != "":
		return e.basic(*v.Basic)
	case v.Type == millrace.VerifyAPIKey && v.APIKey != nil && v.APIKey.Value != "":
		return e.apiKey(*v.APIKey)
	}
	return errNoVerifier
}

// plain is a signature that is nothing but an HMAC of the body in a header.
type plain struct {
	header, prefix string
	hash           func() hash.Hash
	encoding       string // hex or base64
	key            []byte
}

// form says what the header must be.
func (p plain) form() string {
	form := "the " + p.encoding + " of an HMAC"
	if p.prefix == "" {
		return form
	}
	return p.prefix + " and " + form
}

func (e evidence) signed(p plain) error {
	given := e.request.Header.Get(p.header)
	if given == "" {
		return missing(p.header)
	}
	coded, prefixed := strings.CutPrefix(given, p.prefix)
	sum, err := decode(p.encoding, coded)
	if err != nil || !prefixed {
		return unreadable(p.header, p.form())
	}
	if !hmac.Equal(sum, sumOf(p.hash, p.key, e.body)) {
		return mismatch(p.header)
	}
	return nil
}

func decode(encoding, text string) ([]byte, error) {
	if encoding == "base64" {
		return base64.StdEncoding.DecodeString(text)
	}
	return hex.DecodeString(text)
}

func sumOf(h func() hash.Hash, key []byte, parts ...[]byte) []byte {
	mac := hmac.New(h, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

func (e evidence) basic(want millrace.BasicVerifier) error {
	user, password, given := e.request.BasicAuth()
	if !given {
		return refused("send a user and a password: Authorization: Basic <base64 of user:password>")
	}
	if same(user, want.Username)&same(password, want.Password.Reveal()) != 1 {
		return refused("the user or the password is wrong")
	}
	return nil
}

func (e evidence) apiKey(want millrace.APIKeyVerifier) error {
	given := e.request.Header.Get(want.Header)
	if given == "" {
		return missing(want.Header)
	}
	if same(given, want.Value.Reveal()) != 1 {
		return refused("the key in %s is wrong", want.Header)
	}
	return nil
}

// same compares in a time that does not tell how far they agree, nor how long
// they are; 1: they do.
func same(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}
