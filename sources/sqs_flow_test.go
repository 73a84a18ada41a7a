package sources

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/brokertest"
)

func TestSQSHidesWhatIsWorkedOn(t *testing.T) {
	h := newBreakableSQS(t)
	h.Produce(t, broadcasts(25)...)
	broker := sqsBroker(h.Source())
	broker.tuning.visibility = 3 * time.Second
	goOn := make(chan struct{})
	readSQS(t, broker, func(m *message.Message) {
		<-goOn
		m.Ack()
	})
	rounds := func() bool { return h.server.Calls("ChangeMessageVisibilityBatch") >= 3*8 } // longer than the visibility
	eventually(t, rounds, func() string { return "messages are not hidden for longer" })
	for _, m := range h.server.Messages("orders") {
		if n := m.Attributes["ApproximateReceiveCount"]; n != "1" {
			t.Errorf("received %s times while it was worked on, want once", n)
		}
	}
	close(goOn)
	wantLeft(t, h, 0)
}

func TestSQSLetsGoAtOnceWhatIsOutOfTime(t *testing.T) {
	h := newBreakableSQS(t)
	h.Produce(t, broadcasts(25)...)
	broker := sqsBroker(h.Source())
	broker.config.ShutdownTimeout = 10 * time.Millisecond
	taken := make(chan struct{}, 25)
	r := readSQS(t, broker, func(*message.Message) { taken <- struct{}{} })
	for range 25 {
		receive(t, taken, "a message is taken")
	}
	r.stop()
	if waiting, inFlight := h.server.Counts("orders"); waiting != 25 || inFlight != 0 {
		t.Errorf("%d wait for others and %d are still hidden, want 25 and 0", waiting, inFlight)
	}
}

func TestSQSEndsSoonWhateverIsAway(t *testing.T) {
	h := newBreakableSQS(t)
	h.Produce(t, broadcasts(25)...)
	goOn, taken := make(chan struct{}), make(chan struct{}, 25)
	r := readSQS(t, sqsBroker(h.Source()), func(m *message.Message) {
		taken <- struct{}{}
		<-goOn
		m.Ack()
	})
	for range 25 {
		receive(t, taken, "a message is taken")
	}
	h.Break(t)
	close(goOn)
	wantSQSState(t, r.broker, millrace.SourceUnhealthy, "SQS cannot be reached")
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 20*time.Second { // of a minute's ShutdownTimeout
		t.Errorf("ended after %s, though nothing was worked on", took)
	}
	h.Mend(t)
	if left := h.Left(t); left != 25 {
		t.Errorf("%d left, want all 25, which could not be deleted", left)
	}
}

func TestSQSDeletesAgainWhatFailed(t *testing.T) {
	h := newBreakableSQS(t)
	h.server.Fail("DeleteMessageBatch", 2)
	h.server.FailEntries("DeleteMessageBatch", 7)
	h.Produce(t, broadcasts(30)...)
	taken := make(chan string, 100)
	r := readSQS(t, sqsBroker(h.Source()), func(m *message.Message) {
		taken <- m.UUID
		m.Ack()
	})
	wantLeft(t, h, 0)
	r.stop()
	if len(taken) != 30 {
		t.Errorf("%d messages were taken, want 30 once each", len(taken))
	}
}

func TestSQSGroupsItsCalls(t *testing.T) {
	h := newBreakableSQS(t)
	h.Produce(t, broadcasts(1000)...)
	readSQS(t, sqsBroker(h.Source()), ack)
	wantLeft(t, h, 0)
	for _, operation := range []string{"ReceiveMessage", "DeleteMessageBatch"} {
		if n := h.server.Calls(operation); n > 300 {
			t.Errorf("%d calls of %s for 1000 messages, want about a tenth", n, operation)
		}
	}
}

