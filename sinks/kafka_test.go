package sinks

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/millrace-dev/millrace"
)

type kafkaRig struct{ cluster *kfake.Cluster }

func newKafkaRig(t testing.TB) rig {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "orders"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "u", brokerSecret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &kafkaRig{c}
}

func (r *kafkaRig) endpoint() millrace.Endpoint {
	return millrace.Endpoint{Kind: millrace.SinkKafka, Sink: millrace.Sink{Kafka: &millrace.KafkaSink{
		Brokers: r.cluster.ListenAddrs(), Topic: "orders", Key: "order",
		Auth: millrace.KafkaAuth{Type: "scram", Hash: "SHA256", Username: "u", Password: brokerSecret},
	}}}
}

func (r *kafkaRig) at(e *millrace.Endpoint, address string) {
	e.Sink.Kafka.Brokers = []string{address}
	*e = e.WithDefaults()
}

func (r *kafkaRig) missing(e *millrace.Endpoint) {
	e.Sink.Kafka.Topic = "returns"
	*e = e.WithDefaults()
}

func (r *kafkaRig) wrong(e *millrace.Endpoint) { e.Sink.Kafka.Auth.Password = "not-" + brokerSecret }

func (r *kafkaRig) records(t *testing.T, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.ListenAddrs()...), kgo.ConsumeTopics("orders"),
		kgo.SASL(scram.Auth{User: "u", Pass: brokerSecret}.AsSha256Mechanism()), kgo.DisableClientMetrics())
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

func (r *kafkaRig) arrived(t *testing.T, n int) []arrival {
	t.Helper()
	var all []arrival
	for _, record := range r.records(t, n) {
		consumed := &sarama.ConsumerMessage{Value: record.Value}
		for _, h := range record.Headers {
			consumed.Headers = append(consumed.Headers, &sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
		}
		m, err := wkafka.DefaultMarshaler{}.Unmarshal(consumed)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, arrival{id: m.UUID, headers: m.Metadata, body: m.Payload})
	}
	return all
}

func TestAKafkaRecordHasTheKeyThatStandsInThePayload(t *testing.T) {
	r := newKafkaRig(t).(*kafkaRig)
	s := allSinks(t, newProxy(t))
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
	keyless := deliveryOn(r.endpoint())
	keyless.Endpoint.Sink.Kafka.Key = "customer.id"
	want(t, sent(t, s, keyless), millrace.OutcomeSuccess)
	keys := map[string]bool{}
	for _, record := range r.records(t, 2) {
		keys[string(record.Key)] = record.Key != nil
	}
	if given, none := keys["7"], keys[""]; !given || none || len(keys) != 2 {
		t.Errorf("the keys are %v", keys)
	}
}

func TestABrokerThatTheClusterNamesIsJudgedToo(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	brokers := c.ListenAddrs()
	leader := int(c.LeaderFor("orders", 0))
	p := newProxy(t)
	p.forbidden.Store(&brokers[leader])
	d := deliveryOn(millrace.Endpoint{Kind: millrace.SinkKafka, Sink: millrace.Sink{Kafka: &millrace.KafkaSink{Brokers: []string{brokers[1-leader]}, Topic: "orders"}}})
	want(t, sent(t, allSinks(t, p), d), millrace.OutcomeBlocked)
}

func TestOneMessageThatIsTooLargeTakesNoOtherWithIt(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "3000"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := allSinks(t, newProxy(t))
	e := millrace.Endpoint{Kind: millrace.SinkKafka, Sink: millrace.Sink{Kafka: &millrace.KafkaSink{Brokers: c.ListenAddrs(), Topic: "orders"}}}
	var sending sync.WaitGroup
	for i := range 60 {
		d := deliveryOn(e)
		size, expected := 500, millrace.OutcomeSuccess
		if i%10 == 0 {
			size, expected = 5000, millrace.OutcomeTooLarge
		}
		d.Delivery.Payload = make([]byte, size)
		for j := range d.Delivery.Payload { // so that no compression makes it small
			d.Delivery.Payload[j] = byte(rand.Uint32())
		}
		sending.Go(func() {
			if a, err := s.Send(t.Context(), d); err != nil || a.Outcome != expected {
				t.Errorf("%d bytes: %s, %s, %v", size, a.Outcome, a.Error, err)
			}
		})
	}
	sending.Wait()
}

