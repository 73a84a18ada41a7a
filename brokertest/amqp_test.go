package brokertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// amqpURL is a real broker's, where the environment names one: these tests
// hold for both.
func amqpURL(t *testing.T) string {
	if url := os.Getenv("MILLRACE_TEST_AMQP"); url != "" {
		return url
	}
	return NewAMQP(t).URL()
}

// amqpClient is a channel with a queue of one test's own.
type amqpClient struct {
	*amqp.Channel
	t     *testing.T
	conn  *amqp.Connection
	queue string
}

func openAMQP(t *testing.T) *amqpClient { return dialAMQP(t, amqpURL(t), nil) }

func dialAMQP(t *testing.T, url string, arguments amqp.Table) *amqpClient {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	c := &amqpClient{t: t, conn: conn, queue: fmt.Sprintf("%s-%d", strings.ToLower(t.Name()), time.Now().UnixNano())}
	t.Cleanup(func() {
		if ch, err := conn.Channel(); err == nil {
			_, _ = ch.QueueDelete(c.queue, false, false, false) // a real broker would keep it
		}
		_ = conn.Close() // may have been cut
	})
	c.Channel = c.channel()
	if _, err := c.QueueDeclare(c.queue, true, false, false, false, arguments); err != nil {
		t.Fatal(err)
	}
	return c
}

// channel is another channel of the connection.
func (c *amqpClient) channel() *amqp.Channel {
	c.t.Helper()
	ch, err := c.conn.Channel()
	if err != nil {
		c.t.Fatal(err)
	}
	return ch
}

// publish sends bodies to the queue and waits until the broker has them.
func (c *amqpClient) publish(bodies ...string) {
	c.t.Helper()
	ch := c.channel()
	if err := ch.Confirm(false); err != nil {
		c.t.Fatal(err)
	}
	for _, body := range bodies {
		confirmed, err := ch.PublishWithDeferredConfirm("", c.queue, false, false, amqp.Publishing{Body: []byte(body)})
		if err != nil {
			c.t.Fatal(err)
		}
		if !confirmed.Wait() {
			c.t.Fatalf("%q is not confirmed", body)
		}
	}
	if err := ch.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// subscribe reads the queue on a channel.
func (c *amqpClient) subscribe(ch *amqp.Channel, most int) <-chan amqp.Delivery {
	c.t.Helper()
	if err := ch.Qos(most, 0, false); err != nil {
		c.t.Fatal(err)
	}
	deliveries, err := ch.Consume(c.queue, "", false, false, false, false, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return deliveries
}

func nextDelivery(t *testing.T, deliveries <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-deliveries:
		if !ok {
			t.Fatal("the subscription ended")
		}
		return d
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is delivered within 10 s")
	}
	panic("unreachable")
}

// wantLength waits until so many messages are ready in the queue.
func (c *amqpClient) wantLength(want int) {
	c.t.Helper()
	ch, n := c.channel(), -1
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); n != want; <-tick.C {
		if time.Now().After(deadline) {
			c.t.Fatalf("the queue has %d messages, want %d", n, want)
		}
		q, err := ch.QueueDeclarePassive(c.queue, true, false, false, false, nil)
		if err != nil {
			c.t.Fatal(err)
		}
		n = q.Messages
	}
}

func TestAMQPCarriesWhatIsPublished(t *testing.T) {
	c := openAMQP(t)
	sent := amqp.Publishing{
		Headers: amqp.Table{"kind": "x", "n": int64(7)}, ContentType: "application/json", MessageId: "m1", AppId: "a1", Type: "t1",
		Timestamp: time.Unix(1e9, 0), Body: bytes.Repeat([]byte("0123456789"), 50_000), // several frames
	}
	if err := c.Publish("", c.queue, false, false, sent); err != nil {
		t.Fatal(err)
	}
	d := nextDelivery(t, c.subscribe(c.channel(), 10))
	if !bytes.Equal(d.Body, sent.Body) || d.MessageId != "m1" || d.AppId != "a1" || d.Type != "t1" || !d.Timestamp.Equal(sent.Timestamp) ||
		d.Headers["kind"] != "x" || d.Headers["n"] != int64(7) || d.RoutingKey != c.queue || d.Redelivered {
		t.Errorf("delivered %d bytes as %+v", len(d.Body), d.Headers)
	}
	if err := c.Publish("", c.queue, false, false, amqp.Publishing{}); err != nil {
		t.Fatal(err)
	}
	c.wantLength(0)
}

