package store

import (
	"crypto/rand"
	"strings"

	"github.com/millrace-dev/millrace"
)

// An API key in the clear is
//
//	mrp_ or mri_ · 12 characters that find it · _ · 43 secret characters
//
// in base62: mrp_ for a project's, mri_ for the instance's. The 43 hold 256
// bits. What is before the second _ may be shown.
const (
	projectKey  = "mrp_"
	instanceKey = "mri_"
	lookupSize  = 12
	secretSize  = 43
	prefixSize  = len(projectKey) + lookupSize
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// newAPIKey makes a key in the clear.
func newAPIKey(project millrace.ID) string {
	kind := projectKey
	if project == (millrace.ID{}) {
		kind = instanceKey
	}
	return kind + randomBase62(lookupSize) + "_" + randomBase62(secretSize)
}

// prefixOf is the part of a key that may be shown and that finds its row; ok
// is false where the text cannot be a key at all.
func prefixOf(clear string) (prefix string, ok bool) {
	if len(clear) != prefixSize+1+secretSize || clear[prefixSize] != '_' {
		return "", false
	}
	prefix, secret := clear[:prefixSize], clear[prefixSize+1:]
	if !strings.HasPrefix(prefix, projectKey) && !strings.HasPrefix(prefix, instanceKey) {
		return "", false
	}
	return prefix, strings.Trim(prefix[len(projectKey):], base62) == "" && strings.Trim(secret, base62) == ""
}

// randomBase62 draws each character alike: bytes that would favour the first
// ones are thrown away.
func randomBase62(n int) string {
	const fair = 256 - 256%len(base62)
	var out strings.Builder
	var b [64]byte
	for {
		if _, err := rand.Read(b[:]); err != nil {
			panic("store: the system has no randomness: " + err.Error())
		}
		for _, x := range b {
			if int(x) >= fair {
				continue
			}
			out.WriteByte(base62[int(x)%len(base62)])
			if out.Len() == n {
				return out.String()
			}
		}
	}
}
