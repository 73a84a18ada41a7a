package brokertest

import (
	"container/list"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// everyAttribute asks for all attributes of a message.
var everyAttribute = []string{"All"}

// sqsQueue is a queue. SQS guards it.
type sqsQueue struct {
	name string
	// attributes are those that it was created with.
	attributes map[string]string
	fifo       bool
	// visibility is how long what is received stays in flight by default.
	visibility, delay, poll time.Duration
	// messages are *sqsMessage, in the order sent.
	messages *list.List
	byID     map[string]*list.Element
	// changed closes when a message may have become visible.
	changed chan struct{}
	// sent are the messages of the last five minutes by deduplication id.
	sent map[string]*sqsMessage
}

// sqsMessage is a message in a queue.
type sqsMessage struct {
	sqsSending
	id            string
	at            time.Time
	visibleAt     time.Time
	receives      int
	firstReceived time.Time
	handle        string // of the last receive
}

// sqsSending is what a message is sent with.
type sqsSending struct {
	body                 string
	attributes           map[string]types.MessageAttributeValue
	group, deduplication string
	delay                time.Duration
}

func newSQSQueue(name string, attributes map[string]string) (*sqsQueue, error) {
	q := &sqsQueue{
		name: name, attributes: attributes, fifo: attributes["FifoQueue"] == "true",
		messages: list.New(), byID: map[string]*list.Element{}, changed: make(chan struct{}), sent: map[string]*sqsMessage{},
	}
	if strings.HasSuffix(name, ".fifo") != q.fifo {
		return nil, invalidParameter("the name of a FIFO queue, and of no other, must end with .fifo")
	}
	seconds := func(attribute string, otherwise int) time.Duration {
		if n, err := strconv.Atoi(attributes[attribute]); err == nil {
			otherwise = n
		}
		return time.Duration(otherwise) * time.Second
	}
	q.visibility, q.delay, q.poll = seconds("VisibilityTimeout", 30), seconds("DelaySeconds", 0), seconds("ReceiveMessageWaitTimeSeconds", 0)
	return q, nil
}

// maxSQSMessage is the size of the largest message, its attributes included.
const maxSQSMessage = 1 << 20

func (q *sqsQueue) send(s sqsSending) (*sqsMessage, error) {
	size := len(s.body)
	for name, value := range s.attributes {
		size += len(name) + len(aws.ToString(value.DataType)) + len(aws.ToString(value.StringValue)) + len(value.BinaryValue)
	}
	switch {
	case s.body == "":
		return nil, &sqsFault{code: "MissingRequiredParameterException", message: "The request must contain the parameter MessageBody."}
	case size > maxSQSMessage:
		return nil, invalidParameter(fmt.Sprintf("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", maxSQSMessage))
	case q.fifo && s.group == "":
		return nil, &sqsFault{code: "MissingRequiredParameterException", message: "The request must contain the parameter MessageGroupId."}
	}
	if q.fifo && s.deduplication == "" {
		if q.attributes["ContentBasedDeduplication"] != "true" {
			return nil, invalidParameter("The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
		}
		sum := sha256.Sum256([]byte(s.body))
		s.deduplication = hex.EncodeToString(sum[:])
	}
	now := time.Now()
	maps.DeleteFunc(q.sent, func(_ string, m *sqsMessage) bool { return now.Sub(m.at) > 5*time.Minute })
	if same := q.sent[s.deduplication]; same != nil && q.fifo {
		return same, nil
	}
	m := &sqsMessage{sqsSending: s, id: newHandle(), at: now, visibleAt: now.Add(max(s.delay, q.delay))}
	if q.fifo {
		q.sent[s.deduplication] = m
	}
	q.byID[m.id] = q.messages.PushBack(m)
	q.change()
	return m, nil
}

// receive takes up to so many messages into flight. Of a FIFO group nothing
// is given while anything of it is in flight.
func (q *sqsQueue) receive(most int, visibility time.Duration) []*sqsMessage {
	var got []*sqsMessage
	held, now := map[string]bool{}, time.Now()
	for e := q.messages.Front(); e != nil && len(got) < most; e = e.Next() {
		m := e.Value.(*sqsMessage)
		switch {
		case q.fifo && held[m.group]:
		case m.visibleAt.After(now):
			held[m.group] = true
		default:
			if m.receives++; m.receives == 1 {
				m.firstReceived = now
			}
			m.visibleAt, m.handle = now.Add(visibility), m.id+"/"+strconv.Itoa(m.receives)
			got = append(got, m)
		}
	}
	return got
}

// nextVisible is when the next message in flight may be received again.
func (q *sqsQueue) nextVisible() time.Time {
	var next time.Time
	for e := q.messages.Front(); e != nil; e = e.Next() {
		if m := e.Value.(*sqsMessage); next.IsZero() || m.visibleAt.Before(next) {
			next = m.visibleAt
		}
	}
	return next
}

// delete removes the message of a receipt. One that was received again since
// stays, as in SQS; one that is gone is no fault.
func (q *sqsQueue) delete(receipt string) error {
	e, err := q.of(receipt)
	if err != nil || e == nil {
		return err
	}
	m := e.Value.(*sqsMessage)
	expired := !m.visibleAt.After(time.Now())
	if q.fifo && (m.handle != receipt || expired) {
		return invalidParameter("Value " + receipt + " for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.")
	}
	if m.handle == receipt {
		q.messages.Remove(e)
		delete(q.byID, m.id)
		q.change() // others of its group
	}
	return nil
}

// changeVisibility sets when the message of a receipt may be received again.
func (q *sqsQueue) changeVisibility(receipt string, in time.Duration) error {
	e, err := q.of(receipt)
	if err != nil {
		return err
	}
	now := time.Now()
	if e == nil || !e.Value.(*sqsMessage).visibleAt.After(now) {
		return &sqsFault{code: "MessageNotInflight", query: "AWS.SimpleQueueService.MessageNotInflight", message: "Value " + receipt + " for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change."}
	}
	if m := e.Value.(*sqsMessage); m.handle == receipt {
		m.visibleAt = now.Add(in)
		q.change()
	}
	return nil
}

// of finds the message that a receipt was given for; nil: it was deleted.
func (q *sqsQueue) of(receipt string) (*list.Element, error) {
	id, _, found := strings.Cut(receipt, "/")
	if !found {
		return nil, &sqsFault{code: "ReceiptHandleIsInvalid", message: "The input receipt handle \"" + receipt + "\" is not a valid receipt handle."}
	}
	return q.byID[id], nil
}

func (q *sqsQueue) change() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *sqsQueue) counts() (waiting, inFlight int) {
	now := time.Now()
	for e := q.messages.Front(); e != nil; e = e.Next() {
		if e.Value.(*sqsMessage).visibleAt.After(now) {
			inFlight++
		} else {
			waiting++
		}
	}
	return waiting, inFlight
}

// shown is a message as a receive shows it: with the attributes and system
// attributes asked for only.
func (m *sqsMessage) shown(attributes, system []string) types.Message {
	shown := types.Message{
		MessageId: &m.id, Body: &m.body, ReceiptHandle: aws.String(m.handle), MD5OfBody: aws.String(md5Of(m.body)),
		Attributes: map[string]string{}, MessageAttributes: map[string]types.MessageAttributeValue{},
	}
	for name, value := range m.attributes {
		if asksFor(attributes, name) {
			shown.MessageAttributes[name] = value
		}
	}
	for name, value := range map[string]string{
		"SentTimestamp": millis(m.at), "ApproximateFirstReceiveTimestamp": millis(m.firstReceived),
		"ApproximateReceiveCount": strconv.Itoa(m.receives), "SenderId": "127.0.0.1",
		"MessageGroupId": m.group, "MessageDeduplicationId": m.deduplication,
	} {
		if value != "" && asksFor(system, name) {
			shown.Attributes[name] = value
		}
	}
	return shown
}

func asksFor(asked []string, name string) bool {
	return slices.ContainsFunc(asked, func(a string) bool {
		prefix, wildcard := strings.CutSuffix(a, ".*")
		return a == "All" || a == name || (wildcard && strings.HasPrefix(name, prefix))
	})
}

func millis(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func newHandle() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