func TestSQSCostsOneLongPollWhenIdle(t *testing.T) {
	h := newBreakableSQS(t)
	broker := sqsBroker(h.Source())
	broker.tuning.poll, broker.tuning.lag = time.Second, 10*time.Millisecond
	r := readSQS(t, broker, ack)
	polls := func(n int) func() bool { return func() bool { return h.server.Calls("ReceiveMessage") >= n } }
	eventually(t, polls(2), func() string { return "no second poll" })
	began, asked := time.Now(), h.server.Calls("GetQueueAttributes")
	eventually(t, polls(5), func() string { return "no fifth poll" })
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("three polls of a second took %s", took)
	}
	if n := h.server.Calls("GetQueueAttributes") - asked; n > 1 {
		t.Errorf("asked %d times how long an empty queue is", n)
	}
	if lag := r.broker.State().Lag; lag != 0 {
		t.Errorf("lag %d, want 0", lag)
	}
}

func TestSQSTellsHowManyMessagesWait(t *testing.T) {
	h := newBreakableSQS(t)
	h.Produce(t, broadcasts(30)...)
	source := h.Source()
	source.PubSub.Workers = 5
	broker := sqsBroker(source)
	broker.tuning.lag = 10 * time.Millisecond
	goOn := make(chan struct{})
	r := readSQS(t, broker, func(m *message.Message) {
		<-goOn
		m.Ack()
	})
	lag := func(want int64) {
		t.Helper()
		eventually(t, func() bool { return r.broker.State().Lag == want }, func() string { return fmt.Sprintf("the lag is %d, not %d", r.broker.State().Lag, want) })
	}
	lag(25)
	close(goOn)
	lag(0)
}

func TestSQSKeepsTheOrderOfAGroup(t *testing.T) {
	h := newSQSHarness(t, ".fifo", map[string]string{"FifoQueue": "true"})
	const groups, each = 4, 25
	for i := range groups * each {
		_, err := h.client.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: &h.url, MessageBody: aws.String(strconv.Itoa(i)),
			MessageGroupId: aws.String(strconv.Itoa(i % groups)), MessageDeduplicationId: aws.String(strconv.Itoa(i)),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	type taken struct{ n, times int }
	seen := make(chan taken, 2*groups*each)
	failed := map[int]int{}
	work := make(chan *message.Message)
	go func() {
		for m := range work {
			n, _ := strconv.Atoi(string(m.Payload))
			if failed[n]++; n%5 == 0 && failed[n] == 1 {
				m.Nack() // comes again, before what is behind it
				continue
			}
			seen <- taken{n, failed[n]}
			m.Ack()
		}
	}()
	r := readSQS(t, sqsBroker(h.Source()), func(m *message.Message) { work <- m })
	last := map[int]int{}
	for range groups * each {
		m := receive(t, seen, "a message is taken")
		group := m.n % groups
		if before, began := last[group]; began && m.n != before+groups {
			t.Errorf("of group %d, %d came after %d", group, m.n, before)
		}
		last[group] = m.n
	}
	wantLeft(t, h, 0)
	r.stop()
	close(work)
}

func TestSQSGivesBackTheRestOfAGroup(t *testing.T) {
	server := brokertest.NewSQS(t)
	h := openSQSQueue(t, server.URL(), "orders.fifo", map[string]string{"FifoQueue": "true"})
	for i := range 5 {
		server.Send("orders.fifo", strconv.Itoa(i), nil)
	}
	broker := sqsBroker(h.Source())
	broker.config.ShutdownTimeout = 10 * time.Millisecond
	taken := make(chan string, 5)
	r := readSQS(t, broker, func(m *message.Message) { taken <- string(m.Payload) })
	if first := receive(t, taken, "a message is taken"); first != "0" {
		t.Errorf("took %s, want the first", first)
	}
	r.stop()
	if waiting, _ := server.Counts("orders.fifo"); waiting != 5 || len(taken) != 0 {
		t.Errorf("%d wait for others and %d more were taken, want 5 and 0", waiting, len(taken))
	}
}
