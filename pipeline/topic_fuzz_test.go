package pipeline

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

// FuzzTopic holds that what one stage hands on is what the next one gets, the
// payload to the byte, on each topic.
func FuzzTopic(f *testing.F) {
	f.Add("order.paid", "X-A", "b", "key", []byte("{}\n{}"), []byte("0123456789abcdef"), int64(1), true)
	f.Add("<\u2028\n\">", "", "\\u0000", "", []byte("\n\xff"), []byte{}, int64(1)<<40, false)
	f.Fuzz(func(t *testing.T, kind, name, value, key string, payload, id []byte, n int64, flag bool) {
		if !utf8.ValidString(strings.Join([]string{kind, name, value, key}, " ")) {
			return // nothing else is let in
		}
		var one millrace.ID
		copy(one[:], id)
		e := millrace.Event{
			ID: one, ProjectID: one, Type: kind, Audience: millrace.Audience{OwnerID: name}, Headers: map[string]string{name: value, "a": key},
			IdempotencyKey: key, BrokerMessageID: value, TraceParent: name, Payload: payload,
		}
		wantAcross(t, Ingested, e)
		wantAcross(t, Persisted, millrace.StoredEvent{Event: e, ConfigVersion: n, ReplayID: one, ByReference: flag})
		wantAcross(t, Due, millrace.Delivery{
			ID: one, ProjectID: one, EventID: one, EndpointID: one, ReplayID: one, Turn: int(n), Attempts: int(n), Released: flag, EventType: kind,
			Headers: map[string]string{value: name}, IdempotencyKey: key, Bulk: flag, TraceParent: name, Payload: payload,
		})
	})
}

func wantAcross[T any](t *testing.T, topic Topic[T], v T) {
	t.Helper()
	sent, err := encode(topic, v)
	if err != nil {
		t.Fatalf("%+v cannot be sent: %v", v, err)
	}
	came := message.NewMessage(sent.UUID, bytes.Clone(sent.Payload))
	came.Metadata = sent.Metadata
	got, err := decode[T](came)
	if p := partsOf(&got); len(*p.payload) == 0 {
		*p.payload = nil
	}
	if p := partsOf(&v); len(*p.payload) == 0 {
		*p.payload = nil
	}
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Fatalf("on %s, %+v came as %+v: %v", topic, v, got, err)
	}
}

// FuzzUndecodable holds of a message that anything may have written: what is
// read of it is its payload to the byte, and what was read goes on to the next
// stage as it was; all else is an error.
func FuzzUndecodable(f *testing.F) {
	for _, seed := range []string{
		"", "\n", "{}", "{}\n", "{\"id\":\"019e0b3c-7e80-7000-8000-0000000000ff\",\"type\":\"a\"}\npayload\n", "null\n", "{\"turn\":-1}\n", "{\"TYPE\":\"a\"}\nx", "{\"due\":\"0000-01-01T00:00:00Z\"}\n",
		"{\"type\":\"\xff\"}\n", "{\"headers\":null}\n", "{\"headers\":{}}\n",
	} {
		f.Add([]byte(seed), "00-trace")
	}
	f.Fuzz(func(t *testing.T, raw []byte, trace string) {
		wantReadOnce(t, Ingested, raw, trace)
		wantReadOnce(t, Persisted, raw, trace)
		wantReadOnce(t, Due, raw, trace)
	})
}

func wantReadOnce[T any](t *testing.T, topic Topic[T], raw []byte, trace string) {
	t.Helper()
	msg := message.NewMessage("id", bytes.Clone(raw))
	msg.Metadata.Set(traceKey, trace)
	v, err := decode[T](msg)
	if err != nil {
		return
	}
	_, payload, _ := bytes.Cut(raw, []byte("\n"))
	if p := partsOf(&v); !bytes.Equal(*p.payload, payload) || *p.trace != trace {
		t.Errorf("the payload of %q is read as %q", raw, *p.payload)
	}
	sent, err := encode(topic, v)
	if err != nil {
		if !strings.Contains(err.Error(), "year") { // JSON has none beyond 9999
			t.Errorf("%+v was read and cannot be sent: %v", v, err)
		}
		return
	}
	again, err := decode[T](sent)
	if err != nil {
		t.Fatalf("%+v was read, and not once more: %v", v, err)
	}
	once, _ := encode(topic, v)
	twice, _ := encode(topic, again)
	if !bytes.Equal(once.Payload, twice.Payload) {
		t.Errorf("%q, then %q", once.Payload, twice.Payload)
	}
}
