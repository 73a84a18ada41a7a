package sinks

import (
	"context"
	"testing"
	"time"

	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/millrace-dev/millrace"
)

type kafkaRig struct{ cluster *kfake.Cluster }

func newKafkaRig(t *testing.T) rig {
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
	_ = time.Second
}
