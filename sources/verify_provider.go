package sources

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// mostSignatures bounds how many signatures of one request are looked at; a
// sender has several while it replaces a secret.
const mostSignatures = 16

// fresh judges the time of a signature, in seconds as it was written.
func (e evidence) fresh(header, text string) error {
	unix, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return unreadable(header, "the time in whole seconds")
	}
	if e.now.Sub(time.Unix(unix, 0)).Abs() > tolerance {
		return refused("the time in %s is more than %d minutes from now: it was sent once before, or a clock is wrong", header, int(tolerance.Minutes()))
	}
	return nil
}

// anyOf tells whether one of the signatures is the sum. All are compared.
func anyOf(given [][]byte, sum []byte) bool {
	found := false
	for _, one := range given {
		found = hmac.Equal(one, sum) || found
	}
	return found
}

// twitter takes objects alone: anything else may be the token of a challenge,
// which is signed for whoever asks (see challengeTwitter).
func (e evidence) twitter(key []byte) error {
	const header = "X-Twitter-Webhooks-Signature"
	if err := e.signed(plain{header: header, prefix: "sha256=", hash: sha256.New, encoding: "base64", key: key}); err != nil {
		return err
	}
	if !bytes.HasPrefix(e.body, []byte("{")) {
		return refused("the body must be a JSON object")
	}
	return nil
}

// stripe verifies "t=<unix s>,v1=<hex of an HMAC of t.body>[,v1=…]".
func (e evidence) stripe(key []byte) error {
	const header = "Stripe-Signature"
	given := e.request.Header.Get(header)
	if given == "" {
		return missing(header)
	}
	stamp, signatures := parseStripe(given)
	if stamp == "" || len(signatures) == 0 {
		return unreadable(header, "like t=1700000000,v1=<hex>")
	}
	if err := e.fresh(header, stamp); err != nil {
		return err
	}
	if !anyOf(signatures, sumOf(sha256.New, key, []byte(stamp), []byte("."), e.body)) {
		return mismatch(header)
	}
	return nil
}

// parseStripe reads the time and the signatures of scheme v1. With two times
// there is none: it would not be clear which one was signed.
func parseStripe(header string) (stamp string, signatures [][]byte) {
	for member := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		switch name {
		case "t":
			if stamp != "" {
				return "", nil
			}
			stamp = value
		case "v1":
			if sum, err := hex.DecodeString(value); err == nil && len(signatures) < mostSignatures {
				signatures = append(signatures, sum)
			}
		}
	}
	return stamp, signatures
}

// slack verifies "v0=<hex of an HMAC of v0:time:body>".
func (e evidence) slack(key []byte) error {
	const header, stampHeader = "X-Slack-Signature", "X-Slack-Request-Timestamp"
	given, stamp := e.request.Header.Get(header), e.request.Header.Get(stampHeader)
	switch {
	case given == "":
		return missing(header)
	case stamp == "":
		return missing(stampHeader)
	}
	coded, versioned := strings.CutPrefix(given, "v0=")
	sum, err := hex.DecodeString(coded)
	if err != nil || !versioned {
		return unreadable(header, "v0= and the hex of an HMAC")
	}
	if err := e.fresh(stampHeader, stamp); err != nil {
		return err
	}
	if !hmac.Equal(sum, sumOf(sha256.New, key, []byte("v0:"), []byte(stamp), []byte(":"), e.body)) {
		return mismatch(header)
	}
	return nil
}

// standard verifies a signature of Standard Webhooks: "v1,<base64>", an HMAC
// of id.time.body, or, where the source has a public key (whpk_…), "v1a", an
// ed25519 signature of the same. One of several is enough.
func (e evidence) standard(secret millrace.Sensitive) error {
	const idHeader, stampHeader, header = "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"
	h := e.request.Header
	id, stamp, given := h.Get(idHeader), h.Get(stampHeader), h.Get(header)
	switch {
	case id == "":
		return missing(idHeader)
	case stamp == "":
		return missing(stampHeader)
	case given == "":
		return missing(header)
	case len(h.Values(idHeader)) > 1:
		// One of them was signed, and all of them would be the event's key: what
		// was taken before would be taken again.
		return unreadable(idHeader, "there once")
	}
	if err := e.fresh(stampHeader, stamp); err != nil {
		return err
	}
	content := bytes.Join([][]byte{[]byte(id), []byte(stamp), e.body}, []byte("."))
	if public, asymmetric := strings.CutPrefix(secret.Reveal(), "whpk_"); asymmetric {
		if !signedBy(public, content, parseStandard(given, "v1a")) {
			return mismatch(header)
		}
		return nil
	}
	signatures := parseStandard(given, "v1")
	for _, key := range standardKeys(secret) {
		if anyOf(signatures, sumOf(sha256.New, key, content)) {
			return nil
		}
	}
	return mismatch(header)
}

// parseStandard reads the signatures of one scheme, between spaces.
func parseStandard(header, scheme string) (signatures [][]byte) {
	for one := range strings.FieldsSeq(header) {
		name, coded, _ := strings.Cut(one, ",")
		if name != scheme || len(signatures) == mostSignatures {
			continue
		}
		if sum, err := base64.StdEncoding.DecodeString(coded); err == nil {
			signatures = append(signatures, sum)
		}
	}
	return signatures
}

func signedBy(public string, content []byte, signatures [][]byte) bool {
	key, err := base64.StdEncoding.DecodeString(public)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return false
	}
	for _, one := range signatures {
		if ed25519.Verify(key, content, one) {
			return true
		}
	}
	return false
}

// standardKeys is what a secret may stand for: the bytes after whsec_, in
// base64; without that prefix its characters, as this gateway signs, or what
// they are the base64 of, as the libraries of Standard Webhooks do.
func standardKeys(secret millrace.Sensitive) [][]byte {
	var keys [][]byte
	if key, err := (millrace.Secret{Value: secret}).Key(); err == nil {
		keys = append(keys, key)
	}
	if key, err := base64.StdEncoding.DecodeString(secret.Reveal()); err == nil && len(key) > 0 {
		keys = append(keys, key)
	}
	return keys
}
