package millracetest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/rabbitmq/amqp091-go"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-dev/millrace/brokertest"
)

// outlet is an endpoint that is a broker, with a subscription to all events.
type outlet struct {
	UID     string
	URL     string
	Secrets []struct{ Value string }
	gateway *Gateway
}

func (g *Gateway) outlet(kind string, broker map[string]any, with ...any) *outlet {
	g.t.Helper()
	o := &outlet{gateway: g}
	g.Must(http.MethodPost, "/endpoints", members(map[string]any{"name": kind, "type": kind, kind: broker}, with), o)
	g.Must(http.MethodPost, "/subscriptions", map[string]any{"name": kind, "endpoint_id": o.UID}, nil)
	return o
}

// outcomes are those of all attempts so far, in no order.
func (o *outlet) outcomes() ([]string, error) {
	return o.gateway.list(`SELECT f.outcome FROM deliveries d JOIN facts f ON f.delivery_id = d.id WHERE d.endpoint_id = $1 AND f.outcome <> ''`, o.UID)
}

func (o *outlet) wantOutcome(outcome string) {
	o.gateway.t.Helper()
	eventually(o.gateway.t, "an attempt is "+outcome, func() error {
		got, err := o.outcomes()
		if err == nil && !strings.Contains(strings.Join(got, " ")+" ", outcome+" ") {
			err = fmt.Errorf("the attempts are %q", got)
		}
		return err
	})
}

// verifies checks a message as its consumer does, by the library it has.
func (o *outlet) verifies(body []byte, headers map[string]string) {
	o.gateway.t.Helper()
	header := http.Header{}
	for name, value := range headers {
		header.Set(name, value)
	}
	library, err := standard.NewWebhook(o.Secrets[0].Value)
	if err != nil {
		o.gateway.t.Fatal(err)
	}
	if err := library.Verify(body, header); err != nil {
		o.gateway.t.Errorf("%q with %v does not verify: %v", body, headers, err)
	}
}

// records are the records of a topic, once there are so many.
func records(t *testing.T, address, topic string, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n && ctx.Err() == nil {
		all = append(all, client.PollFetches(ctx).Records()...)
	}
	return all
}

func headersOf(r *kgo.Record) map[string]string {
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	return headers
}

