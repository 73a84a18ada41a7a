package sinks

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	convoy "github.com/frain-dev/convoy-go/v2"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/millrace-dev/millrace"
)

type standardVector struct {
	Scheme, Secret, Public, ID, Body, Signature string
	Timestamp                                   int64
}

type convoyVector struct {
	Name, Hash, Encoding, Secret, Payload, Header string
	Advanced, Valid                               bool
	Tolerance                                     int64
}

func vectors[V any](t testing.TB, file string) []V {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []V
	if err := json.Unmarshal(raw, &all); err != nil || len(all) == 0 {
		t.Fatalf("%s has %d vectors: %v", file, len(all), err)
	}
	return all
}

func secretsOf(values ...string) []millrace.Secret {
	var all []millrace.Secret
	for _, v := range values {
		all = append(all, millrace.Secret{Value: millrace.Sensitive(v)})
	}
	return all
}

func TestStandardWebhooksVectors(t *testing.T) {
	for _, v := range vectors[standardVector](t, "standard-webhooks.json") {
		t.Run(v.Scheme, func(t *testing.T) {
			s := signed{id: v.ID, unix: v.Timestamp, body: []byte(v.Body)}
			secrets, signing, verifying := secretsOf(v.Secret), millrace.Sensitive(""), v.Secret
			if v.Scheme == "v1a" {
				secrets, signing, verifying = nil, millrace.Sensitive(v.Secret), v.Public
			}
			got, err := s.standard(secrets, signing)
			if err != nil || got != v.Signature {
				t.Fatalf("signed %q (%v), want %q", got, err, v.Signature)
			}
			header := http.Header{"Webhook-Id": {v.ID}, "Webhook-Timestamp": {strconv.FormatInt(v.Timestamp, 10)}, "Webhook-Signature": {v.Signature}}
			now := time.Unix(v.Timestamp, 0)
			if err := (Verifier{Secrets: []string{verifying}, Tolerance: time.Minute, Now: now}).Standard(header, s.body); err != nil {
				t.Errorf("the vector does not verify: %v", err)
			}
			if err := (Verifier{Secrets: []string{verifying}, Tolerance: time.Minute, Now: now}).Standard(header, append(s.body, ' ')); !errors.Is(err, ErrSignature) {
				t.Errorf("a changed body: %v", err)
			}
			for _, off := range []time.Duration{2 * time.Minute, -2 * time.Minute} {
				if err := (Verifier{Secrets: []string{verifying}, Tolerance: time.Minute, Now: now.Add(off)}).Standard(header, s.body); !errors.Is(err, ErrStale) {
					t.Errorf("%s off: %v", off, err)
				}
			}
		})
	}
}

func TestConvoyVectors(t *testing.T) {
	for _, v := range vectors[convoyVector](t, "convoy-signatures.json") {
		t.Run(v.Name, func(t *testing.T) {
			config := millrace.SignatureConfig{Header: "X-Sig", Versions: []millrace.SignatureVersion{{Hash: v.Hash, Encoding: v.Encoding}}}
			verifier := Verifier{Secrets: []string{v.Secret}, Signature: config, Tolerance: time.Duration(v.Tolerance) * time.Second, Now: time.Now()}
			err := verifier.Convoy(http.Header{"X-Sig": {v.Header}}, []byte(v.Payload))
			if v.Valid != (err == nil) {
				t.Fatalf("verified: %v, want valid %t", err, v.Valid)
			}
			if !strings.HasSuffix(v.Name, "_valid") || strings.Contains(v.Name, "multi") {
				return // made by no signer
			}
			s := signed{unix: 1700000000, body: []byte(v.Payload)}
			if got, err := s.convoy(config, secretsOf(v.Secret), v.Advanced); err != nil || got != v.Header {
				t.Errorf("signed %q (%v), want %q", got, err, v.Header)
			}
		})
	}
}

