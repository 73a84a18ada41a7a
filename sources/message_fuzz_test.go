package sources

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/pubsub/v2"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	millrace "github.com/millrace-dev/millrace"
)

// given is what a producer decides of a message, whatever the broker.
type given struct {
	id, name, value string
	body            []byte
	at              int64 // milliseconds
}

// asBrokersBring makes the message that each kind of broker would bring.
func asBrokersBring(s millrace.Source, g given) map[millrace.BrokerKind]*message.Message {
	at, text := time.UnixMilli(g.at), string(g.body)
	of := func(kind millrace.BrokerKind) BrokerConfig {
		from := *s.PubSub
		from.Kind, from.AMQP = kind, &millrace.AMQPSource{}
		source := s
		source.PubSub = &from
		return BrokerConfig{Source: source, MaxBytes: 1 << 20}
	}
	kafka := newKafkaMember(newKafka(of(millrace.BrokerKafka)))
	record := &kgo.Record{Offset: g.at, Timestamp: at, Value: g.body, Headers: []kgo.RecordHeader{{Key: g.name, Value: []byte(g.value)}, {Key: g.name, Value: g.body}}}
	received := types.Message{
		MessageId: &g.id, ReceiptHandle: &g.id, Body: &text, Attributes: map[string]string{"SentTimestamp": strconv.FormatInt(g.at, 10)},
		MessageAttributes: map[string]types.MessageAttributeValue{g.name: {StringValue: &g.value}, g.name + ".bytes": {BinaryValue: g.body}},
	}
	google := &pubSubBroker{source: of(millrace.BrokerGoogle).Source}
	table := amqp.Table{g.name: g.value, g.name + ".bytes": g.body, g.name + ".number": g.at}
	return map[millrace.BrokerKind]*message.Message{
		millrace.BrokerKafka:  kafka.message(task{of: newPartition(0, g.id), record: record}),
		millrace.BrokerSQS:    newSQSMessage(coordinates(of(millrace.BrokerSQS).Source, g.id), received).message(),
		millrace.BrokerGoogle: google.message(&pubsub.Message{ID: g.id, Data: g.body, PublishTime: at, OrderingKey: g.value, Attributes: map[string]string{g.name: g.value}}).message(),
		millrace.BrokerAMQP:   newAMQP(of(millrace.BrokerAMQP)).message(amqp.Delivery{MessageId: "m" + g.id, AppId: g.value, Type: g.value, Timestamp: at, Headers: table, Body: g.body}).message(),
	}
}

// FuzzBrokerMessage holds, for each kind of broker, what a message of a
// producer that writes whatever it likes becomes: its bytes are kept; a topic
// of raw messages never makes an event without a type; the same message gives
// the same submission each time; what is dead keeps the message, and driven
// again submits the same; and all of it can be stored.
func FuzzBrokerMessage(f *testing.F) {
	f.Add("id", "X-Type", "order.paid", []byte(`{"id":"7","type":"a"}`), int64(1_700_000_000_000), true)
	f.Add("a:b\x00", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", []byte{0xff, 0}, int64(-5), true)
	f.Add("id", "X-Type", "order\npaid", []byte(`{"id":"a,\u0000"}`), int64(1), true)
	f.Add("", "x-convoy-message-type", "fanout", []byte(`{"event_type":"a","owner_id":"o","data": [1 , 2]}`), int64(0), false)
	f.Add("é", "X-Forwarded", "a\r\nHost: b", []byte(`{"data":"x","custom_headers":{"X-Convoy-Message-Type":"broadcast"}}`), int64(1)<<47, false)
	source := kafkaSource("orders", "a:1")
	source.EventTypeLocation = "request.header.X-Type"
	source.IdempotencyKeys = []millrace.Location{"request.body.id", "request.header.X-Type"}
	source.ForwardHeaders = []string{"X-Forwarded", "X-Type"}
	f.Fuzz(func(t *testing.T, id, name, value string, body []byte, at int64, raw bool) {
		from := *source.PubSub
		from.Raw = raw
		reads := Messages{Source: source}
		reads.Source.PubSub = &from
		original := bytes.Clone(body)
		for kind, msg := range asBrokersBring(reads.Source, given{id, name, value, body, at}) {
			from.Kind = kind
			sub, err := reads.Submission(msg)
			again, errAgain := reads.Submission(msg)
			if !reflect.DeepEqual(sub, again) || (err == nil) != (errAgain == nil) {
				t.Fatalf("%s: it is read as %+v, then as %+v", kind, sub, again)
			}
			if err == nil {
				wantKept(t, sub, original, raw)
			}
			if !strings.HasPrefix(msg.UUID, string(kind)+":"+source.ID.String()+":") || !storableText(msg.UUID) || len(msg.UUID) > longestID {
				t.Errorf("%s: its coordinates are %q", kind, msg.UUID)
			}
			wantDriven(t, reads, msg, original)
		}
		if !bytes.Equal(body, original) {
			t.Error("the body was changed")
		}
	})
}

// wantKept holds what was read of a message against what was in it.
func wantKept(t *testing.T, sub millrace.Submission, body []byte, raw bool) {
	t.Helper()
	if raw && !bytes.Equal(sub.Payload, body) || !bytes.Contains(body, sub.Payload) {
		t.Errorf("the payload of %q is %q", body, sub.Payload)
	}
	if !raw {
		return // it says its type and its headers itself, and ingest judges them
	}
	if !isLine(sub.Type) || sub.IdempotencyKey != "" && !isLine(sub.IdempotencyKey) {
		t.Errorf("the type is %q, the key %q", sub.Type, sub.IdempotencyKey)
	}
	if err := millrace.CheckHeaders(sub.Headers); err != nil {
		t.Errorf("it has headers %q: %v", sub.Headers, err)
	}
	for name, value := range sub.Headers {
		if !storableText(name) || !storableText(value) {
			t.Errorf("it has the header %q: %q, which the store cannot keep", name, value)
		}
	}
}

// wantDriven holds the dead letter of a message against the message.
func wantDriven(t *testing.T, reads Messages, msg *message.Message, body []byte) {
	t.Helper()
	var dead, second millrace.DeadLetter
	reads.DeadLetter(msg, &dead)
	reads.DeadLetter(msg, &second)
	if dead.ID != second.ID || dead.Topic != msg.UUID || !bytes.Equal(dead.Raw, body) {
		t.Errorf("its dead letter is %s with %q, then %s", dead.ID, dead.Raw, second.ID)
	}
	for name, value := range dead.Metadata {
		if !storableText(name) || !storableText(value) {
			t.Errorf("its dead letter has %q: %q, which the store cannot keep", name, value)
		}
	}
	if of, err := SourceOf(dead); err != nil || of != reads.Source.ID {
		t.Errorf("its dead letter is of source %s: %v", of, err)
	}
	sub, err := reads.Submission(msg)
	driven, errDriven := reads.Redriven(dead)
	if !reflect.DeepEqual(sub, driven) || (err == nil) != (errDriven == nil) {
		t.Errorf("it submits %+v (%v), and driven again %+v (%v)", sub, err, driven, errDriven)
	}
}

func storableText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
