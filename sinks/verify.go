package sinks

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
)

// DefaultTolerance is how far a signature's time may be from the clock, as
// Standard Webhooks recommends.
const DefaultTolerance = 5 * time.Minute

// The ways in which a signature does not hold.
var (
	ErrUnsigned  = errors.New("the request bears no readable signature")
	ErrStale     = errors.New("the signature is too old, or of the future")
	ErrSignature = errors.New("no signature matches any of the secrets")
)

// Verifier is a receiver's side of the signatures.
type Verifier struct {
	// Secrets are all that may have signed: whsec_… or plain characters; a
	// public key whpk_… verifies "v1a".
	Secrets []string
	// Signature is the project's header, hashes and encodings of Convoy's
	// signature.
	Signature millrace.SignatureConfig
	// Tolerance is how far the signature's time may be from Now; zero:
	// DefaultTolerance.
	Tolerance time.Duration
	Now       time.Time
}

// Standard checks the Standard Webhooks signature of a request. The error is
// ErrUnsigned, ErrStale or ErrSignature.
func (v Verifier) Standard(header http.Header, body []byte) error {
	id, signatures := header.Get("Webhook-Id"), header.Get("Webhook-Signature")
	unix, err := strconv.ParseInt(header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || id == "" || signatures == "" {
		return ErrUnsigned
	}
	if v.stale(unix) {
		return ErrStale
	}
	s := signed{id: id, unix: unix, body: body}
	for _, signature := range strings.Split(signatures, " ") {
		scheme, coded, _ := strings.Cut(signature, ",")
		sum, err := base64.StdEncoding.DecodeString(coded)
		if err == nil && v.matchesStandard(s, scheme, sum) {
			return nil
		}
	}
	return ErrSignature
}

func (v Verifier) matchesStandard(s signed, scheme string, sum []byte) bool {
	content := append(s.standardPrefix(), s.body...)
	for _, secret := range v.Secrets {
		public, asymmetric := strings.CutPrefix(secret, "whpk_")
		if asymmetric != (scheme == "v1a") || !asymmetric && scheme != "v1" {
			continue
		}
		if asymmetric {
			key, err := base64.StdEncoding.DecodeString(public)
			if err == nil && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, content, sum) {
				return true
			}
			continue
		}
		key, err := millrace.Secret{Value: millrace.Sensitive(secret)}.Key()
		if err != nil {
			continue
		}
		h := hmac.New(sha256.New, key)
		h.Write(content)
		if hmac.Equal(h.Sum(nil), sum) {
			return true
		}
	}
	return false
}

// Convoy checks Convoy's signature of a request, simple or advanced, whichever
// it bears. The error is ErrUnsigned, ErrStale or ErrSignature. A simple
// signature has no time and is never stale.
func (v Verifier) Convoy(header http.Header, body []byte) error {
	value := header.Get(convoyHeader(v.Signature))
	if value == "" {
		return ErrUnsigned
	}
	if !strings.Contains(value, ",") {
		for _, version := range convoyVersions(v.Signature) {
			if v.matchesConvoy(convoySum{version: version, body: body}, value) {
				return nil
			}
		}
		return ErrSignature
	}
	stamp, signatures, err := parseConvoy(value)
	if err != nil {
		return err
	}
	if v.stale(stamp) {
		return ErrStale
	}
	prefix := append(strconv.AppendInt(nil, stamp, 10), ',')
	versions := convoyVersions(v.Signature)
	for _, s := range signatures {
		if s.version > len(versions) {
			continue
		}
		if v.matchesConvoy(convoySum{version: versions[s.version-1], prefix: prefix, body: body}, s.value) {
			return nil
		}
	}
	return ErrSignature
}

func (v Verifier) matchesConvoy(c convoySum, value string) bool {
	given, err := decodeSum(c.version.Encoding, value)
	if err != nil {
		return false
	}
	for _, secret := range v.Secrets {
		if sum, err := c.sum(secret); err == nil && hmac.Equal(sum, given) {
			return true
		}
	}
	return false
}

func (v Verifier) stale(unix int64) bool {
	tolerance := v.Tolerance
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	return v.Now.Sub(time.Unix(unix, 0)).Abs() > tolerance
}

type convoySignature struct {
	version int
	value   string
}

// parseConvoy reads "t=…,v1=…,…" in any order; exactly one t.
func parseConvoy(header string) (unix int64, signatures []convoySignature, err error) {
	stamps := 0
	for _, member := range strings.Split(header, ",") {
		name, value, _ := strings.Cut(member, "=")
		if name == "t" {
			stamps++
			if unix, err = strconv.ParseInt(value, 10, 64); err != nil {
				return 0, nil, ErrUnsigned
			}
			continue
		}
		number, versioned := strings.CutPrefix(name, "v")
		if n, err := strconv.Atoi(number); versioned && err == nil && n > 0 {
			signatures = append(signatures, convoySignature{version: n, value: value})
		}
	}
	if stamps != 1 {
		return 0, nil, ErrUnsigned
	}
	return unix, signatures, nil
}

func decodeSum(encoding, value string) ([]byte, error) {
	if encoding == "base64" {
		return base64.StdEncoding.DecodeString(value)
	}
	return hex.DecodeString(value)
}