func TestSeveralSecretsAndVersions(t *testing.T) {
	s := signed{id: "evt", unix: time.Now().Unix(), body: []byte(testPayload)}
	secrets := secretsOf("newer", "older")
	versions := []millrace.SignatureVersion{{Hash: "SHA256", Encoding: "hex"}, {Hash: "SHA512", Encoding: "base64"}}
	config := millrace.SignatureConfig{Versions: versions}

	t.Run("standard: one v1 per secret, newest first, each verifies", func(t *testing.T) {
		value, err := s.standard(secrets, "")
		if err != nil || strings.Count(value, "v1,") != 2 {
			t.Fatalf("%q, %v", value, err)
		}
		header := http.Header{"Webhook-Id": {"evt"}, "Webhook-Timestamp": {strconv.FormatInt(s.unix, 10)}, "Webhook-Signature": {value}}
		for _, secret := range []string{"newer", "older"} {
			library, _ := standard.NewWebhookRaw([]byte(secret))
			if err := library.Verify(s.body, header); err != nil {
				t.Errorf("%s: %v", secret, err)
			}
		}
		newest, _ := s.standard(secrets[:1], "")
		if !strings.HasPrefix(value, newest+" ") {
			t.Errorf("%q does not begin with the newest, %q", value, newest)
		}
	})
	t.Run("advanced: each version with each secret, t first", func(t *testing.T) {
		value, err := s.convoy(config, secrets, true)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, member := range strings.Split(value, ",") {
			name, _, _ := strings.Cut(member, "=")
			names = append(names, name)
		}
		if got := strings.Join(names, " "); got != "t v1 v1 v2 v2" {
			t.Fatalf("%q has %s", value, got)
		}
		for _, secret := range []string{"newer", "older"} {
			for _, v := range versions {
				sdk := convoy.NewWebhook(&convoy.WebhookOpts{Secret: secret, Hash: v.Hash, Encoding: convoy.EncodingType(v.Encoding)})
				if err := sdk.VerifyPayload(s.body, value); err != nil {
					t.Errorf("%s, %s %s: %v", secret, v.Hash, v.Encoding, err)
				}
			}
		}
	})
	t.Run("simple: the newest secret in the last version", func(t *testing.T) {
		value, err := s.convoy(config, secrets, false)
		if err != nil {
			t.Fatal(err)
		}
		sdk := convoy.NewWebhook(&convoy.WebhookOpts{Secret: "newer", Hash: "SHA512", Encoding: "base64"})
		if err := sdk.VerifyPayload(s.body, value); err != nil {
			t.Error(err)
		}
	})
}

func TestVerifierRefusesWhatIsNoSignature(t *testing.T) {
	now := time.Unix(1700000000, 0)
	good := http.Header{"Webhook-Id": {"a"}, "Webhook-Timestamp": {"1700000000"}, "Webhook-Signature": {"v1,xx v9,yy junk"}}
	for name, c := range map[string]struct {
		header http.Header
		err    error
	}{
		"nothing":                   {http.Header{}, ErrUnsigned},
		"no id":                     {without(good, "Webhook-Id"), ErrUnsigned},
		"no time":                   {without(good, "Webhook-Timestamp"), ErrUnsigned},
		"a time that is no number":  {with(good, "Webhook-Timestamp", "1.7e9"), ErrUnsigned},
		"a time beyond all numbers": {with(good, "Webhook-Timestamp", "99999999999999999999"), ErrUnsigned},
		"a time at the end of all":  {with(good, "Webhook-Timestamp", "9223372036854775807"), ErrStale},
		"no signature":              {without(good, "Webhook-Signature"), ErrUnsigned},
		"signatures that are none":  {good, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			if err := (Verifier{Secrets: []string{"s", "whpk_junk", "whsec_***"}, Now: now}).Standard(c.header, nil); !errors.Is(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
		})
	}
	for name, c := range map[string]struct {
		value string
		err   error
	}{
		"nothing":                   {"", ErrUnsigned},
		"two times":                 {"t=1,t=1700000000,v1=00", ErrUnsigned},
		"a version that is unknown": {"t=1700000000,v2=00", ErrSignature},
		"version 0":                 {"t=1700000000,v0=00", ErrSignature},
		"version -1":                {"t=1700000000,v-1=00", ErrSignature},
		"commas":                    {",,,", ErrUnsigned},
	} {
		t.Run("Convoy: "+name, func(t *testing.T) {
			v := Verifier{Secrets: []string{"s"}, Now: now}
			if err := v.Convoy(http.Header{"X-Convoy-Signature": {c.value}}, nil); !errors.Is(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
		})
	}
}

func TestASignatureHoldsInItsOwnSchemeAlone(t *testing.T) {
	s := signed{id: "a", unix: 1700000000}
	value, err := s.standard(secretsOf("s"), "")
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Webhook-Id": {"a"}, "Webhook-Timestamp": {"1700000000"}, "Webhook-Signature": {value}}
	verify := func() error {
		return (Verifier{Secrets: []string{"s"}, Now: time.Unix(1700000000, 0)}).Standard(header, nil)
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"v2,", "v1a,", ","} {
		header.Set("Webhook-Signature", scheme+strings.TrimPrefix(value, "v1,"))
		if err := verify(); !errors.Is(err, ErrSignature) {
			t.Errorf("as %q: %v", scheme, err)
		}
	}
}

func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	h.Set(name, value)
	return h
}

