package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Keyring seals what must not lie in the database in the clear. Its first key
// seals; all of them open, so that a new key can take over from an old one.
//
// A sealed text is
//
//	version (1 byte) · length of the key's id (1 byte) · the key's id · nonce (12 bytes) · AES-256-GCM
//
// and is bound to the place it was sealed for, and to its own head: moved to
// another row, or named under another key, it does not open.
type Keyring struct {
	current *ringKey
	keys    map[string]*ringKey
}

type ringKey struct {
	id   string
	aead cipher.AEAD
	// mac keys the hashes of API keys.
	mac []byte
}

const sealVersion = 1

// ErrUnknownKey is when something was sealed or hashed under a key that is not
// in the ring.
var ErrUnknownKey = errors.New("the key ring does not have the key")

var ringKeyID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// NewKey makes a key for the ring, in the form that NewKeyring reads: an id of
// its own, and the base64 of 32 random bytes.
func NewKey() string {
	var b [36]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("store: the system has no randomness: " + err.Error())
	}
	return "k" + hex.EncodeToString(b[:4]) + ":" + base64.StdEncoding.EncodeToString(b[4:])
}

// NewKeyring reads keys of the form "id:base64 of 32 bytes". The first one is
// the current. All faults are joined; none of them shows a key.
func NewKeyring(keys []string) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("the key ring is empty: it needs at least one key, as id:base64 of 32 bytes")
	}
	ring := &Keyring{keys: make(map[string]*ringKey, len(keys))}
	var faults []error
	for i, text := range keys {
		key, err := parseRingKey(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("key %d of the key ring %w", i+1, err))
			continue
		}
		if ring.keys[key.id] != nil {
			faults = append(faults, fmt.Errorf("key %d of the key ring has the id %q of another", i+1, key.id))
		}
		ring.keys[key.id] = key
		if i == 0 {
			ring.current = key
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return ring, nil
}

// Current is the id of the key that seals.
func (k *Keyring) Current() string { return k.current.id }

// Seal encrypts a text for the place that it is bound to.
func (k *Keyring) Seal(clear []byte, bound string) ([]byte, error) {
	head := k.head()
	sealed := make([]byte, len(head)+k.current.aead.NonceSize(), len(head)+k.current.aead.NonceSize()+len(clear)+k.current.aead.Overhead())
	copy(sealed, head)
	nonce := sealed[len(head):]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("make a nonce: %w", err)
	}
	return k.current.aead.Seal(sealed, nonce, clear, associated(head, bound)), nil
}

// Open decrypts what was sealed for that very place.
func (k *Keyring) Open(sealed []byte, bound string) ([]byte, error) {
	id, rest, err := split(sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", bound, err)
	}
	key, known := k.keys[id]
	if !known {
		return nil, fmt.Errorf("open %s: %w %q; put it back behind the current one", bound, ErrUnknownKey, id)
	}
	nonce := key.aead.NonceSize()
	if len(rest) < nonce {
		return nil, fmt.Errorf("open %s: the sealed text is cut short", bound)
	}
	head := sealed[:len(sealed)-len(rest)]
	clear, err := key.aead.Open(nil, rest[:nonce], rest[nonce:], associated(head, bound))
	if err != nil {
		return nil, fmt.Errorf("open %s: it was not sealed for this place, or not with the key %q that the ring has", bound, id)
	}
	return clear, nil
}

// head is how every text begins that the current key sealed.
func (k *Keyring) head() []byte {
	return append([]byte{sealVersion, byte(len(k.current.id))}, k.current.id...)
}

// hash is the keyed hash of an API key under the ring's key of that id.
func (k *Keyring) hash(id, clear string) ([]byte, error) {
	key, known := k.keys[id]
	if !known {
		return nil, fmt.Errorf("%w %q; put it back behind the current one", ErrUnknownKey, id)
	}
	mac := hmac.New(sha256.New, key.mac)
	mac.Write([]byte(clear))
	return mac.Sum(nil), nil
}

// parseRingKey derives one key for each purpose, so that none serves two.
func parseRingKey(text string) (*ringKey, error) {
	id, coded, found := strings.Cut(strings.TrimSpace(text), ":")
	if !found || !ringKeyID.MatchString(id) {
		return nil, errors.New("must be id:base64, with an id of letters, digits, - and _")
	}
	secret, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(secret) != 32 {
		return nil, fmt.Errorf("(%q) must have the base64 of 32 bytes after its id", id)
	}
	sealing, err := hkdf.Key(sha256.New, secret, nil, "millrace seal 1", 32)
	if err != nil {
		return nil, fmt.Errorf("(%q) yields no key: %w", id, err)
	}
	mac, err := hkdf.Key(sha256.New, secret, nil, "millrace api key 1", 32)
	if err != nil {
		return nil, fmt.Errorf("(%q) yields no key: %w", id, err)
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, fmt.Errorf("(%q) yields no cipher: %w", id, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("(%q) yields no cipher: %w", id, err)
	}
	return &ringKey{id: id, aead: aead, mac: mac}, nil
}

func split(sealed []byte) (id string, rest []byte, err error) {
	if len(sealed) < 2 || sealed[0] != sealVersion {
		return "", nil, errors.New("this is no sealed text")
	}
	end := 2 + int(sealed[1])
	if len(sealed) < end {
		return "", nil, errors.New("the sealed text is cut short")
	}
	return string(sealed[2:end]), sealed[end:], nil
}

func associated(head []byte, bound string) []byte {
	return append(head[:len(head):len(head)], bound...)
}
