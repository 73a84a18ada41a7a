//go:build brokers

package millracetest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/twmb/franz-go/pkg/kadm"
)

// kafkaOutlet is an endpoint that is a topic.
func kafkaOutlet(gw *Gateway, address, topic string) *outlet {
	return gw.outlet("kafka", map[string]any{"brokers": []string{address}, "topic_name": topic, "key": "n"})
}

func TestRealKafkaConfirmsWhatItKeepsAndRefusesTheRest(t *testing.T) {
	address, largest := at(t, "MILLRACE_TEST_KAFKA"), "3000"
	k := dialKafka(t, address, "out")
	if _, err := kadm.NewClient(k.client).CreateTopic(t.Context(), 3, 1, map[string]*string{"max.message.bytes": &largest}, "out"); err != nil {
		t.Fatal(err)
	}
	gw := New(t)
	o, missing := kafkaOutlet(gw, address, "out"), kafkaOutlet(gw, address, "no-such-topic")
	const small = 200
	for i := range small {
		gw.Send(Event("order.paid", "data", map[string]any{"n": i}))
	}
	large := gw.Send(Event("order.paid", "data", map[string]any{"large": incompressible(5000)}))
	got := records(t, address, "out", small)
	for _, r := range got {
		o.verifies(r.Value, headersOf(r))
	}
	if len(got) != small {
		t.Errorf("%d records arrived, want %d", len(got), small)
	}
	o.wantOutcome("message_too_large")
	given, err := gw.list(`SELECT event_id FROM deliveries WHERE endpoint_id = $1 AND status = 'given_up'`, o.UID)
	if err != nil || len(given) != 1 || given[0] != large.UID {
		t.Errorf("given up are %v, %v; want %s", given, err, large.UID)
	}
	missing.wantOutcome("destination_missing")
	gw.Must(http.MethodDelete, "/endpoints/"+missing.UID, nil, nil)
}

// incompressible is a text that no compression makes much smaller.
func incompressible(n int) string {
	var b strings.Builder
	for x := uint64(1); b.Len() < n; x = x*6364136223846793005 + 1442695040888963407 {
		fmt.Fprintf(&b, "%016x", x)
	}
	return b.String()
}

func TestRealRabbitMQConfirmsWhatItKeepsAndRefusesTheRest(t *testing.T) {
	address, err := url.Parse(at(t, "MILLRACE_TEST_AMQP"))
	if err != nil {
		t.Fatal(err)
	}
	ch := rabbitChannel(t, address.String())
	if err := ch.ExchangeDeclare("out", "topic", false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	queue, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue.Name, "order.*", "out", false, nil); err != nil {
		t.Fatal(err)
	}
	consumed, err := ch.Consume(queue.Name, "", true, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	gw := New(t)
	password, _ := address.User.Password()
	host, port := hostPort(t, address.Host)
	to := func(with ...any) *outlet {
		return gw.outlet("amqp", members(map[string]any{
			"schema": "amqp", "host": host, "port": port, "exchange": "out",
			"auth": map[string]any{"user": address.User.Username(), "password": password},
		}, with))
	}
	o := to()
	refused := map[*outlet]string{
		to("exchange", "no-such-exchange"):                                          "destination_missing",
		to("routing_key", "bound.to.nothing"):                                       "destination_missing",
		to("vhost", "no-such-vhost"):                                                "destination_missing",
		to("auth", map[string]any{"user": "guest", "password": "not the password"}): "authentication",
	}
	const events = 50
	for range events {
		gw.Send(Event("order.paid"))
	}
	for range events {
		got := <-consumed
		headers := map[string]string{}
		for name, value := range got.Headers {
			headers[name] = fmt.Sprint(value)
		}
		o.verifies(got.Body, headers)
	}
	for r, outcome := range refused {
		r.wantOutcome(outcome)
		got, err := r.outcomes()
		if err != nil || strings.Trim(strings.Join(got, ""), outcome) != "" {
			t.Errorf("want %s alone: %q, %v", outcome, got, err)
		}
		gw.Must(http.MethodDelete, "/endpoints/"+r.UID, nil, nil)
	}
}

func TestRealQueuesConfirmWhatTheyKeepAndRefuseTheRest(t *testing.T) {
	client, endpoint, queue := realQueue(t, "out")
	gw := New(t)
	to := func(queue string) *outlet {
		return gw.outlet("sqs", map[string]any{
			"endpoint": endpoint, "default_region": "eu-west-1", "queue_name": queue, "access_key_id": "key", "secret_key": "secret",
		})
	}
	o, missing := to("out"), to("no-such-queue")
	gw.Send(Event("order.paid"))
	o.wantOutcome("success")
	got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &queue, MessageAttributeNames: []string{"All"}, WaitTimeSeconds: 5})
	if err != nil || len(got.Messages) != 1 {
		t.Fatalf("received %+v, %v", got, err)
	}
	headers := map[string]string{}
	for name, value := range got.Messages[0].MessageAttributes {
		headers[name] = *value.StringValue
	}
	o.verifies([]byte(*got.Messages[0].Body), headers)
	missing.wantOutcome("destination_missing")
	gw.Must(http.MethodDelete, "/endpoints/"+missing.UID, nil, nil)
}
