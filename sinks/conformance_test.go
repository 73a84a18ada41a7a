package sinks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/millrace-dev/millrace"
)

// rig is a broker in process, as the suite that every sink passes sees it.
type rig interface {
	// endpoint is one that the broker takes messages for.
	endpoint() millrace.Endpoint
	// at points an endpoint somewhere else.
	at(e *millrace.Endpoint, address string)
	// missing names what the broker does not have.
	missing(e *millrace.Endpoint)
	// wrong spoils an endpoint's credentials, all of which hold brokerSecret.
	wrong(e *millrace.Endpoint)
	// arrived is what the broker has for the endpoint, once it has so many.
	arrived(t *testing.T, n int) []arrival
}

// arrival is a message as its consumer gets it.
type arrival struct {
	id      string // as Watermill's subscribers read it
	headers map[string]string
	body    []byte
}

// brokerSecret is in every secret that the suite gives away: no attempt may
// show it.
const brokerSecret = "open-sesame"

// rigs starts each kind of broker.
func rigs() map[string]func(testing.TB) rig {
	return map[string]func(testing.TB) rig{"kafka": newKafkaRig, "sqs": newSQSRig, "pubsub": newPubSubRig, "amqp": newAMQPRig}
}

func eachBroker(t *testing.T, test func(t *testing.T, r rig)) {
	for name, start := range rigs() {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

// allSinks makes sinks that leave through the proxy.
func allSinks(t testing.TB, p *connectProxy) *Sinks {
	t.Helper()
	c := DefaultConfig()
	c.Proxies = []string{p.url()}
	c.RestAfterFailure = 50 * time.Millisecond
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// deliveryOn is a delivery to a broker.
func deliveryOn(e millrace.Endpoint) millrace.Request {
	r := deliveryTo("")
	e.ID, e.Secrets, e.AdvancedSignatures = r.Endpoint.ID, r.Endpoint.Secrets, true
	e.Name, e.Timeout = "orders", patience
	r.Endpoint = e.WithDefaults()
	r.Delivery.IdempotencyKey = "key-7"
	r.Delivery.Headers = map[string]string{"X-Tenant": "blue", "Authorization": "Bearer " + brokerSecret}
	return r
}

func sent(t testing.TB, s *Sinks, r millrace.Request) millrace.Attempt {
	t.Helper()
	a, err := s.Send(t.Context(), r)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	encoded, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(encoded), brokerSecret) {
		t.Errorf("the attempt shows a secret: %s", encoded)
	}
	if a.Method != "PUBLISH" || a.URL != r.Endpoint.Sink.Address() {
		t.Errorf("the attempt says %s %s", a.Method, a.URL)
	}
	return a
}

func TestABrokerIsGivenTheBytesAndTheHeadersOnce(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		s := allSinks(t, newProxy(t))
		d := deliveryOn(r.endpoint())
		if err := d.Endpoint.Validate(); err != nil {
			t.Fatal(err)
		}
		a := sent(t, s, d)
		want(t, a, millrace.OutcomeSuccess)
		if !json.Valid(a.Body) || len(a.Body) < 10 || a.Latency <= 0 || a.StatusCode != 0 {
			t.Errorf("the attempt says %s after %s, with status %d", a.Body, a.Latency, a.StatusCode)
		}
		got := r.arrived(t, 1)
		if len(got) != 1 || string(got[0].body) != testPayload || got[0].id != d.Delivery.EventID.String() {
			t.Fatalf("arrived: %+v", got)
		}
		for name, value := range map[string]string{
			"webhook-id": d.Delivery.EventID.String(), "content-type": "application/json", "x-millrace-event-type": "order.paid",
			"x-convoy-idempotency-key": "key-7", "x-tenant": "blue", "authorization": "Bearer " + brokerSecret,
		} {
			if got[0].headers[name] != value {
				t.Errorf("%s is %q, want %q", name, got[0].headers[name], value)
			}
		}
		verify(t, got[0])
		if a.RequestHeader.Get("X-Tenant") != "blue" || a.RequestHeader.Get("Authorization") != redacted {
			t.Errorf("the attempt's headers are %v", a.RequestHeader)
		}
	})
}

// verify checks both signatures as a consumer does.
func verify(t *testing.T, m arrival) {
	t.Helper()
	header := http.Header{}
	for name, value := range m.headers {
		header.Set(name, value)
	}
	webhook, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := webhook.Verify(m.body, header); err != nil {
		t.Errorf("the signature does not hold: %v; headers %v", err, m.headers)
	}
	if !strings.HasPrefix(header.Get("X-Convoy-Signature"), "t=") {
		t.Errorf("Convoy's signature is %q", header.Get("X-Convoy-Signature"))
	}
}

func TestABrokerIsGivenAnyBytes(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		s := allSinks(t, newProxy(t))
		payload := []byte("\x00\x01\xff\xfe not JSON, nor UTF-8 \xc3\x28")
		d := deliveryOn(r.endpoint())
		d.Delivery.Payload = payload
		want(t, sent(t, s, d), millrace.OutcomeSuccess)
		got := r.arrived(t, 1)
		if !bytes.Equal(got[0].body, payload) {
			t.Errorf("arrived %q", got[0].body)
		}
		verify(t, got[0])
	})
}

