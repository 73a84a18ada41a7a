package sources

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
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
	h := newAMQPHarness(t)
	h.Produce(t, broadcasts(10)...)
	b := newAMQP(configOf(h.Source()))
	b.heartbeat, b.parting = 10*time.Minute, 100*time.Millisecond
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
	if took := time.Since(began); took > patience { // of a minute's ShutdownTimeout
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
