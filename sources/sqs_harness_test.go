package sources

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/brokertest"
)

func TestSQS(t *testing.T) {
	testBroker(t, func(t *testing.T) brokerHarness {
		if os.Getenv(realSQS) != "" {
			return newSQSHarness(t, "", nil)
		}
		return newBreakableSQS(t)
	})
}

// realSQS names the endpoint of a real SQS, or of one that is not ours, to
// test with in the place of the one in process.
const realSQS = "MILLRACE_TEST_SQS"

// sqsHarness is a queue of an SQS in process, or of a real one.
type sqsHarness struct {
	source millrace.Source
	client *sqs.Client
	url    string
}

// newSQSHarness makes a queue whose name ends with a suffix.
func newSQSHarness(t testing.TB, suffix string, attributes map[string]string) *sqsHarness {
	t.Helper()
	endpoint := os.Getenv(realSQS)
	if endpoint == "" {
		endpoint = brokertest.NewSQS(t).URL()
	}
	return openSQSQueue(t, endpoint, "orders-"+millrace.NewID(time.Now()).String()+suffix, attributes)
}

func openSQSQueue(t testing.TB, endpoint, name string, attributes map[string]string) *sqsHarness {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 10}
	t.Cleanup(transport.CloseIdleConnections)
	c := sqs.New(sqs.Options{
		Region: "eu-west-1", BaseEndpoint: &endpoint, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("test", "secret", ""),
	})
	created, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		t.Fatalf("create queue: %v", err)
	}
	return &sqsHarness{sqsSourceOf(endpoint, name), c, *created.QueueUrl}
}

// sqsSourceOf is a source that reads a queue.
func sqsSourceOf(endpoint, queue string) millrace.Source {
	return millrace.Source{
		ID: millrace.NewID(time.Now()), ProjectID: millrace.NewID(time.Now()), Name: "orders", Type: millrace.SourcePubSub, Revision: 1,
		PubSub: &millrace.PubSub{Kind: millrace.BrokerSQS, SQS: &millrace.SQSSource{
			AccessKeyID: "test", SecretKey: "secret", Region: "eu-west-1", Queue: queue, Endpoint: endpoint,
		}},
	}
}

// Source reads the queue.
func (h *sqsHarness) Source() millrace.Source {
	s := h.source
	pubsub, queue := *s.PubSub, *s.PubSub.SQS
	pubsub.SQS, s.PubSub = &queue, &pubsub
	return s
}

// Produce sends messages in batches, with their headers as attributes.
func (h *sqsHarness) Produce(t testing.TB, messages ...produced) {
	t.Helper()
	for batch := range slices.Chunk(messages, sqsBatch) {
		in := &sqs.SendMessageBatchInput{QueueUrl: &h.url}
		for i, m := range batch {
			entry := types.SendMessageBatchRequestEntry{Id: aws.String(sqsEntryID(i)), MessageBody: aws.String(m.body), MessageAttributes: map[string]types.MessageAttributeValue{}}
			for name, value := range m.headers {
				entry.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
			}
			in.Entries = append(in.Entries, entry)
		}
		out, err := h.client.SendMessageBatch(context.Background(), in)
		if err != nil || len(out.Failed) > 0 {
			t.Fatalf("produce: %v, %+v", err, out)
		}
	}
}

// Left are the messages that wait, or are hidden.
func (h *sqsHarness) Left(t testing.TB) int {
	t.Helper()
	out, err := h.client.GetQueueAttributes(context.Background(), &sqs.GetQueueAttributesInput{QueueUrl: &h.url, AttributeNames: []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}})
	if err != nil {
		t.Fatalf("count what is left: %v", err)
	}
	left := 0
	for _, value := range out.Attributes {
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		left += n
	}
	return left
}

// breakableSQS is a queue of an SQS in process.
type breakableSQS struct {
	*sqsHarness
	server *brokertest.SQS
}

func newBreakableSQS(t testing.TB) breakableSQS {
	t.Helper()
	server := brokertest.NewSQS(t)
	return breakableSQS{openSQSQueue(t, server.URL(), "orders", nil), server}
}

// Break refuses all connections.
func (h breakableSQS) Break(testing.TB) { h.server.Stop() }

// Mend accepts connections again.
func (h breakableSQS) Mend(testing.TB) { h.server.Start() }

// sqsReading is a queue that is read with what the test does to its messages.
type sqsReading struct {
	broker *sqsSource
	// stop lets what is in flight finish, and ends.
	stop func()
}

func readSQS(t testing.TB, s *sqsSource, do func(*message.Message)) sqsReading {
	t.Helper()
	return sqsReading{broker: s, stop: readBroker(t, s, do)}
}

func sqsBroker(source millrace.Source) *sqsSource {
	return newSQS(BrokerConfig{Source: source, ShutdownTimeout: time.Minute, Dial: anywhere, Logger: slog.New(slog.DiscardHandler)})
}

func ack(m *message.Message) { m.Ack() }

// wantSQSState waits until the source is so, and says so.
func wantSQSState(t *testing.T, b Broker, want millrace.SourceHealth, words ...string) {
	t.Helper()
	var s millrace.SourceState
	eventually(t, func() bool {
		s = b.State()
		return s.Health == want && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(s.Error, w) })
	}, func() string {
		return fmt.Sprintf("the source is %s (%s), not %s (%q)", s.Health, s.Error, want, words)
	})
}

// BenchmarkSQS reads a queue with a handler that takes 3 ms, as a commit does.
func BenchmarkSQS(b *testing.B) {
	h := newSQSHarness(b, "", nil)
	const messages = 5000
	h.Produce(b, broadcasts(messages)...)
	left := make(chan struct{}, messages)
	b.ResetTimer()
	r := readSQS(b, sqsBroker(h.Source()), func(m *message.Message) {
		pause(m.Context(), 3*time.Millisecond)
		m.Ack()
		left <- struct{}{}
	})
	for range messages {
		<-left
	}
	r.stop()
	b.ReportMetric(messages/b.Elapsed().Seconds(), "messages/s")
}
