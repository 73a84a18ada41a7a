package sources

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http/httptest"
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

func TestAMQP(t *testing.T) {
	t.Parallel()
	testBroker(t, func(t *testing.T) brokerHarness { return newAMQPHarness(t) })
}

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
	return BrokerConfig{Source: source, ShutdownTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)}
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

func TestAMQPMessageHasItsHeadersAndProperties(t *testing.T) {
	h := newAMQPHarness(t)
	h.publish("", h.queue, amqp.Publishing{
		Headers: amqp.Table{
			"text": "x", "bytes": []byte{0, 255}, "whole": int64(9007199254740993), "small": int16(-3), "part": 1.5, "yes": true,
			"at": time.Unix(1e9, 0), "amqp-type": "its own", "nested": amqp.Table{"a": "b"}, "list": []any{"a"}, "none": nil,
		},
		ContentType: "application/json", CorrelationId: "c1", MessageId: "m:1", AppId: "shop", Type: "order", Timestamp: time.Unix(1e9, 0), Body: []byte("{}"),
	})
	m := receive(t, brokerMessages(t, newAMQP(configOf(h.Source()))), "the message is read")
	want := map[string]string{
		"text": "x", "bytes": "AP8=", "whole": "9007199254740993", "small": "-3", "part": "1.5", "yes": "true", "at": "2001-09-09T01:46:40Z",
		"amqp-type": "its own", "amqp-routing-key": h.queue, "amqp-content-type": "application/json", "amqp-correlation-id": "c1",
		"amqp-message-id": "m:1", "amqp-app-id": "shop",
	}
	if !maps.Equal(m.headers, want) {
		t.Errorf("headers %v, want %v", m.headers, want)
	}
	if want := fmt.Sprintf("amqp:%s:1:shop:m%%3A1", h.source.ID); m.id != want || !m.at.Equal(time.Unix(1e9, 0)) || string(m.body) != "{}" {
		t.Errorf("%q at %s is %s, want %s", m.body, m.at, m.id, want)
	}
}

func TestAMQPMessagesWithoutAnIDAreNeverTakenForEachOther(t *testing.T) {
	h := newAMQPHarness(t)
	h.publish("", h.queue, amqp.Publishing{Body: []byte("same")}, amqp.Publishing{Body: []byte("same")})
	failed := make(chan string, 2)
	ids := make(chan string, 2)
	b := newAMQP(configOf(h.Source()))
	readBroker(t, b, func(m *message.Message) {
		select {
		case failed <- m.UUID:
			m.Nack() // tried again in its place
		default:
			ids <- m.UUID
			m.Ack()
		}
	})
	one, other := receive(t, ids, "a message is read"), receive(t, ids, "the other is read")
	if one == other {
		t.Errorf("both are %s", one)
	}
	for range 2 {
		if id := <-failed; id != one && id != other {
			t.Errorf("tried again, %s is one of %s and %s", id, one, other)
		}
	}
}

func TestAMQPMakesItsQueue(t *testing.T) {
	h := amqpWithoutQueue(t)
	source := h.Source()
	source.PubSub.AMQP.Bind = &millrace.AMQPBinding{Exchange: "amq.topic", RoutingKey: h.queue + ".*"}
	source.PubSub.AMQP.DeadLetterExchange = "amq.fanout"
	b := newAMQP(configOf(source))
	got := brokerMessages(t, b)
	stated(t, b, millrace.SourceHealthy)
	h.publish("amq.topic", h.queue+".paid", amqp.Publishing{Body: []byte("{}")})
	if m := receive(t, got, "what the exchange routes is read"); m.headers["amqp-routing-key"] != h.queue+".paid" {
		t.Errorf("headers %v", m.headers)
	}
	if _, err := h.channel().QueueDeclare(h.queue, true, false, false, false, amqp.Table{"x-dead-letter-exchange": "amq.fanout"}); err != nil {
		t.Errorf("the queue is not durable, or without its dead-letter exchange: %v", err)
	}
}

func TestAMQPTakesAQueueAsItIs(t *testing.T) {
	h := amqpWithoutQueue(t)
	h.declare(amqp.Table{"x-dead-letter-exchange": "amq.direct"})
	source := h.Source()
	source.PubSub.AMQP.DeadLetterExchange = "amq.fanout"
	h.Produce(t, broadcast(1))
	receive(t, brokerMessages(t, newAMQP(configOf(source))), "the message is read")
}

