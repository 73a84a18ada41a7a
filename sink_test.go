package millrace

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const serviceAccount = `{"type":"service_account","client_email":"a@b.example","private_key":"do-not-show-this"}`

// sinks has one of each kind, with all that may be set.
func sinks() map[SinkKind]Sink {
	return map[SinkKind]Sink{
		SinkKafka: {Kafka: &KafkaSink{
			Brokers: []string{"k1.example.com:9092", "k2.example.com:9092"}, Topic: "orders", Key: "order.id",
			Auth: KafkaAuth{Type: "scram", Hash: "SHA512", Username: "u", Password: "do-not-show-this", TLS: true},
		}},
		SinkSQS: {SQS: &SQSSink{
			AccessKeyID: "AKIA", SecretKey: "do-not-show-this", Region: "eu-west-1", Queue: "orders.fifo", Endpoint: "https://sqs.example.com",
			GroupID: "customer.id", DeduplicationID: "order.id",
		}},
		SinkPubSub: {PubSub: &PubSubSink{
			ProjectID: "shop", Topic: "orders", ServiceAccount: Sensitive(base64.StdEncoding.EncodeToString([]byte(serviceAccount))), OrderingKey: "customer.id",
		}},
		SinkAMQP: {AMQP: &AMQPSink{
			Schema: "amqps", Host: "rabbit.example.com", Port: 5671, Auth: BasicSecret{User: "u", Password: "do-not-show-this"}, VHost: "shop/eu", Exchange: "events",
		}},
	}
}

func brokerEndpoint(kind SinkKind) Endpoint {
	e := validEndpoint()
	e.Kind, e.Sink = kind, sinks()[kind]
	return e.WithDefaults()
}

func TestABrokersAddressIsShownLikeAURLWithoutItsCredentials(t *testing.T) {
	for kind, want := range map[SinkKind]string{
		SinkKafka: "kafka://k1.example.com:9092/orders", SinkSQS: "sqs://eu-west-1/orders.fifo", SinkPubSub: "pubsub://shop/orders",
		SinkAMQP: "amqps://rabbit.example.com:5671/shop%2Feu/events",
	} {
		e := brokerEndpoint(kind)
		if err := e.Validate(); err != nil || e.URL != want {
			t.Errorf("%s is shown as %q, %v; want %q", kind, e.URL, err, want)
		}
	}
	plain := AMQPSink{Schema: "amqp", Host: "::1", Port: 5672}
	if got := (Sink{AMQP: &plain}).Address(); got != "amqp://[::1]:5672/%2F/" {
		t.Errorf("a default exchange in the default vhost is shown as %q", got)
	}
}

func TestABrokerIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	for name, c := range map[string]struct {
		kind   SinkKind
		change func(*Endpoint)
		field  string
		code   Code
	}{
		"a kind is on the list":                  {SinkKafka, func(e *Endpoint) { e.Kind = "smtp" }, "type", CodeInvalid},
		"a Kafka endpoint has its object":        {SinkKafka, func(e *Endpoint) { e.Sink = Sink{} }, "kafka", CodeBadRequest},
		"an SQS endpoint has its object":         {SinkSQS, func(e *Endpoint) { e.Sink = Sink{} }, "sqs", CodeBadRequest},
		"a Pub/Sub endpoint has its object":      {SinkPubSub, func(e *Endpoint) { e.Sink = Sink{} }, "pubsub", CodeBadRequest},
		"an AMQP endpoint has its object":        {SinkAMQP, func(e *Endpoint) { e.Sink = Sink{} }, "amqp", CodeBadRequest},
		"HTTP's authentication is for URLs":      {SinkKafka, func(e *Endpoint) { e.Authentication = &Authentication{Type: AuthBearer, Bearer: "b"} }, "authentication", CodeInvalid},
		"HTTP's method is for URLs":              {SinkKafka, func(e *Endpoint) { e.Method = "PUT" }, "http_method", CodeInvalid},
		"a form is for URLs":                     {SinkKafka, func(e *Endpoint) { e.ContentType = "application/x-www-form-urlencoded" }, "content_type", CodeInvalid},
		"a broker is needed":                     {SinkKafka, func(e *Endpoint) { e.Sink.Kafka.Brokers = nil }, "kafka.brokers", CodeBadRequest},
		"brokers are bounded":                    {SinkKafka, func(e *Endpoint) { e.Sink.Kafka.Brokers = strings.Split(strings.Repeat("a:1 ", 20)+"a:1", " ") }, "kafka.brokers", CodeInvalid},
		"a broker has a port":                    {SinkKafka, func(e *Endpoint) { e.Sink.Kafka.Brokers = []string{"kafka.example.com"} }, "kafka.brokers", CodeInvalid},
		"a broker's port exists":                 {SinkKafka, func(e *Endpoint) { e.Sink.Kafka.Brokers = []string{"kafka.example.com:0"} }, "kafka.brokers", CodeInvalid},
		"a topic is needed":                      {SinkKafka, func(e *Endpoint) { e.Sink.Kafka.Topic = "" }, "kafka.topic_name", CodeBadRequest},
		"a topic has no spaces":                  {SinkKafka, func(e *Endpoint) { e.Sink.Kafka.Topic = "a b" }, "kafka.topic_name", CodeInvalid},
		"SASL has a password":                    {SinkKafka, func(e *Endpoint) { e.Sink.Kafka.Auth.Password = "" }, "kafka.auth.password", CodeBadRequest},
		"SASL is plain or scram":                 {SinkKafka, func(e *Endpoint) { e.Sink.Kafka.Auth.Type = "gssapi" }, "kafka.auth.type", CodeInvalid},
		"a queue is needed":                      {SinkSQS, func(e *Endpoint) { e.Sink.SQS.Queue = "" }, "sqs.queue_name", CodeBadRequest},
		"a region is needed":                     {SinkSQS, func(e *Endpoint) { e.Sink.SQS.Region = "" }, "sqs.default_region", CodeBadRequest},
		"a region is no part of another host":    {SinkSQS, func(e *Endpoint) { e.Sink.SQS.Region = "evil.example/" }, "sqs.default_region", CodeInvalid},
		"a key has its secret":                   {SinkSQS, func(e *Endpoint) { e.Sink.SQS.SecretKey = "" }, "sqs.secret_key", CodeBadRequest},
		"our role is shown to Amazon alone":      {SinkSQS, func(e *Endpoint) { e.Sink.SQS.AccessKeyID, e.Sink.SQS.SecretKey = "", "" }, "sqs.access_key_id", CodeBadRequest},
		"an SQS endpoint is a URL":               {SinkSQS, func(e *Endpoint) { e.Sink.SQS.Endpoint = "sqs.example.com" }, "sqs.endpoint", CodeInvalid},
		"groups are for FIFO queues":             {SinkSQS, func(e *Endpoint) { e.Sink.SQS.Queue = "orders" }, "sqs.message_group_id", CodeInvalid},
		"a project is needed":                    {SinkPubSub, func(e *Endpoint) { e.Sink.PubSub.ProjectID = "" }, "pubsub.project_id", CodeBadRequest},
		"a Pub/Sub topic is needed":              {SinkPubSub, func(e *Endpoint) { e.Sink.PubSub.Topic = "" }, "pubsub.topic_name", CodeBadRequest},
		"an emulator has a port":                 {SinkPubSub, func(e *Endpoint) { e.Sink.PubSub.Endpoint = "localhost" }, "pubsub.endpoint", CodeInvalid},
		"a service account is base64":            {SinkPubSub, func(e *Endpoint) { e.Sink.PubSub.ServiceAccount = "{}" }, "pubsub.service_account", CodeInvalid},
		"credentials that run programs are none": {SinkPubSub, func(e *Endpoint) { e.Sink.PubSub.ServiceAccount = "eyJ0eXBlIjoiZXh0ZXJuYWxfYWNjb3VudCJ9" }, "pubsub.service_account", CodeInvalid},
		"AMQP is plain or over TLS":              {SinkAMQP, func(e *Endpoint) { e.Sink.AMQP.Schema = "http" }, "amqp.schema", CodeInvalid},
		"an AMQP host is needed":                 {SinkAMQP, func(e *Endpoint) { e.Sink.AMQP.Host = "" }, "amqp.host", CodeBadRequest},
		"an AMQP port exists":                    {SinkAMQP, func(e *Endpoint) { e.Sink.AMQP.Port = 70000 }, "amqp.port", CodeInvalid},
		"an AMQP user has a password":            {SinkAMQP, func(e *Endpoint) { e.Sink.AMQP.Auth.Password = "" }, "amqp.auth.password", CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			e := brokerEndpoint(c.kind)
			c.change(&e)
			wantFault(t, e.Validate(), c.field, c.code)
		})
	}
}

func TestASinksSecretIsInNoTextOfIt(t *testing.T) {
	for kind, s := range sinks() {
		if s.Secret() == "" {
			t.Errorf("%s has no secret: this test would find nothing", kind)
		}
		bare := s.WithSecret("")
		if bare.Secret() != "" || s.Secret() == "" {
			t.Errorf("%s without its secret is %#v, and the one it was made of %#v", kind, bare, s)
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprintf("%v %+v %#v %s %s", s, s, s, encoded, s.Address()); strings.Contains(text, s.Secret().Reveal()) {
			t.Errorf("%s shows its secret: %s", kind, text)
		}
		var read Sink
		if err := json.Unmarshal(encoded, &read); err != nil || read.WithSecret(s.Secret()).Address() != s.Address() {
			t.Errorf("%s is read back as %+v, %v", kind, read, err)
		}
	}
}
