package sinks

import (
	"io"
	"log"
	"strings"
	"testing"
	"time"

	convoy "github.com/frain-dev/convoy-go/v2"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"encoding/pem"

	"github.com/millrace-dev/millrace"
)

func silentLog() *log.Logger { return log.New(io.Discard, "", 0) }

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestSendMakesTheRequestOfTheContract(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	r := deliveryTo(server.URL + "/hook?a=b")
	r.Delivery.IdempotencyKey, r.Delivery.TraceParent = "order-7", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	r.Delivery.Headers = map[string]string{"x-tenant": "acme"}

	a := sendOK(t, w, r)

	want(t, a, millrace.OutcomeSuccess)
	got := all()[0]
	if got.Method != "POST" || got.RequestURI != "/hook?a=b" || string(got.body) != testPayload {
		t.Errorf("the receiver got %s %s %q", got.Method, got.RequestURI, got.body)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Millrace/1.2.3", "webhook-id": r.Delivery.EventID.String(),
		"X-Convoy-Idempotency-Key": "order-7", "traceparent": r.Delivery.TraceParent, "X-Tenant": "acme", "Accept-Encoding": "",
	} {
		if got.Header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), value)
		}
	}
	if a.StatusCode != 200 || a.IP != "127.0.0.1" || a.Method != "POST" || a.URL != server.URL+"/hook?a=b" || a.Latency <= 0 {
		t.Errorf("the attempt says %+v", a)
	}
	verifyEverywhere(t, got)
}

// verifyEverywhere checks a request as receivers do: with the Standard
// Webhooks library, with Convoy's SDK, and with our own verifier.
func verifyEverywhere(t *testing.T, got heard) {
	t.Helper()
	library, err := standard.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := library.Verify(got.body, got.Header); err != nil {
		t.Errorf("the Standard Webhooks library: %v", err)
	}
	sdk := convoy.NewWebhook(&convoy.WebhookOpts{Secret: testSecret})
	if err := sdk.VerifyPayload(got.body, got.Header.Get("X-Convoy-Signature")); err != nil {
		t.Errorf("Convoy's SDK: %v", err)
	}
	own := Verifier{Secrets: []string{testSecret}, Now: time.Now()}
	if err := own.Standard(got.Header, got.body); err != nil {
		t.Errorf("our verifier, Standard Webhooks: %v", err)
	}
	if err := own.Convoy(got.Header, got.body); err != nil {
		t.Errorf("our verifier, Convoy: %v", err)
	}
}

func TestMethodOfTheEndpoint(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	for i, method := range []string{"POST", "PUT", "PATCH"} {
		r := deliveryTo(server.URL)
		r.Endpoint.Method = method
		want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
		if got := all()[i].Method; got != method {
			t.Errorf("the receiver got %s, want %s", got, method)
		}
	}
}

func TestCustomHeadersNeverReplaceTheGateways(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	r := deliveryTo(server.URL)
	r.Signature.Header = "X-Shop-Signature"
	r.Endpoint.Authentication = &millrace.Authentication{Type: millrace.AuthBearer, Bearer: "ours"}
	r.Delivery.Headers = map[string]string{
		"Webhook-ID": "forged", "content-type": "text/plain", "X-Convoy-Signature": "forged", "X-Convoy-Idempotency-Key": "forged",
		"x-shop-signature": "forged", "authorization": "forged", "User-Agent": "forged", "traceparent": "forged",
		"Host": "forged.example", "Connection": "close", "Transfer-Encoding": "identity", "Content-Length": "3", "X-Bad": "a\r\nX-Evil: b", "X-Good": "kept",
	}

	a := sendOK(t, w, r)

	want(t, a, millrace.OutcomeSuccess)
	got := all()[0]
	for name, values := range got.Header {
		if strings.Contains(strings.Join(values, ","), "forged") || name == "X-Evil" {
			t.Errorf("%s: %v got through", name, values)
		}
	}
	if got.Host == "forged.example" || got.Close || string(got.body) != testPayload || got.Header.Get("X-Good") != "kept" {
		t.Errorf("the receiver got %+v", got.Request)
	}
	if got.Header.Get("Authorization") != "Bearer ours" {
		t.Errorf("Authorization: %q", got.Header.Get("Authorization"))
	}
}

func TestConvoyHeadersAreSentUnlessTurnedOff(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	r := deliveryTo(server.URL)
	r.Signature.Convoy = false
	want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
	if got := all()[0].Header; got.Get("X-Convoy-Signature") != "" || got.Get("Webhook-Signature") == "" {
		t.Errorf("the receiver got %v", got)
	}
}

