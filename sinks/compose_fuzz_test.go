package sinks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// told is what a client decides of a request's head.
type told struct {
	name, value, other, otherValue, key, trace, keyHeader, keyValue string
}

// request is a delivery that bears it, whatever it is.
func (h told) request(payload []byte) millrace.Request {
	r := deliveryTo("https://receiver.example.com:8443/hooks?a=b")
	r.Signature.Convoy = true
	r.Delivery.Payload, r.Delivery.IdempotencyKey, r.Delivery.TraceParent = payload, h.key, h.trace
	r.Delivery.Headers = map[string]string{h.name: h.value, h.other: h.otherValue}
	if h.keyHeader != "" {
		r.Endpoint.Authentication = &millrace.Authentication{
			Type: millrace.AuthAPIKey, APIKey: &millrace.APIKeyAuth{Header: h.keyHeader, Value: millrace.Sensitive(h.keyValue)},
		}
	}
	return r
}

// FuzzHeadersOnTheWire holds that whatever headers an event has, and whatever
// its key, its trace and its endpoint's API key are, what a receiver reads is
// one request, with the bytes and the signatures of the gateway, and with no
// header that is neither the gateway's nor one that was given and may be sent.
func FuzzHeadersOnTheWire(f *testing.F) {
	f.Add("X-Tenant", "a", "x-tenant-2", "b c", "key", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Api-Key", "s3cret", []byte(testPayload))
	f.Add("x\r\nHost", "a\r\n\r\nGET / HTTP/1.1", "Webhook-Id", "mine", "k\r\nX: y", "a\nb", "Host", "b", []byte("\r\n\r\n"))
	f.Add("content-length", "0", "Transfer-Encoding", "chunked", "", "", "Authorization", "\x00", []byte{})
	f.Add(millrace.HeaderCameAs, "text/plain\r\nX: y", "Idempotency-Key", " \t", "\xff", "", "", "", []byte("a"))
	f.Add("webhook-signature", "v1,AAAA", "TRAILER", "Webhook-Id", "é", "", "x-convoy-signature", "t=1", []byte("a"))
	f.Add("X-A", "a\nWebhook-Id: mine", "Host", "elsewhere.example.com", "k", "", "", "", []byte("a"))
	f.Add("Content-Length", "7", "User-Agent", "me", "k", "", "Webhook-Key", "v", []byte("a"))
	w := &Webhook{userAgent: "Millrace/test"}
	f.Fuzz(func(t *testing.T, name, value, other, otherValue, key, trace, keyHeader, keyValue string, payload []byte) {
		h := told{name, value, other, otherValue, key, trace, keyHeader, keyValue}
		r := h.request(payload)
		now := time.Now()
		c, err := w.compose(&r, now)
		if err != nil {
			if keyHeader == "" || millrace.SendableHeader(textproto.CanonicalMIMEHeaderKey(keyHeader), keyValue) {
				t.Fatalf("it cannot be sent: %v", err)
			}
			return
		}
		got, body := overTheWire(t, c)
		if got.Method != "POST" || got.Host != "receiver.example.com:8443" || got.RequestURI != "/hooks?a=b" || !bytes.Equal(body, payload) {
			t.Errorf("%s %s of %s came with %q, want %q", got.Method, got.RequestURI, got.Host, body, payload)
		}
		v := Verifier{Secrets: []string{testSecret}, Signature: r.Signature, Now: now}
		if err := errors.Join(v.Standard(got.Header, body), v.Convoy(got.Header, body)); err != nil {
			t.Errorf("its signatures: %v", err)
		}
		if got.Header.Get("Webhook-Id") != r.Delivery.EventID.String() || got.Header.Get("User-Agent") != w.userAgent {
			t.Errorf("it came as %v", got.Header)
		}
		for name, values := range got.Header {
			if !slices.Contains(ownHeaders, name) && (len(values) != 1 || !h.gave(name, values[0])) {
				t.Errorf("nobody gave the header %q: %q", name, values)
			}
		}
	})
}

// ownHeaders are those that are the gateway's, and net/http's.
var ownHeaders = []string{
	"Content-Length", "Content-Type", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Convoy-Signature",
	"X-Convoy-Idempotency-Key", "Traceparent",
}

// gave tells whether a header is one of those given; around a value, space
// says nothing (RFC 9110, section 5.5).
func (h told) gave(name, value string) bool {
	for _, one := range [][2]string{{h.name, h.value}, {h.other, h.otherValue}, {h.keyHeader, h.keyValue}} {
		if textproto.CanonicalMIMEHeaderKey(one[0]) == name && strings.Trim(one[1], " \t") == value {
			return true
		}
	}
	return false
}

// overTheWire writes a call as it is sent and reads it as a receiver does.
func overTheWire(t *testing.T, c call) (*http.Request, []byte) {
	t.Helper()
	var wire bytes.Buffer
	if err := c.request(context.Background()).Write(&wire); err != nil {
		t.Fatalf("write it: %v", err)
	}
	sent := wire.String()
	in := bufio.NewReader(&wire)
	got, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("read it: %v\n%q", err, sent)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil || in.Buffered() > 0 || wire.Len() > 0 || len(got.Trailer) > 0 || len(got.TransferEncoding) > 0 {
		t.Fatalf("it is more than one request, or less (%v):\n%q", err, sent)
	}
	return got, body
}

// FuzzBrokerHeaders holds the same of what a broker is given: the headers that
// are the gateway's are its own, and the id of the message is the event's.
func FuzzBrokerHeaders(f *testing.F) {
	f.Add("X-Tenant", "a", "x-millrace-event-type", "b", "key", "", []byte(testPayload))
	f.Add("Webhook-Id", "mine", "content-type", "text/html", "k\r\nX: y", "a\nb", []byte("\xff"))
	f.Fuzz(func(t *testing.T, name, value, other, otherValue, key, trace string, payload []byte) {
		r := told{name: name, value: value, other: other, otherValue: otherValue, key: key, trace: trace}.request(payload)
		now := time.Now()
		p, err := compose(&r, now)
		if err != nil {
			t.Fatalf("it cannot be published: %v", err)
		}
		header := http.Header{}
		for name, value := range p.message.Metadata {
			if name != strings.ToLower(name) || strings.ContainsAny(name+value, "\r\n\x00") {
				t.Errorf("it has the header %q: %q", name, value)
			}
			header.Set(name, value)
		}
		v := Verifier{Secrets: []string{testSecret}, Signature: r.Signature, Now: now}
		if err := errors.Join(v.Standard(header, p.message.Payload), v.Convoy(header, p.message.Payload)); err != nil {
			t.Errorf("its signatures: %v", err)
		}
		id := r.Delivery.EventID.String()
		if p.message.UUID != id || header.Get("Webhook-Id") != id || header.Get(headerEventType) != r.Delivery.EventType || !bytes.Equal(p.message.Payload, payload) {
			t.Errorf("it came as %v with %q", p.message.Metadata, p.message.Payload)
		}
		r.Endpoint.Sink.Kafka = &millrace.KafkaSink{Topic: "orders"}
		seen := map[string]string{}
		for _, h := range kafkaRecord(p).Headers {
			if _, twice := seen[h.Key]; twice {
				t.Errorf("a record of Kafka has the header %q twice", h.Key)
			}
			seen[h.Key] = string(h.Value)
		}
		r.Endpoint.Sink.AMQP = &millrace.AMQPSink{}
		published, err := newAMQPMessage(p)
		if seen[headerUUID] != id || err == nil && published.Headers[headerUUID] != id {
			t.Errorf("for Watermill it is the message %q, by AMQP %q, want %q", seen[headerUUID], published.Headers[headerUUID], id)
		}
	})
}