func TestAMQPHoldsBackMoreThanThePrefetch(t *testing.T) {
	c := openAMQP(t)
	c.publish("1", "2", "3", "4", "5")
	deliveries := c.subscribe(c.channel(), 2)
	first, _ := nextDelivery(t, deliveries), nextDelivery(t, deliveries)
	c.wantLength(3)
	if err := first.Ack(false); err != nil {
		t.Fatal(err)
	}
	third := nextDelivery(t, deliveries)
	c.wantLength(2)
	if err := third.Ack(true); err != nil { // and the second
		t.Fatal(err)
	}
	nextDelivery(t, deliveries)
	nextDelivery(t, deliveries)
	c.wantLength(0)
}

func TestAMQPDeliversAgainWhatWasNotAcknowledged(t *testing.T) {
	c := openAMQP(t)
	c.publish("1", "2", "3")
	ch := c.channel()
	deliveries := c.subscribe(ch, 10)
	nextDelivery(t, deliveries)
	second := nextDelivery(t, deliveries)
	nextDelivery(t, deliveries)
	if err := second.Ack(false); err != nil {
		t.Fatal(err)
	}
	if err := ch.Close(); err != nil {
		t.Fatal(err)
	}
	deliveries = c.subscribe(c.channel(), 10)
	for _, want := range []string{"1", "3"} {
		if d := nextDelivery(t, deliveries); string(d.Body) != want || !d.Redelivered {
			t.Errorf("delivered %q (again: %v), want %q again", d.Body, d.Redelivered, want)
		}
	}
}

