package app

import (
	"errors"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
)

func policyOf(t *testing.T, change func(*egress.Config)) *egress.Policy {
	t.Helper()
	c := egress.DefaultConfig()
	change(&c)
	p, err := egress.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func kafkaAt(brokers ...string) *millrace.PubSub {
	return &millrace.PubSub{Kind: millrace.BrokerKafka, Kafka: &millrace.KafkaSource{Brokers: brokers}}
}

func TestASourcesAddressesAreJudgedWhenTheyAreGiven(t *testing.T) {
	amqp := func(host string, port int) *millrace.PubSub {
		return &millrace.PubSub{Kind: millrace.BrokerAMQP, AMQP: &millrace.AMQPSource{Host: host, Port: port}}
	}
	sqs := func(endpoint string) *millrace.PubSub {
		return &millrace.PubSub{Kind: millrace.BrokerSQS, SQS: &millrace.SQSSource{Endpoint: endpoint}}
	}
	google := func(endpoint string) *millrace.PubSub {
		return &millrace.PubSub{Kind: millrace.BrokerGoogle, Google: &millrace.GoogleSource{Endpoint: endpoint}}
	}
	closed := func(*egress.Config) {}
	opened := func(c *egress.Config) {
		c.AllowCIDRs, c.AllowHosts = []string{"10.1.0.0/16"}, []string{"kafka.internal"}
	}
	loopback := func(c *egress.Config) { c.AllowLoopback = true }
	for _, c := range []struct {
		rule   string
		config func(*egress.Config)
		from   *millrace.PubSub
		field  string // empty: it is taken
	}{
		{"a webhook's source has none", closed, nil, ""},
		{"a public broker", closed, kafkaAt("kafka.example.com:9092"), ""},
		{"Kafka on this machine", closed, kafkaAt("kafka.example.com:9092", "127.0.0.1:9092"), "pub_sub.kafka.brokers"},
		{"Kafka at a private address", closed, kafkaAt("10.1.2.3:9092"), "pub_sub.kafka.brokers"},
		{"Kafka where the platform's metadata is", closed, kafkaAt("169.254.169.254:80"), "pub_sub.kafka.brokers"},
		{"Kafka by a private name", closed, kafkaAt("kafka.internal:9092"), "pub_sub.kafka.brokers"},
		{"Kafka at another service's port", closed, kafkaAt("kafka.example.com:6379"), "pub_sub.kafka.brokers"},
		{"an SQS on this machine", closed, sqs("http://localhost:9324"), "pub_sub.sqs.endpoint"},
		{"an SQS at a private address", closed, sqs("http://10.1.2.3:9324"), "pub_sub.sqs.endpoint"},
		{"an SQS where the platform's metadata is", closed, sqs("http://169.254.169.254/latest/meta-data"), "pub_sub.sqs.endpoint"},
		{"a public one in the place of SQS", closed, sqs("https://sqs.example.com"), ""},
		{"Amazon's own", closed, sqs(""), ""},
		{"an emulator of Pub/Sub on this machine", closed, google("127.0.0.1:8085"), "pub_sub.google.endpoint"},
		{"one where the platform's metadata is", closed, google("169.254.169.254:80"), "pub_sub.google.endpoint"},
		{"Google's own", closed, google(""), ""},
		{"AMQP on this machine", closed, amqp("localhost", 5672), "pub_sub.amqp.host"},
		{"AMQP at a private address", closed, amqp("10.1.2.3", 5672), "pub_sub.amqp.host"},
		{"AMQP where the platform's metadata is", closed, amqp("169.254.169.254", 80), "pub_sub.amqp.host"},
		{"a public broker of AMQP", closed, amqp("rabbit.example.com", 5671), ""},
		{"a private address that the operator opened", opened, kafkaAt("10.1.2.3:9092"), ""},
		{"a private name that the operator opened", opened, kafkaAt("kafka.internal:9092"), ""},
		{"another that was not opened", opened, kafkaAt("10.2.0.1:9092"), "pub_sub.kafka.brokers"},
		{"this machine where it was opened", loopback, amqp("localhost", 6379), ""},
		{"the platform's metadata where this machine was opened", loopback, kafkaAt("169.254.169.254:80"), "pub_sub.kafka.brokers"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			err := judge(policyOf(t, c.config), c.from.Destinations())
			if (err != nil) != (c.field != "") || err != nil && (!strings.Contains(err.Error(), c.field) || millrace.CodeOf(err) != millrace.CodeInvalid) {
				t.Errorf("%v, want a fault of %q", err, c.field)
			}
		})
	}
}

func TestOnlyAnotherAddressOfASourceIsJudged(t *testing.T) {
	policy := policyOf(t, func(*egress.Config) {})
	change := func(to *millrace.PubSub) error {
		s := millrace.Source{Name: "orders", PubSub: kafkaAt("10.1.2.3:9092")} // made while that was open
		return judgedChange(policy, func(s *millrace.Source) error {
			s.Disabled, s.PubSub = true, to
			return nil
		})(&s)
	}
	if err := change(kafkaAt("10.1.2.3:9092")); err != nil {
		t.Errorf("with the address that it has: %v", err)
	}
	if err := change(kafkaAt("10.1.2.4:9092")); err == nil {
		t.Error("another private address is taken")
	}
	failed := errors.New("it cannot be changed")
	if err := judgedChange(policy, func(*millrace.Source) error { return failed })(&millrace.Source{}); !errors.Is(err, failed) {
		t.Errorf("a change that fails is %v", err)
	}
}
