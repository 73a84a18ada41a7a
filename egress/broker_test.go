package egress

import (
	"errors"
	"testing"
)

func TestCheckAddressJudgesABrokerAsAURLIsJudged(t *testing.T) {
	for _, c := range []struct {
		rule, raw, want string
		reason          Reason
	}{
		{"Kafka's port is a broker's", "kafka.example.com:9092", "kafka.example.com:9092", ""},
		{"so is its TLS port", "kafka.example.com:9093", "kafka.example.com:9093", ""},
		{"so is AMQP's", "rabbit.example.com:5672", "rabbit.example.com:5672", ""},
		{"and its TLS port", "rabbit.example.com:5671", "rabbit.example.com:5671", ""},
		{"a port that no service is known for", "kafka.example.com:19092", "kafka.example.com:19092", ""},
		{"a name in the form that is dialled", "Kafka.EXAMPLE.com.:9092", "kafka.example.com:9092", ""},
		{"an IPv6 address in its short form", "[2606:2800:0220:1::1]:9092", "[2606:2800:220:1::1]:9092", ""},
		{"another service's port is none", "kafka.example.com:6379", "", PortNotAllowed},
		{"nor is one below 1024", "kafka.example.com:22", "", PortNotAllowed},
		{"a private address", "10.0.0.1:9092", "", AddressNotPublic},
		{"this machine", "127.0.0.1:9092", "", AddressNotPublic},
		{"a private name", "kafka.internal:9092", "", NameNotPublic},
		{"a name without a dot", "kafka:9092", "", NameNotPublic},
		{"an address in other words", "0x7f000001:9092", "", BadTarget},
		{"no port", "kafka.example.com", "", BadTarget},
		{"a port that does not exist", "kafka.example.com:0", "", BadTarget},
		{"credentials", "user@kafka.example.com:9092", "", BadTarget},
		{"a URL", "https://kafka.example.com:9092", "", BadTarget},
		{"nothing", "", "", BadTarget},
	} {
		t.Run(c.rule, func(t *testing.T) {
			policy, err := NewPolicy(DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			got, err := policy.CheckAddress(c.raw)
			var refusal *Refusal
			if got != c.want || (err != nil) != (c.reason != "") || errors.As(err, &refusal) && refusal.Reason != c.reason {
				t.Errorf("got %q, %+v; want %q, %q", got, err, c.want, c.reason)
			}
		})
	}
}

func TestBrokersHaveNoPortThatTheOperatorClosed(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Ports = []string{"443", "9093"}
	policy, err := NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for address, allowed := range map[string]bool{"a.example.com:443": true, "a.example.com:9093": true, "a.example.com:9092": false, "a.example.com:5672": false} {
		if _, err := policy.CheckAddress(address); (err == nil) != allowed {
			t.Errorf("%s: %v; want allowed: %t", address, err, allowed)
		}
	}
}

func TestATunnelForABrokerMayGoToItsPort(t *testing.T) {
	r := startProxy(t, testConfig(), public(t)...)
	for _, c := range []struct {
		rule, target string
		headers      []string
		status       int
		reason       Reason
	}{
		{"a broker at its port", "public.example.com:9092", []string{ForHeader + ": broker"}, 200, Allowed},
		{"a webhook at a broker's port", "public.example.com:9092", nil, 403, PortNotAllowed},
		{"a broker at another service's port", "public.example.com:6379", []string{ForHeader + ": broker"}, 403, PortNotAllowed},
		{"what is no broker", "public.example.com:9092", []string{ForHeader + ": anything"}, 403, PortNotAllowed},
		{"a broker at a private address", "10.0.0.1:9092", []string{ForHeader + ": broker"}, 403, AddressNotPublic},
	} {
		t.Run(c.rule, func(t *testing.T) {
			client := r.open(t)
			client.send(t, connectHead(c.target, append(c.headers, "Proxy-Authorization: Bearer s3cret")...))
			wantAnswer(t, client.response(t), c.status, c.reason)
		})
	}
}