func TestAMQPTakesBackWhatIsRefused(t *testing.T) {
	url := amqpURL(t)
	dead := dialAMQP(t, url, nil)
	if err := dead.QueueBind(dead.queue, "#", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	c := dialAMQP(t, url, amqp.Table{"x-dead-letter-exchange": "amq.topic"})
	c.publish("1")
	deliveries := c.subscribe(c.channel(), 1)
	if err := nextDelivery(t, deliveries).Nack(false, true); err != nil {
		t.Fatal(err)
	}
	again := nextDelivery(t, deliveries)
	if !again.Redelivered {
		t.Error("what was put back is not marked so")
	}
	if err := again.Reject(false); err != nil {
		t.Fatal(err)
	}
	d := nextDelivery(t, dead.subscribe(dead.channel(), 1))
	if string(d.Body) != "1" || d.Exchange != "amq.topic" {
		t.Errorf("the dead-letter exchange has %q from %q", d.Body, d.Exchange)
	}
}

func TestAMQPRoutesByTheExchange(t *testing.T) {
	for _, r := range []struct {
		kind, binding, key string
		arrives            bool
	}{
		{"direct", "a.b", "a.b", true},
		{"direct", "a.*", "a.b", false},
		{"fanout", "x", "y", true},
		{"topic", "a.*", "a.b", true},
		{"topic", "a.*", "a.b.c", false},
		{"topic", "a.#", "a", true},
		{"topic", "#.c", "a.b.c", true},
		{"topic", "a.#.c", "a.b", false},
	} {
		t.Run(fmt.Sprintf("%s %s gets %s: %v", r.kind, r.binding, r.key, r.arrives), func(t *testing.T) {
			c := openAMQP(t)
			exchange := c.queue + "-x"
			if err := c.ExchangeDeclare(exchange, r.kind, false, true, false, false, nil); err != nil {
				t.Fatal(err)
			}
			if err := c.QueueBind(c.queue, r.binding, exchange, false, nil); err != nil {
				t.Fatal(err)
			}
			returned := c.NotifyReturn(make(chan amqp.Return, 1))
			if err := c.Confirm(false); err != nil {
				t.Fatal(err)
			}
			confirmed, err := c.PublishWithDeferredConfirm(exchange, r.key, true, false, amqp.Publishing{Body: []byte("x")})
			if err != nil || !confirmed.Wait() {
				t.Fatalf("not confirmed: %v", err)
			}
			if back := len(returned) == 1; back == r.arrives {
				t.Errorf("returned: %v", back)
			}
			if r.arrives {
				c.wantLength(1)
			}
		})
	}
}

func TestAMQPRefuses(t *testing.T) {
	for _, r := range []struct {
		rule string
		code int
		do   func(c *amqpClient) error
	}{
		{"a queue that is not there", 404, func(c *amqpClient) error {
			_, err := c.QueueDeclarePassive("nowhere", true, false, false, false, nil)
			return err
		}},
		{"a queue declared otherwise", 406, func(c *amqpClient) error {
			_, err := c.QueueDeclare(c.queue, true, false, false, false, amqp.Table{"x-dead-letter-exchange": "x"})
			return err
		}},
		{"a queue with a name of the broker's own", 403, func(c *amqpClient) error {
			_, err := c.QueueDeclare("amq.mine", true, false, false, false, nil)
			return err
		}},
		{"a binding to an exchange that is not there", 404, func(c *amqpClient) error {
			return c.QueueBind(c.queue, "k", "nowhere", false, nil)
		}},
		{"reading a queue that is not there", 404, func(c *amqpClient) error {
			_, err := c.Consume("nowhere", "", false, false, false, false, nil)
			return err
		}},
		{"publishing to an exchange that is not there", 404, func(c *amqpClient) error {
			return cmp.Or(c.Publish("nowhere", "k", false, false, amqp.Publishing{}), c.closed())
		}},
		{"acknowledging what was not delivered", 406, func(c *amqpClient) error {
			return cmp.Or(c.Ack(99, false), c.closed())
		}},
	} {
		t.Run(r.rule, func(t *testing.T) {
			c := openAMQP(t)
			var refused *amqp.Error
			if err := r.do(c); !errors.As(err, &refused) || refused.Code != r.code || !refused.Server {
				t.Errorf("refused with %v, want %d", err, r.code)
			}
			c.Channel = c.channel()
			c.publish("the connection goes on")
		})
	}
}

// closed waits for the broker to close the channel and answers why.
func (c *amqpClient) closed() error {
	select {
	case err := <-c.NotifyClose(make(chan *amqp.Error, 1)):
		return err
	case <-time.After(10 * time.Second):
		return context.DeadlineExceeded
	}
}

func TestAMQPLetsNobodyInWithoutAPasswordOrAHost(t *testing.T) {
	url := amqpURL(t)
	for rule, r := range map[string]struct {
		url  string
		code int
	}{
		"another password": {strings.Replace(url, "guest@", "wrong@", 1), 403},
		"another host":     {url + "nowhere", 530},
	} {
		conn, err := amqp.Dial(r.url)
		var refused *amqp.Error
		if !errors.As(err, &refused) || refused.Code != r.code {
			t.Errorf("%s: %v, want %d", rule, err, r.code)
		}
		if err == nil {
			_ = conn.Close() // not expected
		}
	}
}

func TestAMQPTellsConsumersThatTheirQueueIsGone(t *testing.T) {
	c := openAMQP(t)
	ch := c.channel()
	gone := ch.NotifyCancel(make(chan string, 1))
	deliveries := c.subscribe(ch, 1)
	if _, err := c.QueueDelete(c.queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody told")
	}
	if _, more := <-deliveries; more {
		t.Error("something was delivered")
	}
}

func TestAMQPKeepsItsQueuesWhenItStops(t *testing.T) {
	a := NewAMQP(t)
	conn, err := amqp.Dial(a.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := &amqpClient{t: t, conn: conn, queue: "kept"}
	c.Channel = c.channel()
	if _, err := c.QueueDeclare(c.queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	c.publish("1", "2")
	nextDelivery(t, c.subscribe(c.channel(), 1))
	if ready, unacked := a.Waiting("/", "kept"); ready != 1 || unacked != 1 {
		t.Errorf("%d wait and %d are in flight, want 1 and 1", ready, unacked)
	}
	a.Stop()
	if _, err := amqp.Dial(a.URL()); err == nil {
		t.Error("a broker that stopped lets clients in")
	}
	a.Start()
	if c.conn, err = amqp.Dial(a.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.conn.Close() })
	deliveries := c.subscribe(c.channel(), 2)
	bodies := []string{string(nextDelivery(t, deliveries).Body), string(nextDelivery(t, deliveries).Body)}
	if !slices.Equal(bodies, []string{"1", "2"}) {
		t.Errorf("%q were kept", bodies)
	}
}
