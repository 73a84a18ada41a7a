package sources

import (
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	convoy "github.com/frain-dev/convoy-go/v2"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/brokertest"
)

func TestSQSTakesWhatConvoysSDKWrites(t *testing.T) {
	h := newSQSHarness(t, "", nil)
	a := startAgent(t, agentConfig{source: h.Source()})
	writer := convoy.New("", "", "", convoy.OptionSQSOptions(&convoy.SQSOptions{Client: h.client, QueueUrl: h.url})).SQS
	endpoint := millrace.NewID(time.Now())
	data, headers := []byte(`{"n":9007199254740993}`), map[string]string{"x-request": "7"}
	for _, err := range []error{
		writer.WriteEvent(t.Context(), &convoy.CreateEventRequest{EventType: "order.paid", EndpointID: endpoint.String(), IdempotencyKey: "k", Data: data, CustomHeaders: maps.Clone(headers)}),
		writer.WriteFanoutEvent(t.Context(), &convoy.CreateFanoutEventRequest{EventType: "order.paid", OwnerID: "o-1", IdempotencyKey: "k", Data: data, CustomHeaders: maps.Clone(headers)}),
		writer.WriteBroadcastEvent(t.Context(), &convoy.CreateBroadcastEventRequest{EventType: "order.paid", IdempotencyKey: "k", Data: data, CustomHeaders: maps.Clone(headers)}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := map[millrace.Audience]bool{}
	for range 3 {
		s := a.next()
		got[s.Audience] = true
		if s.Type != "order.paid" || string(s.Payload) != string(data) || s.IdempotencyKey != "k" || !maps.Equal(s.Headers, headers) {
			t.Errorf("submitted %+v, want what was written", s)
		}
	}
	if want := map[millrace.Audience]bool{{EndpointID: endpoint}: true, {OwnerID: "o-1"}: true, {}: true}; !maps.Equal(got, want) {
		t.Errorf("sent to %v, want %v", got, want)
	}
}

func TestSQSMessageHasItsAttributesAndItsTime(t *testing.T) {
	h := newSQSHarness(t, "", nil)
	before := time.Now().Truncate(time.Millisecond)
	sent, err := h.client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &h.url, MessageBody: aws.String("{}"), MessageAttributes: map[string]types.MessageAttributeValue{
		"text":   {DataType: aws.String("String.kind"), StringValue: aws.String("x")},
		"number": {DataType: aws.String("Number"), StringValue: aws.String("1.50")},
		"bytes":  {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *brokerMessage, 1)
	readSQS(t, sqsBroker(h.Source()), func(m *message.Message) {
		got <- m.Context().Value(brokerMessageKey{}).(*brokerMessage)
		m.Ack()
	})
	m := receive(t, got, "the message is read")
	if want := map[string]string{"text": "x", "number": "1.50", "bytes": "AP8="}; !maps.Equal(m.headers, want) {
		t.Errorf("headers %v, want %v", m.headers, want)
	}
	if m.at.Before(before) || m.at.After(time.Now()) {
		t.Errorf("sent at %s, want after %s", m.at, before)
	}
	if want := fmt.Sprintf("sqs:%s:1:%s", h.source.ID, *sent.MessageId); m.id != want {
		t.Errorf("id %s, want %s", m.id, want)
	}
}

func TestSQSSaysWhatIsWrong(t *testing.T) {
	t.Run("a queue that does not exist, until it does", func(t *testing.T) {
		server := brokertest.NewSQS(t)
		r := readSQS(t, sqsBroker(sqsSourceOf(server.URL(), "orders")), ack)
		wantSQSState(t, r.broker, millrace.SourceUnhealthy, "queue orders does not exist in eu-west-1")
		server.CreateQueue("orders", nil)
		wantSQSState(t, r.broker, millrace.SourceHealthy)
	})
	t.Run("a key that is refused, until it is not", func(t *testing.T) {
		h := newBreakableSQS(t)
		h.server.Accept("another")
		r := readSQS(t, sqsBroker(h.Source()), ack)
		wantSQSState(t, r.broker, millrace.SourceUnhealthy, "SQS does not accept the access key", "InvalidClientTokenId")
		h.server.Accept()
		wantSQSState(t, r.broker, millrace.SourceHealthy)
	})
	t.Run("an address where nobody answers, until somebody does", func(t *testing.T) {
		h := newBreakableSQS(t)
		h.Break(t)
		r := readSQS(t, sqsBroker(h.Source()), ack)
		wantSQSState(t, r.broker, millrace.SourceUnhealthy, "SQS cannot be reached: dial tcp", "connection refused")
		h.Mend(t)
		wantSQSState(t, r.broker, millrace.SourceHealthy)
	})
	t.Run("a key that may read but not delete, until it may", func(t *testing.T) {
		h := newBreakableSQS(t)
		h.server.Fail("DeleteMessageBatch", 1<<30)
		h.Produce(t, broadcast(1))
		r := readSQS(t, sqsBroker(h.Source()), ack)
		wantSQSState(t, r.broker, millrace.SourceUnhealthy, "messages cannot be deleted: SQS refuses")
		h.Produce(t, broadcast(2)) // which is read: no reason to call it healthy
		eventually(t, func() bool { waiting, _ := h.server.Counts("orders"); return waiting == 0 }, func() string { return "a message is not read" })
		wantSQSState(t, r.broker, millrace.SourceUnhealthy, "messages cannot be deleted: SQS refuses")
		h.server.Fail("DeleteMessageBatch", 0)
		wantSQSState(t, r.broker, millrace.SourceHealthy)
		wantLeft(t, h, 0)
	})
}

func TestSQSWithoutAKeyTakesTheSDKsDefaultChain(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	h := newBreakableSQS(t)
	h.server.Accept("from-the-environment")
	source := h.Source()
	source.PubSub.SQS.AccessKeyID, source.PubSub.SQS.SecretKey = "", ""
	t.Run("which may have none", func(t *testing.T) {
		r := readSQS(t, sqsBroker(source), ack)
		wantSQSState(t, r.broker, millrace.SourceUnhealthy, "the source has no access key, and this machine no AWS role")
	})
	t.Run("which may have one", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
		r := readSQS(t, sqsBroker(source), ack)
		wantSQSState(t, r.broker, millrace.SourceHealthy)
	})
}
