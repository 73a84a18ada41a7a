package sources

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store/storetest"
)

func TestKafkaKeepsWhatSourcesPromise(t *testing.T) {
	testBroker(t, func(t *testing.T) brokerHarness {
		// The real one, where there is one: it is not the test's to break.
		if real := os.Getenv("MILLRACE_TEST_KAFKA"); real != "" {
			return newKafkaTopic(t, 3, real)
		}
		return newFakeKafka(t, 3)
	})
}

// kafkaTopic is a topic of a cluster, with a consumer group.
type kafkaTopic struct {
	source   millrace.Source
	producer *kgo.Client
	admin    *kadm.Client
}

func newKafkaTopic(t testing.TB, partitions int32, brokers ...string) *kafkaTopic {
	t.Helper()
	name := "orders-" + uuid.NewString()
	k := &kafkaTopic{source: kafkaSource(name, brokers...)}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(name), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(8<<20), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	k.producer, k.admin = client, kadm.NewClient(client)
	limit := strconv.Itoa(8 << 20)
	answer, err := k.admin.CreateTopic(t.Context(), partitions, 1, map[string]*string{"max.message.bytes": &limit}, name)
	if err != nil || answer.Err != nil {
		t.Fatal(err, answer.Err)
	}
	return k
}

// kafkaSource reads a topic by a group of the same name.
func kafkaSource(topic string, brokers ...string) millrace.Source {
	return millrace.Source{
		ID: millrace.NewID(time.Now()), ProjectID: millrace.NewID(time.Now()), Name: "orders", Type: millrace.SourcePubSub, MaskID: "mask", Revision: 1,
		PubSub: &millrace.PubSub{Kind: millrace.BrokerKafka, Kafka: &millrace.KafkaSource{Brokers: brokers, GroupID: "readers-of-" + topic, Topic: topic}},
	}
}

// Source reads the topic.
func (k *kafkaTopic) Source() millrace.Source {
	s, from, kafka := k.source, *k.source.PubSub, *k.source.PubSub.Kafka
	from.Kafka = &kafka
	s.PubSub = &from
	return s
}

func (k *kafkaTopic) name() string { return k.source.PubSub.Kafka.Topic }

// Produce adds messages to the partitions in turn.
func (k *kafkaTopic) Produce(t testing.TB, messages ...produced) {
	t.Helper()
	records := make([]*kgo.Record, len(messages))
	for i, m := range messages {
		records[i] = &kgo.Record{Key: []byte(uuid.NewString()), Value: []byte(m.body)}
		for name, value := range m.headers {
			records[i].Headers = append(records[i].Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	k.produce(t, records...)
}

func (k *kafkaTopic) produce(t testing.TB, records ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := k.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// Left is what the group has not committed; -1: a broker that has restarted
// did not say.
func (k *kafkaTopic) Left(t testing.TB) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := k.admin.ListEndOffsets(ctx, k.name())
	commits, refused := k.admin.FetchOffsetsForTopics(ctx, k.source.PubSub.Kafka.GroupID, k.name())
	if err = errors.Join(err, refused); err != nil {
		t.Log(err)
		return -1
	}
	left := 0
	ends.Each(func(end kadm.ListedOffset) {
		commit, _ := commits.Lookup(k.name(), end.Partition)
		left += int(end.Offset - max(0, commit.At))
	})
	return left
}

// fakeKafka is a cluster in process that speaks Kafka's protocol.
type fakeKafka struct {
	*kafkaTopic
	cluster *kfake.Cluster
	options []kfake.Opt
}

func newFakeKafka(t testing.TB, partitions int32, options ...kfake.Opt) *fakeKafka {
	t.Helper()
	port := freePort(t)
	k := &fakeKafka{options: append(options, kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(t.TempDir()))}
	k.Mend(t)
	t.Cleanup(func() { k.cluster.Close() })
	k.kafkaTopic = newKafkaTopic(t, partitions, "127.0.0.1:"+strconv.Itoa(port))
	return k
}

// Break closes the cluster.
func (k *fakeKafka) Break(testing.TB) { k.cluster.Close() }

// Mend starts it again, with what it kept.
func (k *fakeKafka) Mend(t testing.TB) {
	t.Helper()
	cluster, err := kfake.NewCluster(k.options...)
	if err != nil {
		t.Fatal(err)
	}
	k.cluster = cluster
}

// freePort is a port that a broker may leave and come back to.
func freePort(t testing.TB) int {
	t.Helper()
	text, err := storetest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
