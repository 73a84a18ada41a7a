package sinks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// oauth2To is a delivery to a receiver, with tokens of a token server.
func oauth2To(receiver, tokens string) millrace.Request {
	r := deliveryTo(receiver)
	r.Endpoint.Authentication = &millrace.Authentication{Type: millrace.AuthOAuth2, OAuth2: &millrace.OAuth2{
		URL: tokens, ClientID: "shop", ClientSecret: "s3cr3t", AuthenticationType: "shared_secret", Scope: "hooks", Audience: "api",
	}}
	return r
}

// tokenServer hands out token-1, token-2 … that live for some seconds.
func tokenServer(t *testing.T, seconds int) (url string, all func() []heard) {
	var n atomic.Int32
	server, all := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"access_token": "token-%d", "token_type": "bearer", "expires_in": %d}`, n.Add(1), seconds)
	})
	return server.URL + "/token", all
}

func TestOAuth2SharedSecret(t *testing.T) {
	server, all := receiver(t, nil)
	tokens, asked := tokenServer(t, 3600)
	proxy := newProxy(t)
	w := webhook(t, nil, proxy)
	r := oauth2To(server.URL, tokens)
	for range 3 {
		a := sendOK(t, w, r)
		want(t, a, millrace.OutcomeSuccess)
		if a.RequestHeader.Get("Authorization") != redacted {
			t.Errorf("the attempt shows %q", a.RequestHeader.Get("Authorization"))
		}
	}
	for _, got := range all() {
		if got.Header.Get("Authorization") != "Bearer token-1" {
			t.Errorf("the receiver got %q", got.Header.Get("Authorization"))
		}
	}
	if len(asked()) != 1 || proxy.tunnels.Load() != 2 {
		t.Fatalf("the token server was asked %d times, by %d tunnels in all", len(asked()), proxy.tunnels.Load())
	}
	form, _ := url.ParseQuery(string(asked()[0].body))
	wanted := url.Values{"grant_type": {"client_credentials"}, "client_id": {"shop"}, "client_secret": {"s3cr3t"}, "scope": {"hooks"}, "audience": {"api"}}
	if form.Encode() != wanted.Encode() {
		t.Errorf("the token server was asked %q", form.Encode())
	}
}

func TestOneTokenIsFetchedForManyDeliveries(t *testing.T) {
	server, all := receiver(t, nil)
	tokens, asked := tokenServer(t, 3600)
	w := webhook(t, nil, newProxy(t))
	r := oauth2To(server.URL, tokens)
	inParallel(20, func() { want(t, sendOK(t, w, r), millrace.OutcomeSuccess) })
	if len(asked()) != 1 || len(all()) != 20 {
		t.Errorf("%d tokens for %d deliveries", len(asked()), len(all()))
	}
}

func TestATokenIsRenewed(t *testing.T) {
	refuse := atomic.Bool{}
	server, all := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	tokens, _ := tokenServer(t, 100)
	w := webhook(t, nil, newProxy(t))
	r := oauth2To(server.URL, tokens)
	r.Endpoint.Timeout = millrace.MaxTimeout
	began := time.Now()
	step := func(what string, after time.Duration, token string) {
		t.Helper()
		w.now = func() time.Time { return began.Add(after) }
		sendOK(t, w, r)
		got := all()
		if last := got[len(got)-1].Header.Get("Authorization"); last != "Bearer "+token {
			t.Errorf("%s: %s, want %s", what, last, token)
		}
	}
	step("at first", 0, "token-1")
	step("a second before its renewal", 89*time.Second, "token-1")
	step("a tenth of its life before the end", 91*time.Second, "token-2")
	refuse.Store(true)
	step("refused with 401", 91*time.Second, "token-2")
	refuse.Store(false)
	step("after the 401", 91*time.Second, "token-3")
	r.Endpoint.Authentication.OAuth2.Scope = "other"
	step("after a change of the endpoint", 91*time.Second, "token-4")
}

func TestATokenThatCannotBeHadIsAnAuthenticationFailure(t *testing.T) {
	server, all := receiver(t, nil)
	answers := map[string]string{
		"refused":                    "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
		"redirected":                 "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
		"not JSON":                   "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\noops",
		"no token":                   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"a token that breaks a line": "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{\"access_token\": \"a\\r\\nb\"}",
		"too long":                   "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + strings.Repeat(" ", 99999),
		"cut":                        "",
	}
	w := webhook(t, nil, newProxy(t))
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			asked := atomic.Int32{}
			tokens := raw(t, counted(&asked, answer))
			r := oauth2To(server.URL, tokens)
			for range 2 { // the second learns it from memory
				a := sendOK(t, w, r)
				want(t, a, millrace.OutcomeAuthentication)
				if strings.Contains(a.Error, "s3cr3t") {
					t.Errorf("the attempt shows the secret: %s", a.Error)
				}
			}
			if asked.Load() != 1 {
				t.Errorf("the token server was asked %d times within a second", asked.Load())
			}
		})
	}
	t.Run("not reachable", func(t *testing.T) {
		want(t, sendOK(t, w, oauth2To(server.URL, "http://127.0.0.1:1")), millrace.OutcomeAuthentication)
	})
	t.Run("within the deadline", func(t *testing.T) {
		r := oauth2To(server.URL, raw(t, hold))
		r.Endpoint.Timeout = shortDeadline
		began := time.Now()
		want(t, sendOK(t, w, r), millrace.OutcomeAuthentication)
		if took := time.Since(began); took > shortDeadline+overshoot {
			t.Errorf("it took %s", took)
		}
	})
	t.Run("too late for the delivery", func(t *testing.T) {
		r := oauth2To(server.URL, raw(t, func(conn net.Conn) {
			<-time.After(atLeast + shortDeadline - atLeast/2)
			say("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"access_token\":\"a\"}")(conn)
		}))
		r.Endpoint.Timeout = atLeast + shortDeadline
		want(t, sendOK(t, w, r), millrace.OutcomeAuthentication)
	})
	t.Run("the egress is down", func(t *testing.T) {
		proxy := newProxy(t)
		proxy.kill()
		if _, err := webhook(t, nil, proxy).Send(t.Context(), oauth2To(server.URL, "http://127.0.0.1:1")); !millrace.IsUnavailable(err) {
			t.Errorf("%v, want it unavailable", err)
		}
	})
	if n := len(all()); n > 0 {
		t.Errorf("%d requests were sent without a token", n)
	}
}

func counted(n *atomic.Int32, answer string) func(net.Conn) {
	return func(conn net.Conn) {
		n.Add(1)
		io.WriteString(conn, answer)
		if answer != "" {
			hold(conn)
		}
	}
}

func TestReadGrant(t *testing.T) {
	now := time.Now()
	mapped := &millrace.OAuth2{
		FieldMapping: map[string]string{"access_token": "tok", "token_type": "kind", "expires_in": "ttl"}, ExpiryTimeUnit: "minutes",
	}
	cases := map[string]struct {
		settings      *millrace.OAuth2
		answer        string
		authorization string
		until         time.Duration
	}{
		"seconds, a minute ahead":       {&millrace.OAuth2{}, `{"access_token":"a","expires_in":3600}`, "Bearer a", 59 * time.Minute},
		"short ones, a tenth ahead":     {&millrace.OAuth2{}, `{"access_token":"a","expires_in":"10"}`, "Bearer a", 9 * time.Second},
		"milliseconds":                  {&millrace.OAuth2{ExpiryTimeUnit: "milliseconds"}, `{"access_token":"a","expires_in":10000}`, "Bearer a", 9 * time.Second},
		"hours":                         {&millrace.OAuth2{ExpiryTimeUnit: "hours"}, `{"access_token":"a","expires_in":2}`, "Bearer a", 119 * time.Minute},
		"other names":                   {mapped, `{"tok":"a","kind":"MAC","ttl":10}`, "MAC a", 9 * time.Minute},
		"no time is five minutes":       {&millrace.OAuth2{}, `{"access_token":"a"}`, "Bearer a", 5*time.Minute - 30*time.Second},
		"nonsense is five minutes":      {&millrace.OAuth2{}, `{"access_token":"a","expires_in":"soon"}`, "Bearer a", 5*time.Minute - 30*time.Second},
		"negative is five minutes":      {&millrace.OAuth2{}, `{"access_token":"a","expires_in":-1}`, "Bearer a", 5*time.Minute - 30*time.Second},
		"beyond all numbers is one day": {&millrace.OAuth2{}, `{"access_token":"a","expires_in":1e300}`, "Bearer a", 24*time.Hour - time.Minute},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g, err := readGrant(c.settings, []byte(c.answer), now)
			if err != nil || g.authorization != c.authorization || g.until.Sub(now) != c.until {
				t.Errorf("%q for %s (%v), want %q for %s", g.authorization, g.until.Sub(now), err, c.authorization, c.until)
			}
		})
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwkOf(members map[string]string) millrace.Sensitive {
	members["kid"] = "key-1"
	raw, _ := json.Marshal(members)
	return millrace.Sensitive(raw)
}

// testKeys are one private key of each kind as JWK, with how to verify by it.
func testKeys(t *testing.T) map[string]struct {
	jwk    millrace.Sensitive
	verify func(content, signature []byte) bool
} {
	t.Helper()
	all := map[string]struct {
		jwk    millrace.Sensitive
		verify func(content, signature []byte) bool
	}{}
	add := func(algorithm string, jwk millrace.Sensitive, verify func(content, signature []byte) bool) {
		entry := all[algorithm]
		entry.jwk, entry.verify = jwk, verify
		all[algorithm] = entry
	}
	add("HS256", jwkOf(map[string]string{"kty": "oct", "k": b64([]byte("shared"))}), func(c, s []byte) bool {
		h := hmac.New(sha256.New, []byte("shared"))
		h.Write(c)
		return hmac.Equal(h.Sum(nil), s)
	})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaJWK := jwkOf(map[string]string{
		"kty": "RSA", "n": b64(rsaKey.N.Bytes()), "e": "AQAB", "d": b64(rsaKey.D.Bytes()), "p": b64(rsaKey.Primes[0].Bytes()), "q": b64(rsaKey.Primes[1].Bytes()),
	})
	add("RS256", rsaJWK, func(c, s []byte) bool {
		return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, hashed(crypto.SHA256, c), s) == nil
	})
	add("PS384", rsaJWK, func(c, s []byte) bool {
		return rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA384, hashed(crypto.SHA384, c), s, nil) == nil
	})
	for algorithm, c := range map[string]struct {
		name  string
		curve elliptic.Curve
		hash  crypto.Hash
	}{"ES256": {"P-256", elliptic.P256(), crypto.SHA256}, "ES384": {"P-384", elliptic.P384(), crypto.SHA384}, "ES512": {"P-521", elliptic.P521(), crypto.SHA512}} {
		key, err := ecdsa.GenerateKey(c.curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		d, _ := key.Bytes()
		add(algorithm, jwkOf(map[string]string{"kty": "EC", "crv": c.name, "d": b64(d)}), func(content, s []byte) bool {
			r, t := new(big.Int).SetBytes(s[:len(s)/2]), new(big.Int).SetBytes(s[len(s)/2:])
			return ecdsa.Verify(&key.PublicKey, hashed(c.hash, content), r, t)
		})
	}
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	add("EdDSA", jwkOf(map[string]string{"kty": "OKP", "crv": "Ed25519", "d": b64(private.Seed())}), func(c, s []byte) bool { return ed25519.Verify(public, c, s) })
	return all
}

func TestClientAssertions(t *testing.T) {
	server, _ := receiver(t, nil)
	for algorithm, key := range testKeys(t) {
		t.Run(algorithm, func(t *testing.T) {
			tokens, asked := tokenServer(t, 3600)
			w := webhook(t, nil, newProxy(t))
			r := oauth2To(server.URL, tokens)
			o := r.Endpoint.Authentication.OAuth2
			o.AuthenticationType, o.ClientSecret, o.SigningKey, o.SigningAlgorithm, o.Issuer = "client_assertion", "", key.jwk, algorithm, "us"
			want(t, sendOK(t, w, r), millrace.OutcomeSuccess)

			form, _ := url.ParseQuery(string(asked()[0].body))
			if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") || form.Get("client_id") != "shop" {
				t.Errorf("the token server was asked %v", form)
			}
			parts := strings.Split(form.Get("client_assertion"), ".")
			signature, err := base64.RawURLEncoding.DecodeString(parts[2])
			if err != nil || !key.verify([]byte(parts[0]+"."+parts[1]), signature) {
				t.Errorf("the assertion does not verify (%v)", err)
			}
			var head struct{ Alg, Kid, Typ string }
			var claims struct {
				Iss, Sub, Aud, Jti string
				Iat, Exp           int64
			}
			decode(t, parts[0], &head)
			decode(t, parts[1], &claims)
			if head.Alg != algorithm || head.Kid != "key-1" || head.Typ != "JWT" {
				t.Errorf("its head is %+v", head)
			}
			if claims.Iss != "us" || claims.Sub != "shop" || claims.Aud != tokens || claims.Exp-claims.Iat != 300 || len(claims.Jti) < 20 {
				t.Errorf("it claims %+v", claims)
			}
		})
	}
}

func decode(t *testing.T, part string, into any) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSigningKeysThatDoNotFit(t *testing.T) {
	keys := testKeys(t)
	for name, c := range map[string]struct {
		algorithm string
		key       millrace.Sensitive
	}{
		"an unknown algorithm":    {"none", keys["ES256"].jwk},
		"a key of another kind":   {"RS256", keys["ES256"].jwk},
		"a curve of another size": {"ES384", keys["ES256"].jwk},
		"not JSON":                {"ES256", "-----BEGIN s3cr3t"},
		"no base64":               {"ES256", `{"kty":"EC","crv":"P-256","d":"s3cr3t***"}`},
		"a public key":            {"ES256", `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`},
		"an RSA key of nothing":   {"RS256", `{"kty":"RSA","n":"AA","e":"AQAB","d":"AA","p":"AA","q":"AA"}`},
		"a scalar beyond all":     {"ES256", `{"kty":"EC","crv":"P-256","d":"` + millrace.Sensitive(strings.Repeat("_", 43)) + `"}`},
		"a short Ed25519 seed":    {"EdDSA", `{"kty":"OKP","crv":"Ed25519","d":"AA"}`},
		"an empty HMAC key":       {"HS256", `{"kty":"oct","k":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := clientAssertion(&millrace.OAuth2{SigningKey: c.key, SigningAlgorithm: c.algorithm}, time.Now())
			if err == nil || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%v", err)
			}
		})
	}
}

func FuzzReadGrant(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","token_type":"b","expires_in":1}`), "minutes")
	f.Fuzz(func(t *testing.T, answer []byte, unit string) {
		now := time.Now()
		g, err := readGrant(&millrace.OAuth2{ExpiryTimeUnit: unit}, answer, now)
		if err != nil {
			return
		}
		if strings.ContainsAny(g.authorization, "\r\n\x00") || g.until.Before(now) || g.until.After(now.Add(longestLife)) {
			t.Errorf("%q gave %q for %s", answer, g.authorization, g.until.Sub(now))
		}
	})
}