func TestABrokerThatConfirmsNothingHoldsTheDeadline(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := allSinks(t, newProxy(t))
	d := deliveryOn(millrace.Endpoint{Kind: millrace.SinkKafka, Sink: millrace.Sink{Kafka: &millrace.KafkaSink{Brokers: c.ListenAddrs(), Topic: "orders"}}})
	want(t, sent(t, s, d), millrace.OutcomeSuccess)
	release := make(chan struct{})
	const produce = 0
	var hung atomic.Bool
	c.ControlKey(produce, func(kmsg.Request) (kmsg.Response, error, bool) {
		if hung.CompareAndSwap(false, true) {
			c.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	short := d
	short.Endpoint.Timeout = 300 * time.Millisecond
	a := sent(t, s, short)
	want(t, a, millrace.OutcomeTimeout)
	if over := a.Latency - short.Endpoint.Timeout; over < 0 || over > overshoot {
		t.Errorf("a deadline of %s was held after %s", short.Endpoint.Timeout, a.Latency)
	}
	want(t, sent(t, s, d), millrace.OutcomeSuccess) // by another connection
	close(release)
}

func TestADeadlineThatEndsIsNoOtherDeliverys(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := allSinks(t, newProxy(t))
	d := deliveryOn(millrace.Endpoint{Kind: millrace.SinkKafka, Sink: millrace.Sink{Kafka: &millrace.KafkaSink{Brokers: c.ListenAddrs(), Topic: "orders"}}})
	want(t, sent(t, s, d), millrace.OutcomeSuccess)
	release, asked := make(chan struct{}), make(chan struct{}, 100)
	c.ControlKey(0, func(kmsg.Request) (kmsg.Response, error, bool) {
		asked <- struct{}{}
		c.SleepControl(func() { <-release })
		return nil, nil, false
	})
	short := d
	short.Endpoint.Timeout = 500 * time.Millisecond
	var sending sync.WaitGroup
	send := func(d millrace.Request, expected millrace.Outcome) {
		sending.Go(func() {
			if a, err := s.Send(t.Context(), d); err != nil || a.Outcome != expected {
				t.Errorf("with a deadline of %s: %s, %s, %v", d.Endpoint.Timeout, a.Outcome, a.Error, err)
			}
			if expected == millrace.OutcomeTimeout {
				close(release)
			}
		})
	}
	send(short, millrace.OutcomeTimeout)
	<-asked // it is on its way, and the others gather behind it
	for range 5 {
		send(d, millrace.OutcomeSuccess)
	}
	sending.Wait()
}

func TestKafkasAnswersAreTold(t *testing.T) {
	for answer, outcome := range map[*kerr.Error]millrace.Outcome{
		kerr.TopicAuthorizationFailed: millrace.OutcomeAuthentication, kerr.SaslAuthenticationFailed: millrace.OutcomeAuthentication,
		kerr.InvalidTopicException: millrace.OutcomeMissing, kerr.NotEnoughReplicas: millrace.OutcomeServerError, kerr.NotLeaderForPartition: millrace.OutcomeServerError,
		kerr.InvalidRecord: millrace.OutcomeClientError, kerr.ThrottlingQuotaExceeded: millrace.OutcomeTooMany, kerr.RecordListTooLarge: millrace.OutcomeTooLarge,
	} {
		t.Run(answer.Message, func(t *testing.T) {
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			requests := 0
			c.ControlKey(0, func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				requests++
				return produceRefused(r.(*kmsg.ProduceRequest), answer.Code), nil, true
			})
			s := allSinks(t, newProxy(t))
			d := deliveryOn(millrace.Endpoint{Kind: millrace.SinkKafka, Sink: millrace.Sink{Kafka: &millrace.KafkaSink{Brokers: c.ListenAddrs(), Topic: "orders"}}})
			a := sent(t, s, d)
			want(t, a, outcome)
			if !strings.Contains(a.Error, answer.Message) {
				t.Errorf("the sentence does not name it: %s", a.Error)
			}
			if requests != 1 {
				t.Errorf("one attempt was %d requests", requests)
			}
		})
	}
}

// produceRefused is a broker's refusal of all that was sent.
func produceRefused(r *kmsg.ProduceRequest, code int16) kmsg.Response {
	response := r.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range r.Topics {
		t := kmsg.NewProduceResponseTopic()
		t.Topic, t.TopicID = topic.Topic, topic.TopicID
		for _, partition := range topic.Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode = partition.Partition, code
			t.Partitions = append(t.Partitions, p)
		}
		response.Topics = append(response.Topics, t)
	}
	return response
}
