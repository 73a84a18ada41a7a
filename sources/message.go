package sources

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
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
}

// coordinates begin the id of each message of a source.
func coordinates(s millrace.Source, rest ...any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%s:%d", s.PubSub.Kind, s.ID, s.Revision)
	for _, part := range rest {
		fmt.Fprintf(&b, ":%v", part)
	}
	return b.String()
}

type brokerMessageKey struct{}

// message makes the pipeline's message of a broker's.
func (m *brokerMessage) message() *message.Message {
	msg := message.NewMessage(m.id, m.body)
	if trace := headerOf(m.headers, "traceparent"); trace != "" {
		msg.Metadata.Set("traceparent", trace) // W3C Trace Context
	}
	msg.SetContext(context.WithValue(context.Background(), brokerMessageKey{}, m))
	return msg
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
	if s.Source.PubSub.Raw {
		err = s.raw(m, &sub)
	} else {
		err = s.call(m, &sub)
	}
	return sub, err
}

// DeadLetter completes the dead letter of a message: it is the project's, it
// is one however often the broker delivers it, and it can be driven again.
func (s Messages) DeadLetter(msg *message.Message, d *millrace.DeadLetter) {
	d.ProjectID, d.EventID, d.DeliveryID = s.Source.ProjectID, millrace.ID{}, millrace.ID{}
	m, ok := msg.Context().Value(brokerMessageKey{}).(*brokerMessage)
	if !ok {
		return
	}
	d.Topic, d.Raw, d.Metadata = m.id, m.body, m.headers
	at := m.at
	if at.IsZero() {
		at = time.Now()
	}
	d.ID = millrace.DerivedID(at, uuid.NewSHA1(uuid.NameSpaceOID, []byte(m.id)))
}

// call is the JSON of a call of the API.
type call struct {
	EndpointID     string            `json:"endpoint_id"`
	OwnerID        string            `json:"owner_id"`
	EventType      string            `json:"event_type"`
	Data           json.RawMessage   `json:"data"`
	CustomHeaders  map[string]string `json:"custom_headers"`
	IdempotencyKey string            `json:"idempotency_key"`
}

// kindHeader says which call a message stands for: single, fanout or
// broadcast. Convoy's SDKs put it among the custom headers.
const kindHeader = "x-convoy-message-type"

func (s Messages) call(m *brokerMessage, sub *millrace.Submission) error {
	if !utf8.Valid(m.body) {
		return fmt.Errorf("the message is not valid UTF-8")
	}
	var c call
	if err := json.Unmarshal(m.body, &c); err != nil {
		return fmt.Errorf("the message is not the JSON of an event: %w", err)
	}
	kind := headerOf(m.headers, kindHeader)
	for name, value := range c.CustomHeaders {
		if strings.EqualFold(name, kindHeader) {
			delete(c.CustomHeaders, name)
			if kind == "" {
				kind = value
			}
		}
	}
	sub.Type, sub.Payload, sub.Headers, sub.IdempotencyKey = c.EventType, c.Data, c.CustomHeaders, c.IdempotencyKey
	if string(c.Data) == "null" || string(c.Data) == `""` {
		sub.Payload = nil
	}
	if err := c.audience(kind, &sub.Audience); err != nil {
		return err
	}
	return s.apply(m, sub)
}

// audience is whom the call sends to.
func (c call) audience(kind string, to *millrace.Audience) error {
	if kind == "" {
		kind = "single"
		if c.EndpointID == "" {
			kind = "broadcast"
		}
	}
	switch strings.ToLower(kind) {
	case "single":
		if c.EndpointID == "" {
			return millrace.Missing("endpoint_id")
		}
		id, err := millrace.ParseID(c.EndpointID)
		if err != nil {
			return millrace.NotFound("endpoint")
		}
		to.EndpointID = id
	case "fanout":
		if c.OwnerID == "" {
			return millrace.Missing("owner_id")
		}
		to.OwnerID = c.OwnerID
	case "broadcast":
	default:
		return millrace.Invalid(kindHeader, "must be single, fanout or broadcast, not %q", kind)
	}
	return nil
}

// raw takes the message itself as data.
func (s Messages) raw(m *brokerMessage, sub *millrace.Submission) error {
	sub.Payload = m.body
	return s.apply(m, sub)
}

// apply takes from the message what the source's mapping says.
func (s Messages) apply(m *brokerMessage, sub *millrace.Submission) error {
	return newMapping(s.Source, m.headers, m.body, nil).apply(sub)
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
