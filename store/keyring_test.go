package store

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestWhatIsSealedOpensOnlyInItsPlace(t *testing.T) {
	ring := mustRing(t, NewKey())
	sealed, err := ring.Seal([]byte("hunter2"), "row 1")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("hunter2")) {
		t.Error("the sealed text shows the secret")
	}
	if clear, err := ring.Open(sealed, "row 1"); err != nil || string(clear) != "hunter2" {
		t.Errorf("in its place it opens as %q, %v", clear, err)
	}
	if clear, err := ring.Open(sealed, "row 2"); err == nil {
		t.Errorf("in another place it opens as %q", clear)
	}
}

func TestTheSameTextIsNeverSealedTheSame(t *testing.T) {
	ring := mustRing(t, NewKey())
	one, _ := ring.Seal([]byte("x"), "row")
	two, _ := ring.Seal([]byte("x"), "row")
	if bytes.Equal(one, two) {
		t.Error("two sealed texts are equal")
	}
}

func TestADamagedTextDoesNotOpen(t *testing.T) {
	ring := mustRing(t, NewKey())
	sealed, err := ring.Seal([]byte("hunter2"), "row")
	if err != nil {
		t.Fatal(err)
	}
	for n := range sealed {
		if _, err := ring.Open(sealed[:n], "row"); err == nil {
			t.Errorf("its first %d bytes open", n)
		}
		damaged := bytes.Clone(sealed)
		damaged[n] ^= 1
		if _, err := ring.Open(damaged, "row"); err == nil {
			t.Errorf("it opens with byte %d changed", n)
		}
	}
}

func TestAnOlderKeyStillOpensAndTheFirstOneSeals(t *testing.T) {
	older, newer := NewKey(), NewKey()
	sealed, err := mustRing(t, older).Seal([]byte("x"), "row")
	if err != nil {
		t.Fatal(err)
	}
	both := mustRing(t, newer, older)
	if clear, err := both.Open(sealed, "row"); err != nil || string(clear) != "x" {
		t.Errorf("opens as %q, %v", clear, err)
	}
	again, err := both.Seal([]byte("x"), "row")
	if err != nil {
		t.Fatal(err)
	}
	if id, _, err := split(again); err != nil || id != idOf(newer) || both.Current() != id {
		t.Errorf("sealed under %q, %v, want %q", id, err, idOf(newer))
	}
}

func TestAKeyThatIsMissingIsNamed(t *testing.T) {
	gone := NewKey()
	sealed, err := mustRing(t, gone).Seal([]byte("x"), "row")
	if err != nil {
		t.Fatal(err)
	}
	_, err = mustRing(t, NewKey()).Open(sealed, "row")
	if !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), idOf(gone)) {
		t.Errorf("got %v, want the key %s named", err, idOf(gone))
	}
}

func TestAKeyOfTheSameIDButOtherBytesDoesNotOpen(t *testing.T) {
	sealed, err := mustRing(t, "a:"+bytes32('1')).Seal([]byte("x"), "row")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mustRing(t, "a:"+bytes32('2')).Open(sealed, "row"); err == nil {
		t.Error("another key opens it")
	}
}

func TestHashesOfAPIKeysDependOnTheRingsKey(t *testing.T) {
	ring := mustRing(t, "a:"+bytes32('1'), "b:"+bytes32('2'))
	a, errA := ring.hash("a", "mrp_x")
	b, errB := ring.hash("b", "mrp_x")
	if errA != nil || errB != nil || bytes.Equal(a, b) || len(a) != 32 {
		t.Errorf("hashes %x, %v and %x, %v", a, errA, b, errB)
	}
	if _, err := ring.hash("c", "mrp_x"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("an unknown key hashes: %v", err)
	}
}

func TestAKeyRingIsRefusedInTheOperatorsWords(t *testing.T) {
	good := NewKey()
	for name, c := range map[string]struct {
		keys []string
		want string
	}{
		"none at all":               {nil, "is empty"},
		"without an id":             {[]string{bytes32('1')}, "key 1 of the key ring must be id:base64"},
		"of an id with a space":     {[]string{"a b:" + bytes32('1')}, "key 1 of the key ring must be id:base64"},
		"of too few bytes":          {[]string{good, "a:" + base64.StdEncoding.EncodeToString([]byte("short"))}, `key 2 of the key ring ("a") must have the base64 of 32 bytes`},
		"that is no base64":         {[]string{"a:!"}, `("a") must have the base64 of 32 bytes`},
		"twice":                     {[]string{good, good}, "has the id"},
		"each of them at once, all": {[]string{"x", "y"}, "key 2 of the key ring"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewKeyring(c.keys)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func mustRing(t *testing.T, keys ...string) *Keyring {
	t.Helper()
	ring, err := NewKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func idOf(key string) string {
	id, _, _ := strings.Cut(key, ":")
	return id
}

func bytes32(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32))
}
