package sinks

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"

	"github.com/millrace-dev/millrace"
)

// signed is what signatures cover: the id, the moment of this try, and exactly
// the bytes that are sent.
type signed struct {
	id   string
	unix int64
	body []byte
}

// standard makes the value of webhook-signature (Standard Webhooks 1.0): a
// "v1" per secret, newest first, then a "v1a" where there is a signing key.
func (s signed) standard(secrets []millrace.Secret, signing millrace.Sensitive) (string, error) {
	prefix := s.standardPrefix()
	out := make([]byte, 0, 48*len(secrets)+96)
	var sum [sha256.Size]byte
	for _, secret := range secrets {
		key, err := secret.Key()
		if err != nil {
			return "", fmt.Errorf("the secret %w", err)
		}
		h := hmac.New(sha256.New, key)
		h.Write(prefix)
		h.Write(s.body)
		out = append(separated(out, ' '), "v1,"...)
		out = base64.StdEncoding.AppendEncode(out, h.Sum(sum[:0]))
	}
	if signing == "" {
		return string(out), nil
	}
	key, err := millrace.ParseSigningKey(signing)
	if err != nil {
		return "", fmt.Errorf("the signing key %w", err)
	}
	out = append(separated(out, ' '), "v1a,"...)
	out = base64.StdEncoding.AppendEncode(out, ed25519.Sign(key, append(prefix, s.body...)))
	return string(out), nil
}

// standardPrefix is what stands before the body in the signed content.
func (s signed) standardPrefix() []byte {
	prefix := make([]byte, 0, len(s.id)+22)
	prefix = append(append(prefix, s.id...), '.')
	return append(strconv.AppendInt(prefix, s.unix, 10), '.')
}

// convoy makes Convoy's signature header. Simple: the bare HMAC of the body by
// the newest secret in the last version. Advanced: "t=…,v1=…[,v1=older]", with
// v2, v3 … for further versions.
func (s signed) convoy(c millrace.SignatureConfig, secrets []millrace.Secret, advanced bool) (string, error) {
	versions := convoyVersions(c)
	if len(secrets) == 0 {
		return "", errNoSecret
	}
	if !advanced {
		out, err := convoySum{version: versions[len(versions)-1], body: s.body}.append(nil, secrets[0].Value.Reveal())
		return string(out), err
	}
	var err error
	out := strconv.AppendInt(append(make([]byte, 0, 160), "t="...), s.unix, 10)
	prefix := append(append(make([]byte, 0, 24), out[len("t="):]...), ',')
	for i, version := range versions {
		sum := convoySum{version: version, prefix: prefix, body: s.body}
		for _, secret := range secrets {
			out = append(strconv.AppendInt(append(out, ",v"...), int64(i)+1, 10), '=')
			if out, err = sum.append(out, secret.Value.Reveal()); err != nil {
				return "", err
			}
		}
	}
	return string(out), nil
}

// convoySum is one HMAC of Convoy's: in which version, and over what. Its key
// is the secret's characters as they stand.
type convoySum struct {
	version      millrace.SignatureVersion
	prefix, body []byte
}

func (c convoySum) append(out []byte, secret string) ([]byte, error) {
	sum, err := c.sum(secret)
	if err != nil {
		return nil, err
	}
	switch c.version.Encoding {
	case "hex":
		return hex.AppendEncode(out, sum), nil
	case "base64":
		return base64.StdEncoding.AppendEncode(out, sum), nil
	}
	return nil, fmt.Errorf("the signature's encoding must be hex or base64, not %q", c.version.Encoding)
}

func (c convoySum) sum(secret string) ([]byte, error) {
	var digest func() hash.Hash
	switch c.version.Hash {
	case "SHA256":
		digest = sha256.New
	case "SHA512":
		digest = sha512.New
	default:
		return nil, fmt.Errorf("the signature's hash must be SHA256 or SHA512, not %q", c.version.Hash)
	}
	h := hmac.New(digest, []byte(secret))
	h.Write(c.prefix)
	h.Write(c.body)
	return h.Sum(nil), nil
}

var errNoSecret = errors.New("the endpoint has no secret to sign with")

// convoyHeader is the name of Convoy's signature header in this project.
func convoyHeader(c millrace.SignatureConfig) string {
	if c.Header == "" {
		return "X-Convoy-Signature"
	}
	return c.Header
}

func convoyVersions(c millrace.SignatureConfig) []millrace.SignatureVersion {
	if len(c.Versions) == 0 {
		return millrace.DefaultProjectConfig().Signature.Versions
	}
	return c.Versions
}

func separated(list []byte, by byte) []byte {
	if len(list) == 0 {
		return list
	}
	return append(list, by)
}
