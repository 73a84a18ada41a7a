package brokertest

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receive takes up to so many messages, waiting a second for them.
func receive(t *testing.T, c *sqs.Client, url string, most int32) []types.Message {
	t.Helper()
	out, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: most, WaitTimeSeconds: 1, MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return out.Messages
}

func TestSQSCarriesWhatIsSent(t *testing.T) {
	s := NewSQS(t)
	url, c := s.CreateQueue("orders", nil), s.Client()
	sent, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(`{"a":1}`), MessageAttributes: map[string]types.MessageAttributeValue{
		"kind": {DataType: aws.String("String"), StringValue: aws.String("x")}, "raw": {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := receive(t, c, url, 10)
	if len(got) != 1 || *got[0].Body != `{"a":1}` || *got[0].MessageId != *sent.MessageId {
		t.Fatalf("received %+v, want what was sent", got)
	}
	if m := got[0]; *m.MessageAttributes["kind"].StringValue != "x" || string(m.MessageAttributes["raw"].BinaryValue) != "\x00\xff" || m.Attributes["SentTimestamp"] == "" {
		t.Errorf("attributes %+v and %v, want what was sent, and when", m.MessageAttributes, m.Attributes)
	}
}

func TestSQSHidesWhatIsInFlight(t *testing.T) {
	s := NewSQS(t)
	url, c := s.CreateQueue("orders", map[string]string{"VisibilityTimeout": "1"}), s.Client()
	s.Send("orders", "a", nil)
	first := receive(t, c, url, 1)[0]
	if waiting, inFlight := s.Counts("orders"); waiting != 0 || inFlight != 1 {
		t.Fatalf("%d wait and %d are in flight, want 0 and 1", waiting, inFlight)
	}
	var again []types.Message
	for range 30 {
		if again = receive(t, c, url, 1); len(again) > 0 {
			break
		}
	}
	if len(again) == 0 {
		t.Fatal("not received again")
	}
	if again[0].Attributes["ApproximateReceiveCount"] != "2" || *again[0].ReceiptHandle == *first.ReceiptHandle {
		t.Errorf("received again as %+v, want a second receipt", again[0])
	}
	for _, m := range []types.Message{first, again[0]} {
		if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
		if left := len(s.Messages("orders")); (left == 0) != (*m.ReceiptHandle == *again[0].ReceiptHandle) {
			t.Errorf("%d left, want it deleted by the newest receipt only", left)
		}
	}
}

func TestSQSGivesBackAtOnceWhatBecomesVisible(t *testing.T) {
	s := NewSQS(t)
	url, c := s.CreateQueue("orders", nil), s.Client()
	s.Send("orders", "a", nil)
	m := receive(t, c, url, 1)[0]
	got := make(chan int, 1)
	go func() {
		out, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
		if err != nil {
			t.Error(err)
			out = &sqs.ReceiveMessageOutput{}
		}
		got <- len(out.Messages)
	}()
	_, err := c.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
		{Id: aws.String("0"), ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0},
	}})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-got:
		if n != 1 {
			t.Errorf("received %d, want the message", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("a long poll did not see what became visible")
	}
}

func TestSQSHoldsAGroupBehindWhatIsInFlight(t *testing.T) {
	s := NewSQS(t)
	url, c := s.CreateQueue("orders.fifo", map[string]string{"FifoQueue": "true"}), s.Client()
	for i, group := range []string{"a", "a", "b"} {
		for range 2 { // the second is the same message
			if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{
				QueueUrl: &url, MessageBody: aws.String(strconv.Itoa(i)), MessageGroupId: &group, MessageDeduplicationId: aws.String(strconv.Itoa(i)),
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, second := receive(t, c, url, 1), receive(t, c, url, 10)
	if len(first) != 1 || *first[0].Body != "0" || len(second) != 1 || *second[0].Body != "2" {
		t.Fatalf("received %v then %v, want the first of group a, then that of b only", first, second)
	}
	if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: first[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	if third := receive(t, c, url, 10); len(third) != 1 || *third[0].Body != "1" {
		t.Errorf("received %v, want the second of group a", third)
	}
}

func TestSQSFaults(t *testing.T) {
	s := NewSQS(t)
	url, c := s.CreateQueue("orders", nil), s.Client()
	t.Run("a queue that is not there", func(t *testing.T) {
		_, err := c.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("invoices")})
		var gone *types.QueueDoesNotExist
		if !errors.As(err, &gone) {
			t.Errorf("error %v, want QueueDoesNotExist", err)
		}
	})
	t.Run("more than ten in a batch", func(t *testing.T) {
		var entries []types.DeleteMessageBatchRequestEntry
		for i := range 11 {
			entries = append(entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: aws.String("x/1")})
		}
		_, err := c.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: entries})
		var many *types.TooManyEntriesInBatchRequest
		if !errors.As(err, &many) {
			t.Errorf("error %v, want TooManyEntriesInBatchRequest", err)
		}
	})
	t.Run("an entry that fails, beside one that does not", func(t *testing.T) {
		s.FailEntries("SendMessageBatch", 1)
		out, err := c.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("0"), MessageBody: aws.String("a")}, {Id: aws.String("1"), MessageBody: aws.String("b")},
		}})
		if err != nil || len(out.Failed) != 1 || *out.Failed[0].Id != "0" || out.Failed[0].SenderFault || len(out.Successful) != 1 {
			t.Errorf("%+v, %v, want the first failed and the second sent", out, err)
		}
	})
	t.Run("an access key that is not accepted", func(t *testing.T) {
		s.Accept("another")
		defer s.Accept()
		if _, err := c.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("orders")}); err == nil {
			t.Error("answered, want it refused")
		}
	})
	t.Run("stopped and started, it has what it had", func(t *testing.T) {
		was := len(s.Messages("orders"))
		s.Stop()
		s.Start()
		if got := receive(t, c, url, 10); len(got) != was || was == 0 {
			t.Errorf("received %d, want the %d that were there", len(got), was)
		}
	})
}
