package sources

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	millrace "github.com/millrace-dev/millrace"
)

// brokerMessage is a message as a broker gave it.
type brokerMessage struct {
	// id is the broker's coordinates of the message, the same at each
	// delivery of it:
	//
	//	kafka:<source>:<revision>:<topic id>:<partition>:<offset>
	//	sqs:<source>:<revision>:<message id>   google: and amqp: likewise
	id string
	// at is the broker's time of the message; zero: it tells none.
	at time.Time
	// headers are the message's headers or attributes.
	headers map[string]string
	body    []byte
	// cut: the body is the beginning of one that is too large.
	cut bool
}

// cutHeader is what the dead letter of a message has, beside its headers, whose
// body was cut.
const cutHeader = "x-millrace-cut"

// longestID bounds the coordinates of a message, which are a key in the store.
const longestID = 512

// coordinates begin the id of each message of a source. What a broker says
// that cannot be kept as a key is kept as its digest.
func coordinates(s millrace.Source, rest ...any) string {
	var from, of strings.Builder
	fmt.Fprintf(&from, "%s:%s:%d", s.PubSub.Kind, s.ID, s.Revision)
	for _, part := range rest {
		fmt.Fprintf(&of, ":%v", part)
	}
	id := of.String()
	if from.Len()+len(id) > longestID || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		sum := sha256.Sum256([]byte(id))
		id = ":sha256:" + hex.EncodeToString(sum[:])
	}
	return from.String() + id
}

type brokerMessageKey struct{}

// message makes the pipeline's message of a broker's.
func (m *brokerMessage) message() *message.Message {
	return m.messageIn(context.Background())
}

// messageIn makes the pipeline's message of one that its source lets go when
// the context ends.
func (m *brokerMessage) messageIn(ctx context.Context) *message.Message {
	m.headers = storable(m.headers)
	msg := message.NewMessage(m.id, m.body)
	if trace := headerOf(m.headers, "traceparent"); trace != "" {
		msg.Metadata.Set("traceparent", trace) // W3C Trace Context
	}
	msg.SetContext(context.WithValue(ctx, brokerMessageKey{}, m))
	return msg
}

// storable makes headers such that the store can keep them, whatever a
// producer wrote: it takes text without NUL.
func storable(headers map[string]string) map[string]string {
	clean := make(map[string]string, len(headers))
	for name, value := range headers {
		name = strings.ReplaceAll(strings.ToValidUTF8(name, "\uFFFD"), "\x00", "\uFFFD")
		clean[name] = headerText(value)
	}
	return clean
}

// headerText is the value of a header as text: as it is, or in base64 where
// it is none.
func headerText[T []byte | string](value T) string {
	if text := string(value); utf8.ValidString(text) && !strings.Contains(text, "\x00") {
		return text
	}
	return base64.StdEncoding.EncodeToString([]byte(value))
}

// Messages reads the messages of one source that reads a broker.
type Messages struct {
	Source millrace.Source
}

// Submission reads a message as what the call of the API that it stands for
// would submit, or as the source's mapping says. What cannot be understood is
// an error, and never will be.
func (s Messages) Submission(msg *message.Message) (millrace.Submission, error) {
	m, ok := msg.Context().Value(brokerMessageKey{}).(*brokerMessage)
	if !ok {
		return millrace.Submission{}, fmt.Errorf("the message came from no broker")
	}
	sub := millrace.Submission{
		ProjectID: s.Source.ProjectID, SourceID: s.Source.ID, BrokerMessageID: m.id,
		TraceParent: msg.Metadata.Get("traceparent"), Ack: s.Source.AckLevel(),
	}
	var err error
	switch {
	case m.cut:
		err = millrace.Errorf(millrace.CodeTooLarge, "the message has more than %d bytes (ingest.max_bytes); what is kept is its beginning", len(m.body))
	case len(m.body) == 0:
		err = fmt.Errorf("the message is empty")
	case s.Source.PubSub.Raw:
		sub.Payload = m.body
		keepContentType(&sub, cmp.Or(headerOf(m.headers, "content-type"), headerOf(m.headers, "amqp-content-type")))
	default:
		err = s.call(m, &sub)
	}
	if err != nil {
		return sub, err
	}
	return sub, newMapping(s.Source, m.headers, m.body, nil).apply(&sub)
}

// DeadLetter completes the dead letter of a message: it is the project's, it
// is one however often the broker delivers it, and it can be driven again.
func (s Messages) DeadLetter(msg *message.Message, d *millrace.DeadLetter) {
	d.ProjectID, d.EventID, d.DeliveryID = s.Source.ProjectID, millrace.ID{}, millrace.ID{}
	m, ok := msg.Context().Value(brokerMessageKey{}).(*brokerMessage)
	if !ok {
		return
	}
	d.Topic, d.Raw, d.Metadata = m.id, m.body, maps.Clone(m.headers)
	if m.cut {
		d.Metadata[cutHeader] = "true"
	}
	at := m.at
	if at.IsZero() {
		at = time.Now()
	}
	if at.UnixMilli() < 0 {
		at = time.UnixMilli(0) // no id bears an earlier time
	}
	d.ID = millrace.DerivedID(at, uuid.NewSHA1(uuid.NameSpaceOID, []byte(m.id)))
}

// kindHeader says which call a message stands for: single, fanout or
// broadcast. Convoy's SDKs put it among the custom headers.
const kindHeader = "x-convoy-message-type"

func (s Messages) call(m *brokerMessage, sub *millrace.Submission) error {
	c, err := readCall(m.body)
	if err != nil {
		return err
	}
	kind := headerOf(m.headers, kindHeader)
	for name, value := range c.customHeaders {
		if strings.EqualFold(name, kindHeader) {
			delete(c.customHeaders, name)
			if kind == "" {
				kind = value
			}
		}
	}
	sub.Type, sub.Payload, sub.Headers, sub.IdempotencyKey = c.eventType, c.data, c.customHeaders, c.idempotencyKey
	sub.Audience, err = c.audience(kind)
	return err
}

// headerOf finds a header whatever its case.
func headerOf(headers map[string]string, name string) string {
	if v, ok := headers[name]; ok {
		return v
	}
	for n, v := range headers {
		if strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}
