package millrace

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// Secret signs deliveries. Several may be live at once; one that expires
// still signs until it does.
type Secret struct {
	ID        ID
	Value     Sensitive
	CreatedAt time.Time
	ExpiresAt time.Time // zero: lives on
}

// Live returns the secrets that sign at the given moment, newest first.
func Live(secrets []Secret, at time.Time) []Secret {
	var live []Secret
	for i := len(secrets) - 1; i >= 0; i-- {
		if x := secrets[i].ExpiresAt; x.IsZero() || x.After(at) {
			live = append(live, secrets[i])
		}
	}
	return live
}

// Sensitive is a secret in the clear. It prints as "<secret>"; Reveal says
// where it is really used.
type Sensitive string

// Reveal is the secret itself.
func (s Sensitive) Reveal() string { return string(s) }

// String hides the secret in logs and dumps.
func (s Sensitive) String() string {
	if s == "" {
		return ""
	}
	return "<secret>"
}

// GoString hides the secret from %#v.
func (s Sensitive) GoString() string { return s.String() }

// MarshalText hides the secret from JSON, YAML and slog.
func (s Sensitive) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret from a configuration.
func (s *Sensitive) UnmarshalText(b []byte) error {
	*s = Sensitive(b)
	return nil
}

// Prefixes of Standard Webhooks keys; what follows is base64.
const (
	secretPrefix    = "whsec_" // bytes of an HMAC key
	signingPrefix   = "whsk_"  // an ed25519 private key: seed and public key
	verifyingPrefix = "whpk_"  // an ed25519 public key
)

// NewSecret makes a secret of 32 random bytes, `whsec_…`.
func NewSecret() Sensitive {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("millrace: the system has no randomness: " + err.Error())
	}
	return Sensitive(secretPrefix + base64.StdEncoding.EncodeToString(b[:]))
}

// Key is what an HMAC of the "v1" scheme is keyed with: the bytes after
// `whsec_`, base64-decoded, and otherwise the secret's characters.
func (s Secret) Key() ([]byte, error) {
	coded, prefixed := strings.CutPrefix(s.Value.Reveal(), secretPrefix)
	if !prefixed {
		return []byte(coded), nil
	}
	key, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(key) == 0 {
		return nil, errors.New("must be base64 after " + secretPrefix)
	}
	return key, nil
}

// Validate refuses a secret that cannot sign. The error never shows it.
func (s Secret) Validate() error {
	if s.Value == "" || len(s.Value) > 512 {
		return Invalid("secret", "must have between 1 and 512 characters")
	}
	if _, err := s.Key(); err != nil {
		return Invalid("secret", "%v", err)
	}
	return nil
}

// NewSigningKey makes an ed25519 key for the "v1a" scheme, `whsk_…`.
func NewSigningKey() Sensitive {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic("millrace: the system has no randomness: " + err.Error())
	}
	return Sensitive(signingPrefix + base64.StdEncoding.EncodeToString(private))
}

// ParseSigningKey reads an ed25519 key from `whsk_…`. The error never shows
// it.
func ParseSigningKey(s Sensitive) (ed25519.PrivateKey, error) {
	coded, prefixed := strings.CutPrefix(s.Reveal(), signingPrefix)
	key, err := base64.StdEncoding.DecodeString(coded)
	if !prefixed || err != nil || len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("must be whsk_ and the base64 of an ed25519 private key (64 bytes)")
	}
	private := ed25519.PrivateKey(key)
	if !private.Equal(ed25519.NewKeyFromSeed(private.Seed())) {
		return nil, errors.New("must hold the public key that belongs to its private one")
	}
	return private, nil
}

// VerifyingKey is what receivers verify "v1a" signatures with, `whpk_…`;
// empty where the endpoint has no signing key.
func (e Endpoint) VerifyingKey() string {
	private, err := ParseSigningKey(e.SigningKey)
	if err != nil {
		return ""
	}
	return verifyingPrefix + base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
}
