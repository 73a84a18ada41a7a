package sinks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/millrace-dev/millrace"
)

// assertionLife is how long a client assertion holds.
const assertionLife = 5 * time.Minute

// clientAssertion makes the signed JWT that proves a client to its token
// server (RFC 7523, section 2.2). Its errors never show the key.
func clientAssertion(o *millrace.OAuth2, now time.Time) (string, error) {
	key, err := parseJWK(o.SigningKey)
	if err != nil {
		return "", err
	}
	algorithm := o.SigningAlgorithm
	if algorithm == "" {
		algorithm = "ES256"
	}
	head := map[string]string{"alg": algorithm, "typ": "JWT"}
	if key.ID != "" {
		head["kid"] = key.ID
	}
	content, err := jwtContent(head, map[string]any{
		"iss": either(o.Issuer, o.ClientID), "sub": either(o.Subject, o.ClientID), "aud": o.URL,
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(), "jti": rand.Text(),
	})
	if err != nil {
		return "", fmt.Errorf("encode the client assertion: %w", err)
	}
	signature, err := key.sign(algorithm, content)
	if err != nil {
		return "", err
	}
	return string(content) + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func jwtContent(head, claims any) ([]byte, error) {
	h, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	content := append(base64.RawURLEncoding.AppendEncode(nil, h), '.')
	return base64.RawURLEncoding.AppendEncode(content, c), nil
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// number is a base64url big-endian integer of a JWK.
type number []byte

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	*n = raw
	return err
}

func (n number) int() *big.Int { return new(big.Int).SetBytes(n) }

// jwk is a private key (RFC 7517, RFC 7518 section 6, RFC 8037).
type jwk struct {
	Type   string `json:"kty"`
	ID     string `json:"kid"`
	Curve  string `json:"crv"`
	Secret number `json:"k"`
	N      number `json:"n"`
	E      number `json:"e"`
	D      number `json:"d"`
	P      number `json:"p"`
	Q      number `json:"q"`
}

var errJWK = errors.New("the signing key is not a private key in JWK form")

func parseJWK(s millrace.Sensitive) (jwk, error) {
	var key jwk
	if err := json.Unmarshal([]byte(s.Reveal()), &key); err != nil {
		return jwk{}, errJWK
	}
	return key, nil
}

// signers says how each algorithm of RFC 7518 and RFC 8037 signs.
var signers = map[string]func(jwk, []byte) ([]byte, error){
	"HS256": hmacSigner(crypto.SHA256), "HS384": hmacSigner(crypto.SHA384), "HS512": hmacSigner(crypto.SHA512),
	"RS256": rsaSigner(crypto.SHA256, false), "RS384": rsaSigner(crypto.SHA384, false), "RS512": rsaSigner(crypto.SHA512, false),
	"PS256": rsaSigner(crypto.SHA256, true), "PS384": rsaSigner(crypto.SHA384, true), "PS512": rsaSigner(crypto.SHA512, true),
	"ES256": ecSigner("P-256", elliptic.P256(), crypto.SHA256), "ES384": ecSigner("P-384", elliptic.P384(), crypto.SHA384),
	"ES512": ecSigner("P-521", elliptic.P521(), crypto.SHA512),
	"EdDSA": edSign,
}

func (k jwk) sign(algorithm string, content []byte) ([]byte, error) {
	signer, ok := signers[algorithm]
	if !ok {
		return nil, fmt.Errorf("the signing algorithm %.20q is not known", algorithm)
	}
	return signer(k, content)
}

func hmacSigner(digest crypto.Hash) func(jwk, []byte) ([]byte, error) {
	return func(k jwk, content []byte) ([]byte, error) {
		if k.Type != "oct" || len(k.Secret) == 0 {
			return nil, errJWK
		}
		h := hmac.New(digest.New, k.Secret)
		h.Write(content)
		return h.Sum(nil), nil
	}
}

func rsaSigner(digest crypto.Hash, pss bool) func(jwk, []byte) ([]byte, error) {
	return func(k jwk, content []byte) ([]byte, error) {
		private, err := k.rsa()
		if err != nil {
			return nil, err
		}
		sum := hashed(digest, content)
		if pss {
			return rsa.SignPSS(rand.Reader, private, digest, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, private, digest, sum)
	}
}

func (k jwk) rsa() (*rsa.PrivateKey, error) {
	if k.Type != "RSA" || len(k.P) == 0 || len(k.Q) == 0 || len(k.E) == 0 || len(k.E) > 4 {
		return nil, errJWK
	}
	private := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: k.N.int(), E: int(k.E.int().Int64())},
		D:         k.D.int(), Primes: []*big.Int{k.P.int(), k.Q.int()},
	}
	if private.Validate() != nil {
		return nil, errJWK
	}
	private.Precompute()
	return private, nil
}

func ecSigner(name string, curve elliptic.Curve, digest crypto.Hash) func(jwk, []byte) ([]byte, error) {
	return func(k jwk, content []byte) ([]byte, error) {
		size := (curve.Params().BitSize + 7) / 8
		if k.Type != "EC" || k.Curve != name || len(k.D) > size {
			return nil, errJWK
		}
		private, err := ecdsa.ParseRawPrivateKey(curve, k.D.int().FillBytes(make([]byte, size)))
		if err != nil {
			return nil, errJWK
		}
		r, s, err := ecdsa.Sign(rand.Reader, private, hashed(digest, content))
		if err != nil {
			return nil, fmt.Errorf("sign the client assertion: %w", err)
		}
		signature := make([]byte, 2*size) // r and s side by side (RFC 7518, section 3.4)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
		return signature, nil
	}
}

func edSign(k jwk, content []byte) ([]byte, error) {
	if k.Type != "OKP" || k.Curve != "Ed25519" || len(k.D) != ed25519.SeedSize {
		return nil, errJWK
	}
	return ed25519.Sign(ed25519.NewKeyFromSeed(k.D), content), nil
}

func hashed(digest crypto.Hash, content []byte) []byte {
	h := digest.New()
	h.Write(content)
	return h.Sum(nil)
}