func TestWhatCannotBeSentIsSaid(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	cases := map[string]func(*millrace.Request){
		"a URL without a host":        func(r *millrace.Request) { r.Endpoint.URL = "https:///x" },
		"a URL of another scheme":     func(r *millrace.Request) { r.Endpoint.URL = "ftp://example.com" },
		"no secret that lives":        func(r *millrace.Request) { r.Endpoint.Secrets[0].ExpiresAt = time.Now().Add(-time.Second) },
		"a secret that is not base64": func(r *millrace.Request) { r.Endpoint.Secrets[0].Value = "whsec_***" },
		"v1a without a key":           func(r *millrace.Request) { r.Endpoint.SignatureSchemes = []string{"v1", "v1a"} },
		"a hash that Convoy has not": func(r *millrace.Request) {
			r.Signature.Versions = []millrace.SignatureVersion{{Hash: "MD5", Encoding: "hex"}}
		},
		"an encoding that Convoy has not": func(r *millrace.Request) {
			r.Signature.Versions = []millrace.SignatureVersion{{Hash: "SHA256", Encoding: "base32"}}
		},
		"a form of what is no object":  func(r *millrace.Request) { r.Endpoint.ContentType, r.Delivery.Payload = formType, []byte(`[1]`) },
		"a client certificate of junk": func(r *millrace.Request) { r.Endpoint.ClientCert = &millrace.ClientCert{Cert: "junk", Key: "junk"} },
		"a CA of junk":                 func(r *millrace.Request) { r.Endpoint.CACert = "junk" },
		"half an authentication": func(r *millrace.Request) {
			r.Endpoint.Authentication = &millrace.Authentication{Type: millrace.AuthBasic}
		},
		"a signature header of no name": func(r *millrace.Request) { r.Signature.Header = "not a name" },
		"an API key that breaks the line": func(r *millrace.Request) {
			r.Endpoint.Authentication = &millrace.Authentication{Type: millrace.AuthAPIKey, APIKey: &millrace.APIKeyAuth{Header: "X-Key", Value: "a\nb"}}
		},
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			r := deliveryTo(server.URL)
			spoil(&r)
			want(t, sendOK(t, w, r), millrace.OutcomeUnsendable)
		})
	}
	if n := len(all()); n != 0 {
		t.Errorf("%d requests were sent all the same", n)
	}
}

func TestAKeyThatFitsInNoHeaderIsLeftOut(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	r := deliveryTo(server.URL)
	r.Delivery.IdempotencyKey = "two\nlines"
	want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
	if _, there := all()[0].Header["X-Convoy-Idempotency-Key"]; there {
		t.Error("it was sent")
	}
}

func TestAnEmptyBodyIsSentAsOne(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	r := deliveryTo(server.URL)
	r.Endpoint.ContentType, r.Delivery.Payload = formType, []byte(`{}`)
	r.Delivery.Headers = map[string]string{"Idempotency-Key": "k"} // net/http would take it as leave to repeat
	want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
	if got := all()[0]; len(got.body) != 0 || got.Header.Get("Content-Length") != "0" && got.ContentLength != 0 {
		t.Errorf("the receiver got %q with length %d", got.body, got.ContentLength)
	}
	verifyEverywhere(t, all()[0])
}

func TestSecretsAreNotShown(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	for name, spoil := range map[string]func(*millrace.Request){
		"bearer": func(r *millrace.Request) {
			r.Endpoint.Authentication = &millrace.Authentication{Type: millrace.AuthBearer, Bearer: "s3cr3t"}
		},
		"API key": func(r *millrace.Request) {
			r.Endpoint.Authentication = &millrace.Authentication{Type: millrace.AuthAPIKey, APIKey: &millrace.APIKeyAuth{Header: "X-Shop-Key", Value: "s3cr3t"}}
		},
		"an event's own Authorization": func(r *millrace.Request) { r.Delivery.Headers = map[string]string{"authorization": "s3cr3t"} },
		"a password in the URL":        func(r *millrace.Request) { r.Endpoint.URL = strings.Replace(r.Endpoint.URL, "//", "//u:s3cr3t@", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := deliveryTo(server.URL)
			spoil(&r)
			a := sendOK(t, w, r)
			want(t, a, millrace.OutcomeSuccess)
			var shown strings.Builder
			a.RequestHeader.Write(&shown)
			if strings.Contains(shown.String()+a.URL, "s3cr3t") {
				t.Errorf("the attempt shows %s %s", a.URL, shown.String())
			}
			if !strings.Contains(shown.String(), redacted) || a.RequestHeader.Get("Webhook-Id") != r.Delivery.EventID.String() {
				t.Errorf("the attempt does not show what was sent: %s", shown.String())
			}
			got := all()
			if user, password, _ := got[len(got)-1].BasicAuth(); name == "a password in the URL" && (user != "u" || password != "s3cr3t") {
				t.Errorf("the receiver got %q:%q", user, password)
			}
		})
	}
}