func TestAnEventGoesOutOnAKafkaTopicAndVerifies(t *testing.T) {
	t.Parallel()
	gw := New(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "paid"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	address := cluster.ListenAddrs()[0]
	o := gw.outlet("kafka", map[string]any{"brokers": []string{address}, "topic_name": "paid", "key": "order.id"})
	if o.URL != "kafka://"+address+"/paid" {
		t.Errorf("it is shown at %q", o.URL)
	}
	body := `{ "order" :	{"id":12345678901234567890,"total":1.10} }`
	sent, err := gw.Try("/events", `{"event_type":"order.paid","custom_headers":{"X-Tenant":"7"},"data":`+body+`}`)
	if err != nil {
		t.Fatal(err)
	}
	got := records(t, address, "paid", 1)
	if len(got) != 1 || string(got[0].Value) != body || string(got[0].Key) != "12345678901234567890" {
		t.Fatalf("%d records arrived: %v", len(got), got)
	}
	headers := headersOf(got[0])
	if headers["webhook-id"] != sent.UID || headers["x-tenant"] != "7" || headers["x-millrace-event-type"] != "order.paid" {
		t.Errorf("it came with %v", headers)
	}
	o.verifies(got[0].Value, headers)
	o.wantOutcome("success")
	var attempts struct {
		Content []struct {
			URL, Method  string
			ResponseData string `json:"response_data"`
			Status       bool
		}
	}
	delivery := gw.deliveryOf(o.UID)
	gw.Must(http.MethodGet, "/eventdeliveries/"+delivery+"/deliveryattempts", nil, &attempts.Content)
	if len(attempts.Content) != 1 || attempts.Content[0].URL != o.URL || attempts.Content[0].Method != "PUBLISH" ||
		!strings.Contains(attempts.Content[0].ResponseData, `"offset":0`) || !attempts.Content[0].Status {
		t.Errorf("the attempts are shown as %+v", attempts.Content)
	}
}

// deliveryOf is the one delivery of an endpoint.
func (g *Gateway) deliveryOf(endpoint string) string {
	g.t.Helper()
	ids, err := g.list(`SELECT id FROM deliveries WHERE endpoint_id = $1`, endpoint)
	if err != nil || len(ids) != 1 {
		g.t.Fatalf("the deliveries of %s are %q, %v", endpoint, ids, err)
	}
	return ids[0]
}

func TestABrokerThatIsDownGetsItsEventsWhenItIsBack(t *testing.T) {
	t.Parallel()
	gw := New(t)
	taken := address(t)
	_, number := hostPort(t, taken)
	o := gw.outlet("kafka", map[string]any{"brokers": []string{taken}, "topic_name": "paid"}, "strategy", map[string]any{"type": "linear", "duration": 1, "retry_count": 60})
	sent := gw.Send(Event("order.paid"))
	o.wantOutcome("connect_error")
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(number), kfake.SeedTopics(1, "paid"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	o.wantOutcome("success")
	if got := records(t, taken, "paid", 1); len(got) != 1 || headersOf(got[0])["webhook-id"] != sent.UID {
		t.Errorf("%d records arrived", len(got))
	}
}

func TestEveryKindOfBrokerGetsAnEventThatVerifies(t *testing.T) {
	t.Parallel()
	gw := New(t)
	queues := brokertest.NewSQS(t)
	queues.CreateQueue("paid", nil)
	topics := pstest.NewServer()
	t.Cleanup(func() { _ = topics.Close() })
	if _, err := topics.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: "projects/shop/topics/paid"}); err != nil {
		t.Fatal(err)
	}
	rabbit, consumed := newRabbit(t)
	host, number := hostPort(t, rabbit.Addr())
	sqs := gw.outlet("sqs", map[string]any{
		"endpoint": queues.URL(), "default_region": "eu-west-1", "queue_name": "paid", "access_key_id": "key", "secret_key": "secret",
	})
	google := gw.outlet("pubsub", map[string]any{"endpoint": topics.Addr, "project_id": "shop", "topic_name": "paid"})
	amqp := gw.outlet("amqp", map[string]any{"schema": "amqp", "host": host, "port": number, "auth": map[string]any{"user": "guest", "password": "guest"}, "routing_key": "paid"})
	gw.Send(Event("order.paid"))
	for _, o := range []*outlet{sqs, google, amqp} {
		o.wantOutcome("success")
	}

	headers := map[string]string{}
	for name, value := range queues.Messages("paid")[0].MessageAttributes {
		headers[name] = *value.StringValue
	}
	sqs.verifies([]byte(*queues.Messages("paid")[0].Body), headers)
	google.verifies(topics.Messages()[0].Data, topics.Messages()[0].Attributes)
	got := <-consumed
	headers = map[string]string{}
	for name, value := range got.Headers {
		headers[name] = fmt.Sprint(value)
	}
	amqp.verifies(got.Body, headers)
}

// newRabbit is an AMQP broker with a queue named paid, and what arrives there.
func newRabbit(t *testing.T) (*brokertest.AMQP, <-chan amqp091.Delivery) {
	t.Helper()
	server := brokertest.NewAMQP(t)
	ch := rabbitChannel(t, server.URL())
	if _, err := ch.QueueDeclare("paid", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	consumed, err := ch.Consume("paid", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return server, consumed
}

func TestABrokerAtAForbiddenAddressIsRefused(t *testing.T) {
	t.Parallel()
	gw := New(t, Set("egress.allow_loopback=false"))
	for _, broker := range []string{"127.0.0.1:9092", "localhost:9092", "10.0.0.1:9092", "kafka.example.com:6379"} {
		err := gw.Call(http.MethodPost, "/endpoints", map[string]any{"name": "n", "type": "kafka", "kafka": map[string]any{"brokers": []string{broker}, "topic_name": "t"}}, nil)
		if refused := Refused(err); refused.Status != http.StatusUnprocessableEntity || !strings.Contains(refused.Body, "kafka.brokers") {
			t.Errorf("%s: %v", broker, err)
		}
	}
	gw.Must(http.MethodPost, "/endpoints", map[string]any{"name": "n", "type": "kafka", "kafka": map[string]any{"brokers": []string{"kafka.example.com:9092"}, "topic_name": "t"}}, nil)
}

// TestTheDocumentedEndpointsAreTaken makes each endpoint that docs/endpoints.md
// shows.
func TestTheDocumentedEndpointsAreTaken(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/endpoints.md")
	if err != nil {
		t.Fatal(err)
	}
	gw := New(t)
	blocks := strings.Split(string(text), "```json\n")[1:]
	var urls []string
	for _, block := range blocks {
		body, _, _ := strings.Cut(block, "\n```")
		var o outlet
		gw.Must(http.MethodPost, "/endpoints", body, &o)
		urls = append(urls, o.URL)
	}
	const want = "kafka://localhost:9092/orders sqs://eu-west-1/orders pubsub://shop/orders amqp://localhost:5672/%2F/events"
	if got := strings.Join(urls, " "); got != want {
		t.Errorf("they are %s", got)
	}
}