func TestAMQPReadsAnotherVirtualHost(t *testing.T) {
	url := brokertest.NewAMQP(t).URL() // which has a second
	first, second := amqpAt(t, url), amqpAt(t, url+"second")
	second.queue = first.queue
	first.declare(nil)
	second.declare(nil)
	first.publish("", first.queue, amqp.Publishing{Body: []byte("first")})
	second.publish("", first.queue, amqp.Publishing{Body: []byte("second")})
	source := first.Source()
	source.PubSub.AMQP.VHost = "second"
	if m := receive(t, brokerMessages(t, newAMQP(configOf(source))), "a message is read"); string(m.body) != "second" || first.Left(t) != 1 {
		t.Errorf("read what is %s", m.body)
	}
}

func TestAMQPSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		rule   string
		change func(*millrace.AMQPSource)
		words  []string
	}{
		{"nobody answers", func(q *millrace.AMQPSource) { q.Port = 1 }, []string{"the broker cannot be reached", "connection refused"}},
		{"another password", func(q *millrace.AMQPSource) { q.Auth = &millrace.BasicSecret{User: "guest", Password: "hidden"} }, []string{"cannot log in", "username or password not allowed"}},
		{"a virtual host that is not there", func(q *millrace.AMQPSource) { q.VHost = "nowhere" }, []string{"cannot log in", "vhost nowhere not found"}},
		{"an exchange that is not there", func(q *millrace.AMQPSource) { q.Bind = &millrace.AMQPBinding{Exchange: "nowhere"} }, []string{`cannot bind the queue`, `to the exchange "nowhere"`, "NOT_FOUND"}},
		{"a queue that may not be made", func(q *millrace.AMQPSource) { q.Queue = "amq.mine" }, []string{`cannot declare the queue "amq.mine"`, "ACCESS_REFUSED"}},
		{"no TLS", func(q *millrace.AMQPSource) { q.Schema = "amqps" }, []string{"no TLS connection to the broker"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			source := newAMQPHarness(t).Source()
			c.change(source.PubSub.AMQP)
			b := newAMQP(configOf(source))
			brokerMessages(t, b)
			stated(t, b, millrace.SourceUnhealthy, c.words...)
			if s := b.State(); strings.Contains(s.Error, "hidden") || strings.Contains(s.Error, "Exception") || s.Lag != -1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestAMQPSpeaksTLS(t *testing.T) {
	h := newAMQPHarness(t)
	h.Produce(t, broadcast(1))
	authority := httptest.NewTLSServer(nil)
	defer authority.Close()
	secured := newRelay(t, h.to, &tls.Config{Certificates: authority.TLS.Certificates})
	_, port, err := net.SplitHostPort(secured.addr)
	if err != nil {
		t.Fatal(err)
	}
	source := h.Source()
	source.PubSub.AMQP.Schema = "amqps"
	if source.PubSub.AMQP.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	stranger := newAMQP(configOf(source))
	brokerMessages(t, stranger)
	stated(t, stranger, millrace.SourceUnhealthy, "no TLS connection to the broker", "certificate")
	b := newAMQP(configOf(source))
	b.tls.RootCAs = x509.NewCertPool()
	b.tls.RootCAs.AddCert(authority.Certificate())
	receive(t, brokerMessages(t, b), "the message is read")
}

func TestAMQPReadsAQueueThatIsMadeAnew(t *testing.T) {
	h := newAMQPHarness(t)
	b := newAMQP(configOf(h.Source()))
	got := brokerMessages(t, b)
	stated(t, b, millrace.SourceHealthy)
	if _, err := h.channel().QueueDelete(h.queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		_, err := h.channel().QueueDeclarePassive(h.queue, true, false, false, false, nil)
		return err == nil
	}, func() string { return "the queue is not made again" })
	h.Produce(t, broadcast(1))
	receive(t, got, "the message is read")
}

func TestAMQPTellsHowManyMessagesWait(t *testing.T) {
	h := newAMQPHarness(t)
	h.Produce(t, broadcasts(30)...)
	source := h.Source()
	source.PubSub.Workers = 5
	b := newAMQP(configOf(source))
	b.lagEvery = 10 * time.Millisecond
	goOn := make(chan struct{})
	readBroker(t, b, func(m *message.Message) {
		<-goOn
		m.Ack()
	})
	lag := func(want int64) {
		t.Helper()
		eventually(t, func() bool { return b.State().Lag == want }, func() string { return fmt.Sprintf("the lag is %d, not %d", b.State().Lag, want) })
	}
	lag(25)
	close(goOn)
	lag(0)
}

func TestAMQPFindsASilentBrokerDead(t *testing.T) {
	t.Parallel()
	h := newAMQPHarness(t)
	b := newAMQP(configOf(h.Source()))
	b.heartbeat = time.Second
	got := brokerMessages(t, b)
	stated(t, b, millrace.SourceHealthy)
	h.silence()
	stated(t, b, millrace.SourceUnhealthy, "cannot keep the connection")
	h.Break(t)
	h.Mend(t)
	h.Produce(t, broadcast(1))
	receive(t, got, "the message is read")
}

func TestAMQPLetsGoWhatItsConnectionTookAway(t *testing.T) {
	h := newAMQPHarness(t)
	h.Produce(t, broadcast(1))
	source := h.Source()
	source.PubSub.Workers = 1
	taken := make(chan *message.Message, 10)
	readBroker(t, newAMQP(configOf(source)), func(m *message.Message) { taken <- m })
	first := receive(t, taken, "the message is taken")
	h.Break(t)
	receive(t, first.Context().Done(), "the message is let go")
	h.Mend(t)
	again := receive(t, taken, "it is taken again, in the place of the first")
	if again.UUID != first.UUID {
		t.Errorf("%s came as %s", first.UUID, again.UUID)
	}
	again.Ack()
	wantLeft(t, h, 0)
}

func TestAMQPEndsThoughItsBrokerIsSilent(t *testing.T) {
	t.Parallel()
	h := newAMQPHarness(t)
	h.Produce(t, broadcasts(10)...)
	b := newAMQP(configOf(h.Source()))
	b.heartbeat = 10 * time.Minute
	taken, goOn := make(chan struct{}, 10), make(chan struct{})
	stop := readBroker(t, b, func(m *message.Message) {
		taken <- struct{}{}
		<-goOn
		m.Ack()
	})
	for range 10 {
		receive(t, taken, "a message is taken")
	}
	h.silence()
	close(goOn)
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*promptly { // of a minute's ShutdownTimeout
		t.Errorf("ended after %s, though nothing was worked on", took)
	}
}

func TestAMQPHasAcknowledgedAllOnceItEnded(t *testing.T) {
	h := newAMQPHarness(t)
	h.Produce(t, broadcasts(200)...)
	taken := make(chan struct{}, 200)
	stop := readBroker(t, newAMQP(configOf(h.Source())), func(m *message.Message) {
		pause(m.Context(), 5*time.Millisecond)
		m.Ack()
		taken <- struct{}{}
	})
	for range 20 {
		receive(t, taken, "a message is taken")
	}
	stop()
	if left := h.Left(t); left != 200-len(taken)-20 {
		t.Errorf("%d are left of 200, of which %d were taken", left, len(taken)+20)
	}
}

// BenchmarkAMQP reads a queue with a handler that takes 3 ms, as a commit does.
func BenchmarkAMQP(b *testing.B) {
	h := newAMQPHarness(b)
	benchmarkBroker(b, h, func() Broker { return newAMQP(configOf(h.Source())) })
}

// benchmarkBroker reads messages that wait already.
func benchmarkBroker(b *testing.B, h brokerHarness, broker func() Broker) {
	const messages = 5000
	for b.Loop() {
		b.StopTimer()
		h.Produce(b, broadcasts(messages)...)
		taken := make(chan struct{}, messages)
		b.StartTimer()
		stop := readBroker(b, broker(), func(m *message.Message) {
			pause(m.Context(), 3*time.Millisecond)
			m.Ack()
			taken <- struct{}{}
		})
		for range messages {
			<-taken
		}
		stop()
	}
	b.ReportMetric(float64(messages*b.N)/b.Elapsed().Seconds(), "messages/s")
}
