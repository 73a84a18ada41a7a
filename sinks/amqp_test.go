package sinks

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/rabbitmq/amqp091-go"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/brokertest"
)

type amqpRig struct {
	server *brokertest.AMQP
	conn   *amqp091.Connection
}

func newAMQPRig(t testing.TB) rig {
	t.Helper()
	r := &amqpRig{server: brokertest.NewAMQP(t)}
	var err error
	if r.conn, err = amqp091.Dial(r.server.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.Close() })
	ch := r.channel(t)
	if err := ch.ExchangeDeclare("events", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("orders", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind("orders", "order.*", "events", false, nil); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *amqpRig) channel(t testing.TB) *amqp091.Channel {
	t.Helper()
	ch, err := r.conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func (r *amqpRig) endpoint() millrace.Endpoint {
	e := millrace.Endpoint{Kind: millrace.SinkAMQP, Sink: millrace.Sink{AMQP: &millrace.AMQPSink{
		Schema: "amqp", Auth: millrace.BasicSecret{User: "guest", Password: "guest"}, Exchange: "events",
	}}}
	r.at(&e, r.server.Addr())
	return e
}

func (r *amqpRig) at(e *millrace.Endpoint, address string) {
	host, port, _ := net.SplitHostPort(address)
	e.Sink.AMQP.Host = host
	e.Sink.AMQP.Port, _ = strconv.Atoi(port)
	*e = e.WithDefaults()
}

func (r *amqpRig) missing(e *millrace.Endpoint) {
	e.Sink.AMQP.Exchange = "returns"
	*e = e.WithDefaults()
}

func (r *amqpRig) wrong(e *millrace.Endpoint) { e.Sink.AMQP.Auth.Password = brokerSecret }

func (r *amqpRig) messages(t *testing.T, n int) []amqp091.Delivery {
	t.Helper()
	ch := r.channel(t)
	defer ch.Close()
	consumed, err := ch.Consume("orders", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []amqp091.Delivery
	for len(all) < n {
		select {
		case d := <-consumed:
			all = append(all, d)
		case <-time.After(patience):
			return all
		}
	}
	return all
}

func (r *amqpRig) arrived(t *testing.T, n int) []arrival {
	t.Helper()
	var all []arrival
	for _, d := range r.messages(t, n) {
		read, err := wamqp.DefaultMarshaler{}.Unmarshal(d)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, arrival{id: read.UUID, headers: read.Metadata, body: read.Payload})
	}
	return all
}

func TestAnAMQPMessageIsPersistentAndRoutedByItsType(t *testing.T) {
	r := newAMQPRig(t).(*amqpRig)
	s := allSinks(t, newProxy(t))
	d := deliveryOn(r.endpoint())
	want(t, sent(t, s, d), millrace.OutcomeSuccess)
	got := r.messages(t, 1)
	if len(got) != 1 || got[0].RoutingKey != "order.paid" || got[0].DeliveryMode != amqp091.Persistent || got[0].MessageId != d.Delivery.EventID.String() ||
		got[0].ContentType != "application/json" {
		t.Errorf("arrived: %+v", got)
	}
	d.Endpoint.Sink.AMQP.RoutingKey = "order.fixed"
	want(t, sent(t, s, d), millrace.OutcomeSuccess)
	if got := r.messages(t, 1); len(got) != 1 || got[0].RoutingKey != "order.fixed" {
		t.Errorf("arrived: %+v", got)
	}
}

func TestAMessageThatNoQueueTakesIsNoSuccess(t *testing.T) {
	r := newAMQPRig(t).(*amqpRig)
	s := allSinks(t, newProxy(t))
	for range 20 { // by turns: the return of one is not the other's
		lost := deliveryOn(r.endpoint())
		lost.Endpoint.Sink.AMQP.RoutingKey = "refund.paid"
		a := sent(t, s, lost)
		want(t, a, millrace.OutcomeMissing)
		if !strings.Contains(a.Error, "refund.paid") {
			t.Errorf("the sentence names no key: %s", a.Error)
		}
		want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
	}
}

func TestTheDefaultExchangeLeadsToAQueue(t *testing.T) {
	r := newAMQPRig(t).(*amqpRig)
	s := allSinks(t, newProxy(t))
	d := deliveryOn(r.endpoint())
	d.Endpoint.Sink.AMQP.Exchange, d.Endpoint.Sink.AMQP.RoutingKey = "", "orders"
	d.Endpoint = d.Endpoint.WithDefaults()
	want(t, sent(t, s, d), millrace.OutcomeSuccess)
	if got := r.messages(t, 1); len(got) != 1 {
		t.Errorf("arrived: %+v", got)
	}
}

func TestAVHostThatIsNotThereIsToldAsSuch(t *testing.T) {
	r := newAMQPRig(t).(*amqpRig)
	s := allSinks(t, newProxy(t))
	d := deliveryOn(r.endpoint())
	d.Endpoint.Sink.AMQP.VHost = "nowhere"
	d.Endpoint = d.Endpoint.WithDefaults()
	want(t, sent(t, s, d), millrace.OutcomeMissing)
}

func TestAnAMQPBrokerThatComesBackIsConnectedToAgain(t *testing.T) {
	r := newAMQPRig(t).(*amqpRig)
	s := allSinks(t, newProxy(t))
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
	r.server.Stop()
	if a := sent(t, s, deliveryOn(r.endpoint())); a.Outcome != millrace.OutcomeConnect && a.Outcome != millrace.OutcomeReset {
		t.Errorf("while it is down: %s, %s", a.Outcome, a.Error)
	}
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeConnect)
	r.server.Start()
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
}

func TestARefusalAnswersAllThatWaitedForTheConnection(t *testing.T) {
	s := allSinks(t, newProxy(t))
	const each = 300 * time.Millisecond
	var connections atomic.Int32
	slow := listen(t, func(conn net.Conn) { // as a broker that takes its time to refuse
		connections.Add(1)
		conn.SetReadDeadline(time.Now().Add(each))
		io.Copy(io.Discard, conn)
	})
	r := &amqpRig{}
	e := millrace.Endpoint{Kind: millrace.SinkAMQP, Sink: millrace.Sink{AMQP: &millrace.AMQPSink{Schema: "amqp", Exchange: "events"}}}
	r.at(&e, slow.addr())
	var sending sync.WaitGroup
	for range 20 {
		sending.Go(func() {
			if a, err := s.Send(t.Context(), deliveryOn(e)); err != nil || a.Outcome != millrace.OutcomeReset {
				t.Errorf("%s, %s, %v", a.Outcome, a.Error, err)
			}
		})
	}
	sending.Wait()
	if n := connections.Load(); n > 5 {
		t.Errorf("20 deliveries at once made %d connections, one after the other", n)
	}
}
