package millrace_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestOriginsDifferWhereverTheirPartsDo(t *testing.T) {
	kafka := func(topic string, brokers ...string) *millrace.PubSub {
		return &millrace.PubSub{Kind: millrace.BrokerKafka, Kafka: &millrace.KafkaSource{Brokers: brokers, Topic: topic, GroupID: "g"}}
	}
	origins := map[string]string{}
	for name, p := range map[string]*millrace.PubSub{
		"none":                    nil,
		"nothing in it":           {Kind: millrace.BrokerKafka},
		"a topic":                 kafka("t", "a:1"),
		"another topic":           kafka("u", "a:1"),
		"more brokers":            kafka("t", "a:1", "b:1"),
		"a topic with a quote":    kafka(`t" "a:1`, ""),
		"a queue":                 {Kind: millrace.BrokerSQS, SQS: &millrace.SQSSource{Region: "r", Queue: "q"}},
		"a queue elsewhere":       {Kind: millrace.BrokerSQS, SQS: &millrace.SQSSource{Region: "r", Queue: "q", Endpoint: "http://e"}},
		"a subscription":          {Kind: millrace.BrokerGoogle, Google: &millrace.GoogleSource{ProjectID: "r", SubscriptionID: "q"}},
		"a queue of AMQP":         {Kind: millrace.BrokerAMQP, AMQP: &millrace.AMQPSource{Host: "h", Queue: "q"}},
		"a queue of a vhost":      {Kind: millrace.BrokerAMQP, AMQP: &millrace.AMQPSource{Host: "h", Queue: "q", VHost: "v"}},
		"a queue of another port": {Kind: millrace.BrokerAMQP, AMQP: &millrace.AMQPSource{Host: "h", Queue: "q", Port: 1}},
	} {
		origin := p.Origin()
		if other, taken := origins[origin]; taken {
			t.Errorf("%s and %s have the origin %q", name, other, origin)
		}
		origins[origin] = name
	}
	if a, b := kafka("t", "a:1", "b:1").Origin(), kafka("t", "b:1", "a:1").Origin(); a != b {
		t.Errorf("the order of brokers makes %q of %q", b, a)
	}
}

// A secret that Secrets does not name would be lost in the database.
func TestEverySecretOfASourceIsNamed(t *testing.T) {
	var s millrace.Source
	n := setSecrets(reflect.ValueOf(&s).Elem())
	secrets := s.Secrets()
	if len(secrets) != n || n == 0 {
		t.Errorf("%d of %d secrets are named: %v", len(secrets), n, secrets)
	}
	for name, at := range secrets {
		if at.Reveal() != "secret" {
			t.Errorf("%s is %q", name, at.Reveal())
		}
		*at = "other"
	}
	for name, at := range s.Secrets() {
		if at.Reveal() != "other" {
			t.Errorf("what is written to %s does not reach it", name)
		}
	}
	if n := len((millrace.Source{}).Secrets()); n != 0 {
		t.Errorf("a source of nothing has %d secrets", n)
	}
}

// setSecrets makes all that a value points to, sets each secret in it, and
// counts them.
func setSecrets(v reflect.Value) int {
	n := 0
	switch {
	case v.Type() == reflect.TypeFor[millrace.Sensitive]():
		v.SetString("secret")
		return 1
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return setSecrets(v.Elem())
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			n += setSecrets(v.Field(i))
		}
	}
	return n
}

func TestASourceOfKafkaHasABoundedNumberOfBrokers(t *testing.T) {
	s := millrace.Source{Name: "orders", Type: millrace.SourcePubSub, PubSub: &millrace.PubSub{
		Kind: millrace.BrokerKafka, Kafka: &millrace.KafkaSource{Topic: "t", GroupID: "g"},
	}}
	for n, refused := range map[int]bool{0: true, 1: false, 20: false, 21: true} {
		s.PubSub.Kafka.Brokers = slices.Repeat([]string{"kafka.example.com:9092"}, n)
		if err := s.Validate(); (err != nil) != refused {
			t.Errorf("with %d brokers: %v", n, err)
		}
	}
}

