//go:build brokers

// These tests run against real brokers, which `make test-brokers` starts.

package millracetest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	convoy "github.com/frain-dev/convoy-go/v2"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
)

// at is where `make test-brokers` runs a broker.
func at(t testing.TB, variable string) string {
	t.Helper()
	address := os.Getenv(variable)
	if address == "" {
		t.Fatalf("%s says where no broker is: run these tests with `make test-brokers`", variable)
	}
	return address
}

// realKafka is Apache Kafka, with a topic of three partitions for this test.
func realKafka(t testing.TB, topic string) *kafkaBroker {
	t.Helper()
	k := dialKafka(t, at(t, "MILLRACE_TEST_KAFKA"), topic)
	if _, err := kadm.NewClient(k.client).CreateTopic(t.Context(), 3, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRealKafkasBacklogOfAHundredThousandIsReadOnceThoughTheAgentIsKilledThreeTimes(t *testing.T) {
	const messages = 100_000
	k := realKafka(t, "backlog")
	for _, some := range slicesOf(orders(messages), 5000) {
		k.send(some...)
	}
	gw := New(t, Apart(), quickTakeover())
	gw.readBacklog(gw.Source(Kafka(k.address, k.topic)), messages)
}

// readBacklog kills the agent at each quarter of a backlog.
func (g *Gateway) readBacklog(s *Source, messages int) {
	g.t.Helper()
	began := time.Now()
	for quarter := range 3 {
		s.reaches((quarter + 1) * messages / 4)
		g.Agent.Revive()
	}
	s.reaches(messages)
	took := time.Since(began)
	s.Stored(messages)
	s.eachOnce(messages)
	g.t.Logf("%d messages in %.1f s, three kills included: %.0f/s", messages, took.Seconds(), float64(messages)/took.Seconds())
}

// reaches waits until so many events are stored, for as long as some come.
func (s *Source) reaches(want int) {
	s.gateway.t.Helper()
	last, since := -1, time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := s.stored()
		if err != nil {
			s.gateway.t.Fatal(err)
		}
		switch {
		case n >= want:
			return
		case n > last:
			last, since = n, time.Now()
		case time.Since(since) > patience:
			s.gateway.t.Fatalf("it stays at %d events, want %d", n, want)
		}
		<-tick.C
	}
}

func slicesOf(all []string, n int) (parts [][]string) {
	for len(all) > n {
		parts, all = append(parts, all[:n]), all[n:]
	}
	return append(parts, all)
}

// realQueue is a queue of ElasticMQ for this test.
func realQueue(t testing.TB, name string) (client *sqs.Client, endpoint, url string) {
	t.Helper()
	endpoint = at(t, "MILLRACE_TEST_SQS")
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	client = sqs.New(sqs.Options{Region: "eu-west-1", BaseEndpoint: &endpoint, HTTPClient: &http.Client{Transport: transport}, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	made, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return client, endpoint, *made.QueueUrl
}

func TestRealQueuesBacklogOfTwentyThousandIsReadOnceThoughTheAgentIsKilledThreeTimes(t *testing.T) {
	const messages = 20_000
	client, endpoint, url := realQueue(t, "backlog")
	fill(t, client, url, orders(messages))
	gw := New(t, Apart(), quickTakeover())
	gw.readBacklog(gw.Source(SQS(endpoint, "backlog")), messages)
}

// fill sends messages in batches of ten, some at once.
func fill(t testing.TB, client *sqs.Client, url string, bodies []string) {
	t.Helper()
	batches := make(chan []string)
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for some := range batches {
				in := &sqs.SendMessageBatchInput{QueueUrl: &url}
				for i, body := range some {
					in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String(body)})
				}
				out, err := client.SendMessageBatch(context.Background(), in)
				if err != nil || len(out.Failed) > 0 {
					t.Errorf("send to SQS: %v", err)
				}
			}
		})
	}
	for _, some := range slicesOf(bodies, 10) {
		batches <- some
	}
	close(batches)
	senders.Wait()
}

func TestRealBrokersTakeWhatConvoysSDKWrites(t *testing.T) {
	k := realKafka(t, "convoy")
	client, endpoint, url := realQueue(t, "convoy")
	gw := New(t)
	r := gw.Receiver()
	gw.Source(Kafka(k.address, k.topic)).Becomes("healthy")
	gw.Source(SQS(endpoint, "convoy")).Becomes("healthy")
	sdk := convoy.New(gw.Access.URL+"/api/v1", gw.Access.APIKey, gw.Access.ProjectID,
		convoy.OptionKafkaOptions(&convoy.KafkaOptions{Client: &kafka.Client{Addr: kafka.TCP(k.address)}, Topic: k.topic}),
		convoy.OptionSQSOptions(&convoy.SQSOptions{Client: client, QueueUrl: url}))
	event := func(data string) *convoy.CreateEventRequest {
		return &convoy.CreateEventRequest{EndpointID: r.EndpointID, EventType: "order.paid", Data: []byte(data)}
	}
	if err := sdk.Kafka.WriteEvent(t.Context(), event(`{"by":"kafka"}`)); err != nil {
		t.Fatal(err)
	}
	if err := sdk.SQS.WriteEvent(t.Context(), event(`{"by":"sqs"}`)); err != nil {
		t.Fatal(err)
	}
	r.Want(Attempts(2), says("kafka"), says("sqs"))
}
