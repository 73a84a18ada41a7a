package sources

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/brokertest"
)

// amqpHarness is a queue of an AMQP broker in process, or of the real one that
// the environment names, behind a relay.
type amqpHarness struct {
	*relay
	t      testing.TB
	source millrace.Source
	conn   *amqp.Connection
	queue  string
}

func newAMQPHarness(t testing.TB) *amqpHarness {
	t.Helper()
	h := amqpWithoutQueue(t)
	h.declare(nil)
	return h
}

// amqpWithoutQueue is a broker whose queue is not there.
func amqpWithoutQueue(t testing.TB) *amqpHarness {
	t.Helper()
	url := os.Getenv("MILLRACE_TEST_AMQP")
	if url == "" {
		url = brokertest.NewAMQP(t).URL()
	}
	return amqpAt(t, url)
}

func amqpAt(t testing.TB, url string) *amqpHarness {
	t.Helper()
	at, err := amqp.ParseURI(url)
	if err != nil {
		t.Fatal(err)
	}
	h := &amqpHarness{t: t, queue: "orders-" + millrace.NewID(time.Now()).String()}
	if h.conn, err = amqp.Dial(url); err != nil {
		t.Fatalf("dial the broker: %v", err)
	}
	h.relay = newRelay(t, net.JoinHostPort(at.Host, strconv.Itoa(at.Port)), nil)
	t.Cleanup(func() {
		_, _ = h.channel().QueueDelete(h.queue, false, false, false) // a real broker would keep it
		_ = h.conn.Close()                                           // all is done
	})
	host, port, err := net.SplitHostPort(h.addr)
	if err != nil {
		t.Fatal(err)
	}
	h.source = millrace.Source{
		ID: millrace.NewID(time.Now()), ProjectID: millrace.NewID(time.Now()), Name: "orders", Type: millrace.SourcePubSub, Revision: 1,
		PubSub: &millrace.PubSub{Kind: millrace.BrokerAMQP, AMQP: &millrace.AMQPSource{Schema: "amqp", Host: host, Queue: h.queue}},
	}
	if h.source.PubSub.AMQP.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	return h
}

// Source reads the queue.
func (h *amqpHarness) Source() millrace.Source {
	s := h.source
	pubsub, queue := *s.PubSub, *s.PubSub.AMQP
	pubsub.AMQP, s.PubSub = &queue, &pubsub
	return s
}

// Produce publishes messages, each with an id.
func (h *amqpHarness) Produce(t testing.TB, messages ...produced) {
	t.Helper()
	var publishings []amqp.Publishing
	for _, m := range messages {
		p := amqp.Publishing{Headers: amqp.Table{}, MessageId: millrace.NewID(time.Now()).String(), Body: []byte(m.body), DeliveryMode: amqp.Persistent}
		for name, value := range m.headers {
			p.Headers[name] = value
		}
		publishings = append(publishings, p)
	}
	h.publish("", h.queue, publishings...)
}

// publish waits until the broker has the messages.
func (h *amqpHarness) publish(exchange, key string, messages ...amqp.Publishing) {
	h.t.Helper()
	ch := h.channel()
	if err := ch.Confirm(false); err != nil {
		h.t.Fatal(err)
	}
	var last *amqp.DeferredConfirmation
	for _, m := range messages {
		var err error
		if last, err = ch.PublishWithDeferredConfirm(exchange, key, false, false, m); err != nil {
			h.t.Fatal(err)
		}
	}
	if last != nil && !last.Wait() {
		h.t.Fatal("the broker refuses messages")
	}
	if err := ch.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// Left are the messages that no consumer has.
func (h *amqpHarness) Left(t testing.TB) int {
	t.Helper()
	ch := h.channel()
	q, err := ch.QueueDeclarePassive(h.queue, true, false, false, false, nil)
	if err != nil {
		t.Fatalf("count what is left: %v", err)
	}
	if err := ch.Close(); err != nil {
		t.Fatal(err)
	}
	return q.Messages
}

// Break cuts all connections.
func (h *amqpHarness) Break(testing.TB) { h.cut() }

// Mend lets clients in again.
func (h *amqpHarness) Mend(t testing.TB) { h.mend(t) }

func (h *amqpHarness) declare(arguments amqp.Table) {
	h.t.Helper()
	if _, err := h.channel().QueueDeclare(h.queue, true, false, false, false, arguments); err != nil {
		h.t.Fatalf("declare the queue: %v", err)
	}
}

func (h *amqpHarness) channel() *amqp.Channel {
	h.t.Helper()
	ch, err := h.conn.Channel()
	if err != nil {
		h.t.Fatalf("open a channel: %v", err)
	}
	return ch
}

// readBroker reads a source with what the test does to its messages, until
// stop.
func readBroker(t testing.TB, b Broker, do func(*message.Message)) (stop func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	messages, err := b.Subscribe(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m := range messages {
			go do(m)
		}
	}()
	stop = func() {
		end()
		<-ended
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func configOf(source millrace.Source) BrokerConfig {
	return BrokerConfig{Source: source, MaxBytes: 1 << 20, ShutdownTimeout: time.Minute, Dial: anywhere, Logger: slog.New(slog.DiscardHandler)}
}

// stated waits until a source is so, with these words.
func stated(t testing.TB, b Broker, want millrace.SourceHealth, words ...string) {
	t.Helper()
	var s millrace.SourceState
	eventually(t, func() bool {
		s = b.State()
		for _, w := range words {
			if !strings.Contains(s.Error, w) {
				return false
			}
		}
		return s.Health == want
	}, func() string {
		return fmt.Sprintf("the source is %s (%s), not %s (%q)", s.Health, s.Error, want, words)
	})
}

// brokerMessages reads messages as the broker gave them, and acks them.
func brokerMessages(t testing.TB, b Broker) <-chan *brokerMessage {
	t.Helper()
	got := make(chan *brokerMessage, 100)
	readBroker(t, b, func(m *message.Message) {
		got <- m.Context().Value(brokerMessageKey{}).(*brokerMessage)
		m.Ack()
	})
	return got
}
