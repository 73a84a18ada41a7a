package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// Topic names a stream of one type of value. A stage that reads what another
// does not write does not compile.
type Topic[T any] string

// The topics, in the order an event passes them.
const (
	Ingested  Topic[millrace.Event]       = "events.ingested"
	Persisted Topic[millrace.StoredEvent] = "events.persisted"
	Due       Topic[millrace.Delivery]    = "deliveries.due"
)

// traceKey is the one metadata key of our messages, W3C Trace Context's name.
const traceKey = "traceparent"

// parts are what travels outside the JSON head of a message: the payload as
// it is, the trace in the metadata, and whose it is and the lane in the
// context, which stays in the process.
type parts struct {
	id      millrace.ID
	turn    int // of a delivery
	project millrace.ID
	payload *[]byte
	trace   *string
	bulk    bool
}

// partsOf takes a value of a topic apart. Its list is the list of topic
// types; a type that is not on it cannot travel.
func partsOf(v any) parts {
	switch v := v.(type) {
	case *millrace.Event:
		return parts{v.ID, 0, v.ProjectID, &v.Payload, &v.TraceParent, false}
	case *millrace.StoredEvent:
		return parts{v.ID, 0, v.ProjectID, &v.Payload, &v.TraceParent, v.ReplayID != millrace.ID{}}
	case *millrace.Delivery:
		return parts{v.ID, v.Turn, v.ProjectID, &v.Payload, &v.TraceParent, v.Bulk}
	}
	panic(fmt.Sprintf("pipeline: %T travels on no topic", v))
}

// uuid names the message.
func (p parts) uuid() string {
	if p.turn == 0 {
		return p.id.String()
	}
	return turnUUID(p.id, p.turn)
}

// turnUUID names the message of one turn of a delivery.
func turnUUID(delivery millrace.ID, turn int) string {
	return delivery.String() + "-" + strconv.Itoa(turn)
}

// headRoom is as long as a head is as a rule, with some headers.
const headRoom = 512

// encode makes the message of a value, for its topic: a head of JSON, a line
// feed, and the payload's bytes.
func encode[T any](to Topic[T], v T) (*message.Message, error) {
	p := partsOf(&v)
	body, err := appendHead(make([]byte, 0, headRoom+len(*p.payload)), &v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	body = append(append(body, '\n'), *p.payload...)
	msg := message.NewMessage(p.uuid(), body)
	msg.SetContext(&address{Context: msg.Context(), topic: string(to), project: p.project})
	if *p.trace != "" {
		msg.Metadata.Set(traceKey, *p.trace)
	}
	if p.bulk {
		streams.SetLane(msg, streams.Bulk)
	}
	return msg, nil
}

// decode reads a message back into the value it was made of.
func decode[T any](msg *message.Message) (T, error) {
	var v T
	head, payload, found := bytes.Cut(msg.Payload, []byte{'\n'})
	if !found {
		return v, errors.New("the message has no line feed after its head")
	}
	if !readHead(head, &v) {
		v = *new(T)
		if err := json.Unmarshal(head, &v); err != nil {
			return v, fmt.Errorf("the message's head: %w", err)
		}
	}
	p := partsOf(&v)
	*p.payload = payload
	*p.trace = msg.Metadata.Get(traceKey)
	if d, ok := any(&v).(*millrace.Delivery); ok {
		d.Entry = streams.Entry(msg)
	}
	return v, nil
}

// address is the context of a message that was encoded: which topic it is for
// and whose it is are known without reading it.
type address struct {
	context.Context
	topic   string
	project millrace.ID
}

type addressKey struct{}

// Value answers with the address itself, or with what the parent has.
func (a *address) Value(key any) any {
	if key == (addressKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// addressOf is the address of a message that was encoded, and nil for others.
func addressOf(msg *message.Message) *address {
	a, _ := msg.Context().Value(addressKey{}).(*address)
	return a
}

// topicOf is the topic the message was encoded for.
func topicOf(msg *message.Message, otherwise string) string {
	if a := addressOf(msg); a != nil {
		return a.topic
	}
	return otherwise
}