func TestASourcesAddressesHaveAHostAndAPort(t *testing.T) {
	for _, c := range []struct {
		rule, address string
		refused       bool
	}{
		{"a name and a port", "kafka.example.com:9092", false},
		{"an address and a port", "[2001:db8::1]:9092", false},
		{"no port", "kafka.example.com", true},
		{"an empty port", "kafka.example.com:", true},
		{"a port that is no number", "kafka.example.com:kafka", true},
		{"a port with a sign", "kafka.example.com:+9092", true},
		{"a port that does not exist", "kafka.example.com:65536", true},
		{"no host", ":9092", true},
		{"a URL", "https://kafka.example.com:9092", true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			for name, p := range map[string]*millrace.PubSub{
				"pub_sub.kafka.brokers": {Kind: millrace.BrokerKafka, Kafka: &millrace.KafkaSource{Topic: "t", GroupID: "g", Brokers: []string{c.address}}},
				"pub_sub.google.endpoint": {Kind: millrace.BrokerGoogle, Google: &millrace.GoogleSource{
					ProjectID: "p", SubscriptionID: "s", Endpoint: c.address,
				}},
			} {
				err := (millrace.Source{Name: "orders", Type: millrace.SourcePubSub, PubSub: p}).Validate()
				if (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), name) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestASourceOfSQSShowsTheMachinesRoleToAmazonAlone(t *testing.T) {
	t.Parallel()
	for rule, c := range map[string]struct {
		change func(*millrace.SQSSource)
		field  string
	}{
		"the machine's role, at Amazon":  {func(*millrace.SQSSource) {}, ""},
		"a key, elsewhere":               {func(q *millrace.SQSSource) { q.AccessKeyID, q.SecretKey, q.Endpoint = "k", "s", "http://e:1" }, ""},
		"the machine's role, elsewhere":  {func(q *millrace.SQSSource) { q.Endpoint = "http://e:1" }, "pub_sub.sqs.access_key_id"},
		"a secret that is of no key":     {func(q *millrace.SQSSource) { q.SecretKey = "s" }, "pub_sub.sqs.access_key_id"},
		"a key whose secret is not told": {func(q *millrace.SQSSource) { q.AccessKeyID = "k" }, "pub_sub.sqs.secret_key"},
	} {
		q := &millrace.SQSSource{Region: "eu-west-1", Queue: "orders"}
		c.change(q)
		err := millrace.Source{Name: "n", Type: millrace.SourcePubSub, PubSub: &millrace.PubSub{Kind: millrace.BrokerSQS, Workers: 1, SQS: q}}.Validate()
		if (err == nil) != (c.field == "") || err != nil && !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: %v, want a fault of %q", rule, err, c.field)
		}
	}
}

func TestWhereASourceConnectsTo(t *testing.T) {
	for _, c := range []struct {
		rule string
		from *millrace.PubSub
		want []millrace.Destination
	}{
		{"no broker", nil, nil},
		{"each of Kafka's brokers", &millrace.PubSub{Kind: millrace.BrokerKafka, Kafka: &millrace.KafkaSource{Brokers: []string{"a:1", "b:2"}}},
			[]millrace.Destination{{Field: "pub_sub.kafka.brokers", Address: "a:1"}, {Field: "pub_sub.kafka.brokers", Address: "b:2"}}},
		{"Amazon's own SQS", &millrace.PubSub{Kind: millrace.BrokerSQS, SQS: &millrace.SQSSource{Region: "eu-west-1"}}, nil},
		{"what stands in its place", &millrace.PubSub{Kind: millrace.BrokerSQS, SQS: &millrace.SQSSource{Endpoint: "http://q:9324"}},
			[]millrace.Destination{{Field: "pub_sub.sqs.endpoint", URL: true, Address: "http://q:9324"}}},
		{"Google", &millrace.PubSub{Kind: millrace.BrokerGoogle, Google: &millrace.GoogleSource{ProjectID: "p"}}, nil},
		{"an emulator of it", &millrace.PubSub{Kind: millrace.BrokerGoogle, Google: &millrace.GoogleSource{Endpoint: "e:8085"}},
			[]millrace.Destination{{Field: "pub_sub.google.endpoint", Address: "e:8085"}}},
		{"a broker of AMQP", &millrace.PubSub{Kind: millrace.BrokerAMQP, AMQP: &millrace.AMQPSource{Host: "::1", Port: 5672}},
			[]millrace.Destination{{Field: "pub_sub.amqp.host", Address: "[::1]:5672"}}},
		{"nothing that belongs to another kind", &millrace.PubSub{Kind: millrace.BrokerKafka, AMQP: &millrace.AMQPSource{Host: "h", Port: 5672}}, nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := c.from.Destinations(); !slices.Equal(got, c.want) {
				t.Errorf("to %+v, want %+v", got, c.want)
			}
		})
	}
}
