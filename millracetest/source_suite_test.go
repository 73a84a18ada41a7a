package millracetest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/millrace-dev/millrace/brokertest"
)

// broker is one that a source reads: how the API takes it, and how a producer
// sends to it.
type broker struct {
	pubSub map[string]any
	send   func(body string)
}

// brokers in this process, by their name.
var brokers = map[string]func(t *testing.T) broker{
	"kafka": func(t *testing.T) broker {
		k := newKafka(t)
		return broker{Kafka(k.address, k.topic), func(body string) { k.send(body) }}
	},
	"sqs": func(t *testing.T) broker {
		s := brokertest.NewSQS(t)
		s.CreateQueue("orders", nil)
		return broker{SQS(s.URL(), "orders"), func(body string) { s.Send("orders", body, nil) }}
	},
	"google": newGoogle,
	"amqp":   newOrders,
}

func newGoogle(t *testing.T) broker {
	t.Helper()
	g := pstest.NewServer()
	t.Cleanup(func() { _ = g.Close() })
	const topic, subscription = "projects/shop/topics/orders", "projects/shop/subscriptions/orders"
	if _, err := g.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	_, err := g.GServer.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: subscription, Topic: topic, AckDeadlineSeconds: 10, MessageRetentionDuration: durationpb.New(3600e9),
	})
	if err != nil {
		t.Fatal(err)
	}
	return broker{
		map[string]any{"type": "google", "google": map[string]any{"endpoint": g.Addr, "project_id": "shop", "subscription_id": "orders"}},
		func(body string) { g.Publish(topic, []byte(body), nil) },
	}
}

// rabbitChannel is a channel of a connection to an AMQP broker.
func rabbitChannel(t *testing.T, url string) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// hostPort takes an address apart.
func hostPort(t *testing.T, address string) (host string, port int) {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func newOrders(t *testing.T) broker {
	t.Helper()
	a := brokertest.NewAMQP(t)
	ch := rabbitChannel(t, a.URL())
	if _, err := ch.QueueDeclare("orders", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	host, port := hostPort(t, a.Addr())
	sent := 0
	return broker{
		map[string]any{"type": "amqp", "amqp": map[string]any{
			"schema": "amqp", "host": host, "port": port, "auth": map[string]any{"user": "guest", "password": "guest"}, "queue": "orders",
		}},
		func(body string) {
			sent++
			err := ch.PublishWithContext(t.Context(), "", "orders", false, false, amqp091.Publishing{MessageId: fmt.Sprint(sent), Body: []byte(body)})
			if err != nil {
				t.Error(err)
			}
		},
	}
}

// gets wants requests with these numbers in their bodies, in any order, and
// each once.
func gets(numbers ...int) Expectation {
	return func(got []Request) error {
		var came []int
		for _, q := range got {
			var body struct{ N int }
			if err := json.Unmarshal([]byte(q.Body), &body); err != nil {
				return err
			}
			came = append(came, body.N)
		}
		slices.Sort(came)
		if !slices.Equal(came, numbers) {
			return fmt.Errorf("got %v, want %v", came, numbers)
		}
		return nil
	}
}

// What is sent, by the number in its body.
const (
	paidSmall = iota // order.paid, 5 EUR
	paidLarge        // order.paid, 50 USD, from the south
	shipped          // order.shipped, 50 EUR, from the north
	invoiced         // invoice.sent
	fannedOut        // order.paid, to owner-1 alone
	single           // order.paid, to one endpoint alone
)

// TestEveryBrokersMessagesGoWhereTheySay sends the same messages by each kind
// of broker. What each endpoint gets follows from its subscription and from
// whom a message is for.
func TestEveryBrokersMessagesGoWhereTheySay(t *testing.T) {
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, gw := start(t), New(t)
			all := gw.Receiver()
			alone := gw.Receiver(Types("nothing"))
			wants := map[*Receiver]Expectation{
				all:                              gets(paidSmall, paidLarge, shipped, invoiced),
				alone:                            gets(),
				gw.Receiver(Types("order.paid")): gets(paidSmall, paidLarge),
				gw.Receiver(Types("order.*")):    gets(paidSmall, paidLarge, shipped),
				gw.Receiver(Types("payment.failed", "invoice.sent")):                                          gets(invoiced),
				gw.Receiver(Body(map[string]any{"amount": 5})):                                                gets(paidSmall),
				gw.Receiver(Body(map[string]any{"amount": map[string]any{"$gt": 10}})):                        gets(paidLarge, shipped),
				gw.Receiver(Body(map[string]any{"currency": map[string]any{"$in": []string{"USD", "GBP"}}})):  gets(paidLarge),
				gw.Receiver(Filter(map[string]any{"headers": map[string]any{"X-Region": "north"}})):           gets(shipped),
				gw.Receiver(Types("order.*"), Filter(combined)):                                               gets(paidLarge),
				gw.Receiver(Types("order.paid"), Body(map[string]any{"amount": map[string]any{"$gt": 1000}})): gets(),
				gw.Receiver(Owner("owner-1")):                                                                 gets(paidSmall, paidLarge, shipped, invoiced, fannedOut),
			}
			one := gw.Receiver(Unsubscribed())
			wants[one] = gets(single)
			s := gw.Source(b.pubSub)
			for _, m := range messages(one.EndpointID) {
				b.send(m)
			}
			s.Stored(6)
			for r, want := range wants {
				r.Want(want)
			}
		})
	}
}

