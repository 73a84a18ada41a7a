package httpapi

import (
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

const kafkaBody = `{"name":"orders","type":"kafka","kafka":{"brokers":["Kafka.example.com:9092"],"topic_name":"orders","key":"order.id",
	"auth":{"type":"plain","username":"u","password":"a-long-password","tls":true}}}`

func TestAnEndpointMayBeABroker(t *testing.T) {
	a := newAPI(t)
	data := a.call("POST", "endpoints", kafkaBody).want(201)
	equal(t, "the type", data["type"], any("kafka"))
	equal(t, "the URL", data["url"], any("kafka://kafka.example.com:9092/orders"))
	equal(t, "the broker, in the form that was judged", a.store.endpoints[0].Sink.Kafka.Brokers[0], "kafka.example.com:9092")
	equal(t, "the password", a.store.endpoints[0].Sink.Secret().Reveal(), "a-long-password")

	raw := string(a.call("GET", "endpoints/"+a.store.endpoints[0].ID.String(), "").raw)
	if strings.Contains(raw, "a-long-password") || !strings.Contains(raw, `"password":"****word"`) || !strings.Contains(raw, `"key":"order.id"`) {
		t.Errorf("it is shown as %s", raw)
	}
	a.as = instanceKey
	if raw := string(a.call("GET", "endpoints?reveal=secrets", "").raw); !strings.Contains(raw, "a-long-password") {
		t.Errorf("an instance key that asks is shown %s", raw)
	}
}

func TestEveryKindOfBrokerIsTaken(t *testing.T) {
	for want, body := range map[string]string{
		"sqs://eu-west-1/orders":                    `"type":"sqs","sqs":{"default_region":"eu-west-1","queue_name":"orders","access_key_id":"AKIA","secret_key":"s"}`,
		"pubsub://shop/orders":                      `"type":"pubsub","pubsub":{"project_id":"shop","topic_name":"orders","endpoint":"emulator.example.com:8085"}`,
		"amqp://rabbit.example.com:5672/%2F/events": `"type":"amqp","amqp":{"schema":"amqp","host":"rabbit.example.com","port":5672,"exchange":"events"}`,
		"kafka://kafka.example.com:9092/orders":     `"type":"kafka","kafka":{"brokers":["kafka.example.com:9092"],"topic_name":"orders","auth":null}`,
		"https://example.com/hook":                  `"type":"webhook","url":"https://example.com/hook","kafka":null`,
	} {
		a := newAPI(t)
		equal(t, "the URL", a.call("POST", "endpoints", `{"name":"n",`+body+`}`).want(201)["url"], any(want))
	}
}

func TestABrokerIsRefused(t *testing.T) {
	const kafka = `"type":"kafka","kafka":{"topic_name":"t","brokers":`
	for rule, c := range map[string]struct {
		body   string
		code   millrace.Code
		fields []string
	}{
		"a type that is none":              {`"type":"smtp"`, millrace.CodeInvalid, []string{"type"}},
		"without its object":               {`"type":"kafka"`, millrace.CodeBadRequest, []string{"kafka"}},
		"with another type's object":       {kafka + `["a.example:1"]},"sqs":{"queue_name":"q"}`, millrace.CodeInvalid, []string{"sqs"}},
		"as a webhook":                     {`"url":"https://example.com","kafka":{"topic_name":"t"}`, millrace.CodeInvalid, []string{"kafka"}},
		"with a URL":                       {kafka + `["a.example:1"]},"url":"https://example.com"`, millrace.CodeInvalid, []string{"url"}},
		"at an address that is not public": {kafka + `["a.example:1","localhost:9092"]}`, millrace.CodeInvalid, []string{"kafka.brokers"}},
		"at a host that is not public":     {`"type":"amqp","amqp":{"schema":"amqp","host":"localhost","port":5672}`, millrace.CodeInvalid, []string{"amqp.host"}},
		"at an emulator that is not":       {`"type":"pubsub","pubsub":{"project_id":"p","topic_name":"t","endpoint":"localhost:8085"}`, millrace.CodeInvalid, []string{"pubsub.endpoint"}},
		"at a queue's URL that is not": {`"type":"sqs","sqs":{"default_region":"r","queue_name":"q","access_key_id":"a","secret_key":"s","endpoint":"http://localhost:9324"}`,
			millrace.CodeInvalid, []string{"sqs.endpoint"}},
		"a member of another shape": {`"type":"kafka","kafka":{"brokers":"a.example:1"}`, millrace.CodeInvalid, []string{"kafka.brokers"}},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			a.call("POST", "endpoints", `{"name":"n",`+c.body+`}`).refused(c.code, c.fields...)
			equal(t, "the endpoints", len(a.store.endpoints), 0)
		})
	}
}

func TestUpdatingABrokerChangesWhatIsNamed(t *testing.T) {
	a := newAPI(t)
	a.call("POST", "endpoints", kafkaBody).want(201)
	path := "endpoints/" + a.store.endpoints[0].ID.String()
	shown := a.call("GET", path, "").body.Data
	a.call("PUT", path, string(shown)).want(202)
	equal(t, "the password after a masked one came back", a.store.endpoints[0].Sink.Secret().Reveal(), "a-long-password")

	before := a.store.endpoints[0]
	a.call("PUT", path, `{"kafka":{"topic_name":"returns","key":"","auth":{"username":"v"}}}`).want(202)
	k := a.store.endpoints[0].Sink.Kafka
	equal(t, "the topic", k.Topic, "returns")
	equal(t, "the key", k.Key, "order.id")
	equal(t, "the user", k.Auth, millrace.KafkaAuth{Type: "plain", Username: "v", Password: "a-long-password", TLS: true})
	equal(t, "the URL", a.store.endpoints[0].URL, "kafka://kafka.example.com:9092/returns")
	equal(t, "the topic before is another's", before.Sink.Kafka.Topic, "orders")

	a.call("PUT", path, `{"kafka":{"topic_name":"x","brokers":["localhost:9092"]}}`).refused(millrace.CodeInvalid, "kafka.brokers")
	equal(t, "the topic after a refusal", a.store.endpoints[0].Sink.Kafka.Topic, "returns")
}

func TestAnEndpointMayBecomeAnotherKind(t *testing.T) {
	a := newAPI(t)
	path := "endpoints/" + withEndpoint(a).String()
	a.call("PUT", path, `{"type":"kafka"}`).refused(millrace.CodeBadRequest, "kafka")
	a.call("PUT", path, `{"type":"kafka","kafka":{"brokers":["kafka.example.com:9092"],"topic_name":"orders"}}`).want(202)
	e := a.store.endpoints[0]
	if e.Authentication != nil || e.URL != "kafka://kafka.example.com:9092/orders" {
		t.Errorf("it is %+v", e)
	}
	a.call("PUT", path, `{"type":"webhook"}`).refused(millrace.CodeBadRequest, "url")
	a.call("PUT", path, `{"type":"webhook","url":"https://example.com/back"}`).want(202)
	e = a.store.endpoints[0]
	if e.Sink != (millrace.Sink{}) || e.URL != "https://example.com/back" {
		t.Errorf("it is %+v", e)
	}
}