func without(h http.Header, name string) http.Header {
	h = h.Clone()
	h.Del(name)
	return h
}

// Whatever is signed verifies everywhere, and not after any change.
func FuzzSignAndVerify(f *testing.F) {
	f.Add("msg_1", []byte(testPayload), "secret", "older")
	f.Add("a.b", []byte{0, 255}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "x")
	f.Fuzz(func(t *testing.T, id string, body []byte, secret, older string) {
		s := signed{id: id, unix: time.Now().Unix(), body: body}
		if id == "" || secret == "" || secret == older || strings.HasPrefix(secret, "whsec_") && secret != testSecret || strings.HasPrefix(older, "whsec_") {
			return
		}
		value, err := s.standard(secretsOf(secret, older), "")
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {strconv.FormatInt(s.unix, 10)}, "Webhook-Signature": {value}}
		library, err := standard.NewWebhookRaw([]byte(secret))
		if secret == testSecret {
			library, err = standard.NewWebhook(secret)
		}
		if err != nil || library.Verify(body, header) != nil {
			t.Errorf("the library refuses %q", value)
		}
		for _, version := range []millrace.SignatureVersion{{Hash: "SHA256", Encoding: "hex"}, {Hash: "SHA512", Encoding: "base64"}} {
			c := millrace.SignatureConfig{Versions: []millrace.SignatureVersion{version}}
			for _, advanced := range []bool{true, false} {
				value, err := s.convoy(c, secretsOf(secret), advanced)
				sdk := convoy.NewWebhook(&convoy.WebhookOpts{Secret: secret, Hash: version.Hash, Encoding: convoy.EncodingType(version.Encoding)})
				if err != nil || sdk.VerifyPayload(body, value) != nil {
					t.Errorf("Convoy's SDK refuses %q (%v)", value, err)
				}
				if sdk.VerifyPayload(append(bytes.Clone(body), 'x'), value) == nil {
					t.Errorf("%q holds for a changed body", value)
				}
			}
		}
	})
}

// Whatever a stranger sends, verifying ends, and yes is said to nothing that
// was not signed.
func FuzzVerifyStrangers(f *testing.F) {
	f.Add("msg_1", "1700000000", "v1,AAAA v1a,BBBB", "t=1700000000,v1=00,v2=11")
	f.Fuzz(func(t *testing.T, id, at, signatures, convoys string) {
		header := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {at}, "Webhook-Signature": {signatures}, "X-Convoy-Signature": {convoys}}
		v := Verifier{Secrets: []string{"a secret nobody knows", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="}, Now: time.Unix(1700000000, 0)}
		if v.Standard(header, nil) == nil || v.Convoy(header, nil) == nil {
			t.Errorf("%v verified", header)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s := signed{id: "0193a1c0-7e5b-7cc0-8000-000000000000", unix: 1700000000, body: bytes.Repeat([]byte("a"), 1024)}
	secrets := secretsOf(testSecret)
	config := millrace.DefaultProjectConfig().Signature
	b.Run("standard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.standard(secrets, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("convoy", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.convoy(config, secrets, true); err != nil {
				b.Fatal(err)
			}
		}
	})
}
