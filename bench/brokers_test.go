//go:build brokers

// `make bench-brokers` starts the brokers that this measures against.

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// intake is what the brokers' benchmark prints last, as one line of JSON.
type intake struct {
	HTTP  float64 `json:"http_events_per_s"`
	Kafka float64 `json:"kafka_events_per_s"`
	SQS   float64 `json:"sqs_events_per_s"`
}

// BenchmarkBrokers measures how fast events are taken in at ack: persisted, the
// same ones by HTTP, from one topic of Kafka with three partitions and from one
// queue of SQS, brokers included.
func BenchmarkBrokers(b *testing.B) {
	ctx := b.Context()
	g, err := startGateway(ctx, filepath.Join(b.TempDir(), "data"), io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := g.close(); err != nil {
			b.Error(err)
		}
	}()
	m := intakes{b: b, gateway: g, sender: newSender(g.access, 1024, "persisted")}
	defer m.sender.api.client.CloseIdleConnections()
	var rates intake
	m.http(5000) // warm up
	rates.HTTP = m.http(30_000)
	rates.Kafka = m.kafka(60_000)
	rates.SQS = m.sqs(20_000)
	fmt.Printf("%-28s %10s\n%-28s %10.0f\n%-28s %10.0f\n%-28s %10.0f\n", "intake, persisted, 1 KiB", "events/s",
		"HTTP, 128 clients", rates.HTTP, "Kafka, 3 partitions", rates.Kafka, "SQS (ElasticMQ)", rates.SQS)
	line, _ := json.Marshal(rates) // three numbers
	fmt.Println(string(line))
}

type intakes struct {
	b       *testing.B
	gateway *gateway
	sender  *sender
}

func (m intakes) http(n int) float64 {
	start := time.Now()
	if err := m.sender.closedLoop(m.b.Context(), n, 128); err != nil {
		m.b.Fatal(err)
	}
	return float64(n) / time.Since(start).Seconds()
}

// kafka fills a topic and measures from the first event of it that is stored.
func (m intakes) kafka(n int) float64 {
	address := os.Getenv("MILLRACE_TEST_KAFKA")
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic("bench"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		m.b.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(m.b.Context(), 3, 1, nil, "bench"); err != nil {
		m.b.Fatal(err)
	}
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = kgo.SliceRecord(m.sender.body)
	}
	if err := client.ProduceSync(m.b.Context(), records...).FirstErr(); err != nil {
		m.b.Fatal(err)
	}
	return m.drained(n, fmt.Sprintf(`{"type":"kafka","kafka":{"brokers":[%q],"topic_name":"bench","consumer_group_id":"bench"}}`, address))
}

func (m intakes) sqs(n int) float64 {
	endpoint := os.Getenv("MILLRACE_TEST_SQS")
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := sqs.New(sqs.Options{Region: "eu-west-1", BaseEndpoint: &endpoint, HTTPClient: &http.Client{Transport: transport}, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	queue, err := client.CreateQueue(m.b.Context(), &sqs.CreateQueueInput{QueueName: aws.String("bench")})
	if err != nil {
		m.b.Fatal(err)
	}
	var all sync.WaitGroup
	batches := make(chan struct{}, n/10)
	for range n / 10 {
		batches <- struct{}{}
	}
	close(batches)
	for range 8 {
		all.Go(func() {
			for range batches {
				if err := tenTo(m.b.Context(), client, queue.QueueUrl, string(m.sender.body)); err != nil {
					m.b.Error(err)
				}
			}
		})
	}
	all.Wait()
	return m.drained(n, fmt.Sprintf(`{"type":"sqs","sqs":{"endpoint":%q,"queue_name":"bench","default_region":"eu-west-1","access_key_id":"key","secret_key":"secret"}}`, endpoint))
}

func tenTo(ctx context.Context, client *sqs.Client, url *string, body string) error {
	in := &sqs.SendMessageBatchInput{QueueUrl: url}
	for i := range 10 {
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: &body})
	}
	_, err := client.SendMessageBatch(ctx, in)
	return err
}

// drained makes a source and measures how fast its backlog is stored: from the
// first tenth of it to the last event.
func (m intakes) drained(n int, pubSub string) float64 {
	var source struct{ UID string }
	if err := m.sender.call(m.b.Context(), "/sources", fmt.Appendf(nil, `{"name":"bench","type":"pub_sub","pub_sub":%s}`, pubSub), &source); err != nil {
		m.b.Fatal(err)
	}
	first := m.stored(source.UID, n/10)
	start := time.Now()
	last := m.stored(source.UID, n)
	if last != n {
		m.b.Fatalf("%d events were stored of %d messages", last, n)
	}
	return float64(last-first) / time.Since(start).Seconds()
}

// stored waits until so many events of a source are stored and answers how
// many are.
func (m intakes) stored(source string, want int) (n int) {
	tick := time.NewTicker(250 * time.Millisecond) // counting costs as well
	defer tick.Stop()
	timeout := time.After(3 * time.Minute)
	for {
		if err := m.gateway.postgres.QueryRowContext(m.b.Context(), `SELECT count(*) FROM events WHERE source_id = $1`, source).Scan(&n); err != nil {
			m.b.Fatal(err)
		}
		if n >= want {
			return n
		}
		select {
		case <-tick.C:
		case <-timeout:
			m.b.Fatalf("only %d of %d events were stored in time", n, want)
		}
	}
}