// combined is a filter over headers and body.
var combined = map[string]any{"headers": map[string]any{"X-Region": "south"}, "body": map[string]any{"currency": "USD", "amount": map[string]any{"$gte": 50}}}

func messages(endpoint string) []string {
	return []string{
		paidSmall: `{"event_type":"order.paid","data":{"n":0,"amount":5,"currency":"EUR"}}`,
		paidLarge: `{"event_type":"order.paid","custom_headers":{"X-Region":"south"},"data":{"n":1,"amount":50,"currency":"USD"}}`,
		shipped:   `{"event_type":"order.shipped","custom_headers":{"X-Region":"north"},"data":{"n":2,"amount":50,"currency":"EUR"}}`,
		invoiced:  `{"event_type":"invoice.sent","data":{"n":3}}`,
		fannedOut: `{"event_type":"order.paid","owner_id":"owner-1","custom_headers":{"x-convoy-message-type":"fanout"},"data":{"n":4}}`,
		single:    `{"event_type":"order.paid","endpoint_id":"` + endpoint + `","data":{"n":5}}`,
	}
}

// TestEveryBrokersMessagesThatCannotBeReadAreDeadLetters sends the same poison
// by each kind of broker, and good messages behind it.
func TestEveryBrokersMessagesThatCannotBeReadAreDeadLetters(t *testing.T) {
	poison := []string{"not JSON", `{"data":{}}`, `{"event_type":"x","endpoint_id":"no-such","data":{}}`, `{"event_type":"x"}`}
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, gw := start(t), New(t)
			s := gw.Source(b.pubSub)
			for _, m := range append(poison, orders(10)...) {
				b.send(m)
			}
			s.Stored(10)
			for _, d := range gw.deadLetters(len(poison)) {
				if d.Stage != "ingest" || d.Reason == "" {
					t.Errorf("dead letter %+v", d)
				}
			}
		})
	}
}

// TestEveryBrokersSourceIsChangedLive disables, enables and deletes a source
// of each kind of broker.
func TestEveryBrokersSourceIsChangedLive(t *testing.T) {
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, gw := start(t), New(t)
			s := gw.Source(b.pubSub, "is_disabled", false)
			s.Becomes("healthy")
			b.send(orders(1)[0])
			s.Stored(1)
			s.Set("is_disabled", true)
			gw.intakesAre(0)
			b.send(orders(2)[1])
			s.Set("is_disabled", false, "pub_sub", map[string]any{"workers": 3})
			s.Stored(2)
			gw.Must(http.MethodDelete, "/sources/"+s.UID, nil, nil)
			gw.intakesAre(0)
		})
	}
}

// TestEveryBrokersMessagesMayBeAcknowledgedWhenTheyAreQueued reads at the
// weaker level.
func TestEveryBrokersMessagesMayBeAcknowledgedWhenTheyAreQueued(t *testing.T) {
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, gw := start(t), New(t)
			r := gw.Receiver()
			s := gw.Source(members(b.pubSub, []any{"ack", "queued"}))
			for _, m := range orders(10) {
				b.send(m)
			}
			s.Stored(10)
			r.Want(Attempts(10), Once())
			gw.Redis.Kill() // then they are stored in line
			for _, m := range orders(20)[10:] {
				b.send(m)
			}
			s.Stored(20)
			gw.Redis.Start()
			r.Want(Attempts(20), Once())
		})
	}
}