func TestABrokerThatRefusesTheCredentialsIsAFailedAttempt(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		s := allSinks(t, newProxy(t))
		d := deliveryOn(r.endpoint())
		r.wrong(&d.Endpoint)
		want(t, sent(t, s, d), millrace.OutcomeAuthentication)
		want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess) // the right ones are not touched
	})
}

func TestABrokerThatHasNoSuchPlaceIsAFailedAttempt(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		s := allSinks(t, newProxy(t))
		d := deliveryOn(r.endpoint())
		r.missing(&d.Endpoint)
		for range 2 {
			want(t, sent(t, s, d), millrace.OutcomeMissing)
		}
		want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
	})
}

func TestABrokerThatCannotBeReachedIsAFailedAttemptAtOnce(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		s := allSinks(t, newProxy(t))
		d := deliveryOn(r.endpoint())
		r.at(&d.Endpoint, closedPort(t))
		started := time.Now()
		want(t, sent(t, s, d), millrace.OutcomeConnect)
		if took := time.Since(started); took > patience/2 {
			t.Errorf("it took %s to learn that nothing listens", took)
		}
	})
}

// closedPort is an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestABrokerThatHangsHoldsTheDeadline(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		s := allSinks(t, newProxy(t))
		silent := listen(t, hold)
		d := deliveryOn(r.endpoint())
		r.at(&d.Endpoint, silent.addr())
		d.Endpoint.Timeout = 300 * time.Millisecond
		for range 2 {
			a := sent(t, s, d)
			want(t, a, millrace.OutcomeTimeout)
			if over := a.Latency - d.Endpoint.Timeout; over < 0 || over > overshoot {
				t.Errorf("a deadline of %s was held after %s", d.Endpoint.Timeout, a.Latency)
			}
		}
	})
}

func TestABrokerThatThePolicyForbidsIsBlocked(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		p := newProxy(t)
		p.answers("HTTP/1.1 403 Forbidden\r\nX-Millrace-Egress: address_not_public\r\nContent-Length: 0\r\n\r\n")
		s := allSinks(t, p)
		want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeBlocked)
		if r := p.seen.Load(); r.Header.Get("X-Millrace-Egress-For") != "broker" {
			t.Errorf("the egress was asked with %v", r.Header)
		}
		p.answer.Store(nil) // the operator opens it
		want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
	})
}

func TestAnEgressThatIsAwayCostsABrokerNoAttempt(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		p := newProxy(t)
		p.answers("HTTP/1.1 503 Service Unavailable\r\nX-Millrace-Egress: overloaded\r\nContent-Length: 0\r\n\r\n")
		s := allSinks(t, p)
		if _, err := s.Send(t.Context(), deliveryOn(r.endpoint())); !millrace.IsUnavailable(err) {
			t.Fatalf("an egress that is overloaded: %v", err)
		}
		p.answer.Store(nil)
		want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
		p.kill()
		if a, err := s.Send(t.Context(), deliveryOn(r.endpoint())); !millrace.IsUnavailable(err) {
			t.Fatalf("an egress that died: %+v, %v", a, err)
		}
	})
}

func TestAnEndedContextIsNoAttempt(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		s := allSinks(t, newProxy(t))
		silent := listen(t, hold)
		d := deliveryOn(r.endpoint())
		r.at(&d.Endpoint, silent.addr())
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("we stop"))
		defer cancel()
		if _, err := s.Send(ctx, d); !millrace.IsUnavailable(err) || !strings.Contains(err.Error(), "we stop") {
			t.Errorf("answered %v", err)
		}
	})
}

func TestManyEndpointsShareConnections(t *testing.T) {
	eachBroker(t, func(t *testing.T, r rig) {
		p := newProxy(t)
		s := allSinks(t, p)
		const endpoints, each = 20, 10
		want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
		var sending sync.WaitGroup
		failures := make(chan string, endpoints*each)
		for range endpoints {
			d := deliveryOn(r.endpoint())
			sending.Go(func() {
				for range each {
					d.Delivery.EventID = millrace.NewID(time.Now())
					if a, err := s.Send(t.Context(), d); err != nil || !a.Outcome.Success() {
						failures <- fmt.Sprintf("%s %s %v", a.Outcome, a.Error, err)
					}
				}
			})
		}
		sending.Wait()
		close(failures)
		for f := range failures {
			t.Error(f)
		}
		if got := r.arrived(t, 1+endpoints*each); len(got) != 1+endpoints*each {
			t.Errorf("%d messages arrived, want %d", len(got), 1+endpoints*each)
		}
		if n := p.tunnels.Load(); n > 2*endpoints {
			t.Errorf("%d deliveries to %d endpoints took %d tunnels", endpoints*each, endpoints, n)
		}
	})
}
