package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

const someEndpoint = "01890a5d-ac96-774b-bcce-b302099a8057"

// read reads a message with this body and no headers.
func read(t testing.TB, body string) (millrace.Submission, error) {
	t.Helper()
	m := &brokerMessage{id: "kafka:m", body: []byte(body)}
	return Messages{Source: kafkaSource("orders", "a:1")}.Submission(m.message())
}

func TestWhatAMessageSays(t *testing.T) {
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	for _, c := range []struct{ rule, body, data, fault string }{
		{"the data is what stands between its delimiters", `{"data" :	{"a" : 1.0 } ,"event_type":"a"}`, `{"a" : 1.0 }`, ""},
		{"white space around the object", "\n {\"event_type\":\"a\",\"data\":1}\r\n", `1`, ""},
		{"members that are not known", `{"event_type":"a","data":1,"x":{"data":2},"endpoint":3}`, `1`, ""},
		{"names in another case are other members", `{"event_type":"a","data":1,"Data":2,"EVENT_TYPE":"b","ENDPOINT_ID":"e"}`, `1`, ""},
		{"a name with escapes is that name", `{"event_type":"a","d\u0061ta":1}`, `1`, ""},
		{"null is no data", `{"event_type":"a","data":null}`, "", ""},
		{"an empty text is no data", `{"event_type":"a","data":""}`, "", ""},
		{"no data at all", `{"event_type":"a"}`, "", ""},
		{"null is no text", `{"event_type":"a","data":1,"owner_id":null,"idempotency_key":null,"endpoint_id":null,"custom_headers":null}`, `1`, ""},
		{"deep data", `{"event_type":"a","data":` + deep + `}`, deep, ""},
		{"data a thousand times too deep", `{"event_type":"a","data":` + strings.Repeat("[", 1e7) + `}`, "", "exceeded max depth"},
		{"a member twice", `{"event_type":"a","data":1,"data":2}`, "", `the member "data" twice`},
		{"a member twice, once with escapes", `{"event_type":"a","data":1,"event_\u0074ype":"b"}`, "", `the member "event_type" twice`},
		{"a type that is no text", `{"event_type":1,"data":1}`, "", "event_type must be a string"},
		{"an endpoint that is no text", `{"event_type":"a","data":1,"endpoint_id":{}}`, "", "endpoint_id must be a string"},
		{"an endpoint that is no id", `{"event_type":"a","data":1,"endpoint_id":"e1"}`, "", "no such endpoint"},
		{"an owner with control characters", `{"event_type":"a","data":1,"owner_id":"a\u0000"}`, "", "owner_id must be"},
		{"an owner that is too long", `{"event_type":"a","data":1,"owner_id":"` + strings.Repeat("o", 256) + `"}`, "", "owner_id must be"},
		{"headers that are no texts", `{"event_type":"a","data":1,"custom_headers":{"a":1}}`, "", "custom_headers must be an object of strings"},
		{"headers that are no object", `{"event_type":"a","data":1,"custom_headers":["a"]}`, "", "custom_headers must be an object of strings"},
		{"a kind that there is not", `{"event_type":"a","data":1,"custom_headers":{"x-convoy-message-type":"multi"}}`, "", "single, fanout or broadcast"},
		{"single without an endpoint", `{"event_type":"a","data":1,"custom_headers":{"x-convoy-message-type":"single"}}`, "", "endpoint_id is required"},
		{"fanout without an owner", `{"event_type":"a","data":1,"custom_headers":{"x-convoy-message-type":"fanout"}}`, "", "owner_id is required"},
		{"nothing", ``, "", "the message is empty"},
		{"only white space", ` `, "", "ends in the middle"},
		{"an object that does not end", `{"event_type":"a","data":1`, "", "ends in the middle"},
		{"a list", `[{"event_type":"a","data":1}]`, "", "not the object of an event"},
		{"a text", `"a"`, "", "not the object of an event"},
		{"something after the object", `{"event_type":"a","data":1} {}`, "", "something after"},
		{"no JSON", `event_type=a`, "", "not the JSON of an event"},
		{"no UTF-8", "{\"event_type\":\"a\",\"data\":\"\xff\"}", "", "not valid UTF-8"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, err := read(t, c.body)
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("error %v, want %q", err, c.fault)
			}
			if err == nil && (string(s.Payload) != c.data || s.Type != "a" || s.Audience != millrace.Audience{} || s.IdempotencyKey != "" || len(s.Headers) != 0) {
				t.Errorf("submits %+v with %s", s, s.Payload)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("the fault has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestAMessageForOneOwnerIsNeverForAll(t *testing.T) {
	s, err := read(t, `{"event_type":"a","data":1,"owner_id":"acme"}`)
	if err != nil || s.Audience.OwnerID != "acme" {
		t.Errorf("it is for %+v: %v", s.Audience, err)
	}
}

func TestAMessageOfNoBrokerIsNotRead(t *testing.T) {
	m := Messages{Source: kafkaSource("orders", "a:1")}
	if _, err := m.Submission(message.NewMessage("m", nil)); err == nil {
		t.Error("it was read")
	}
	d := millrace.DeadLetter{ID: millrace.NewID(time.Now()), EventID: millrace.NewID(time.Now())}
	before := d.ID
	if m.DeadLetter(message.NewMessage("m", nil), &d); d.ProjectID != m.Source.ProjectID || d.ID != before || d.EventID != (millrace.ID{}) {
		t.Errorf("its dead letter is %+v", d)
	}
}

func TestADeadLetterIsOneHoweverOftenItsMessageComes(t *testing.T) {
	m := Messages{Source: kafkaSource("orders", "a:1")}
	at := time.UnixMilli(1_700_000_000_000)
	letter := func(id string, at time.Time) millrace.DeadLetter {
		var d millrace.DeadLetter
		m.DeadLetter((&brokerMessage{id: id, at: at, headers: map[string]string{"a": "b"}, body: []byte("x")}).message(), &d)
		return d
	}
	if d := letter("kafka:1", at); d.ID != letter("kafka:1", at).ID || d.ID == letter("kafka:2", at).ID || !millrace.TimeOf(d.ID).Equal(at) {
		t.Errorf("its id is %s", d.ID)
	}
	if d := letter("kafka:1", at); d.Topic != "kafka:1" || string(d.Raw) != "x" || d.Metadata["a"] != "b" {
		t.Errorf("it keeps %+v", d)
	}
	if of := millrace.TimeOf(letter("kafka:1", time.Unix(-5, 0)).ID); of.UnixMilli() != 0 {
		t.Errorf("a message before its time died at %s", of)
	}
}

func TestCoordinatesCanBeKeptAsAKey(t *testing.T) {
	s := kafkaSource("orders", "a:1")
	prefix := "kafka:" + s.ID.String() + ":1:"
	for _, c := range []struct {
		rule string
		rest []any
		want string // empty: a digest
	}{
		{"they are as they are", []any{"t", int32(2), int64(30)}, prefix + "t:2:30"},
		{"the longest name of a topic", []any{strings.Repeat("t", 249), 1 << 30, int64(1 << 62)}, prefix + strings.Repeat("t", 249) + ":1073741824:4611686018427387904"},
		{"too long", []any{strings.Repeat("t", 512)}, ""},
		{"with NUL", []any{"a\x00b"}, ""},
		{"no UTF-8", []any{"a\xff"}, ""},
	} {
		got := coordinates(s, c.rest...)
		if c.want != "" && got != c.want || c.want == "" && !strings.HasPrefix(got, prefix+"sha256:") || len(got) > longestID || !utf8.ValidString(got) {
			t.Errorf("%s: %q", c.rule, got)
		}
	}
	if coordinates(s, "a\x00b") == coordinates(s, "a\x00c") {
		t.Error("two messages have one digest")
	}
}

func TestHeadersCanBeKept(t *testing.T) {
	given := map[string]string{"a": "b", "text": "é\r\n", "bytes": "\xff\x00", "nul": "a\x00b", "n\x00\xff": "x"}
	want := map[string]string{"a": "b", "text": "é\r\n", "bytes": "/wA=", "nul": "YQBi", "n\uFFFD\uFFFD": "x"}
	m := &brokerMessage{headers: given}
	m.message()
	if !maps.Equal(m.headers, want) {
		t.Errorf("kept %q, want %q", m.headers, want)
	}
	if given["nul"] != "a\x00b" {
		t.Error("the given ones are changed")
	}
}

func TestATraceGoesOn(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	m := &brokerMessage{headers: map[string]string{"Traceparent": trace}, body: []byte(`{"event_type":"a","data":1}`)}
	if s, err := (Messages{Source: kafkaSource("orders", "a:1")}).Submission(m.message()); err != nil || s.TraceParent != trace {
		t.Errorf("it is %q: %v", s.TraceParent, err)
	}
}

func TestAMessageLivesAsItsSourceSays(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	msg := (&brokerMessage{}).messageIn(ctx)
	end()
	if msg.Context().Err() == nil {
		t.Error("it outlives its source")
	}
}

// FuzzMessage holds that no body, however odd, is more than a fault, and that
// what is read is what encoding/json reads, to the byte of the data.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		`{"event_type":"a","data":{"n":9007199254740993}}`, `{"data": "\ud800", "event_type":"é"}`, `{"custom_headers":{"x-convoy-message-type":"single"},"endpoint_id":"` + someEndpoint + `"}`,
		`{"owner_id":"o","data":[1 , 2]}`, `{`, ``, `[]`, `{"data":1}}`, "\ufeff{}", `{"data":1,"data":2}`, `{"event_type":null,"data":-0.0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		original := bytes.Clone(body)
		c, err := readCall(body)
		if !bytes.Equal(body, original) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("read what is no JSON: %v", err)
		}
		want := members["data"]
		if string(want) == "null" || string(want) == `""` {
			want = nil
		}
		if !bytes.Equal(c.data, want) || len(want) > 0 && !bytes.Contains(original, c.data) {
			t.Fatalf("the data is %q, want %q", c.data, want)
		}
		var eventType string
		if raw := members["event_type"]; raw != nil {
			_ = json.Unmarshal(raw, &eventType)
		}
		if c.eventType != eventType {
			t.Fatalf("the type is %q, want %q", c.eventType, eventType)
		}
	})
}

func TestARawMessageThatIsNoJSONKeepsItsContentType(t *testing.T) {
	t.Parallel()
	for header, raw := range map[string]bool{"content-type": true, "Content-Type": true, "amqp-content-type": true, "type": false} {
		source := millrace.Source{MaskID: "mask", PubSub: &millrace.PubSub{Kind: millrace.BrokerAMQP, Raw: true}}
		m := &brokerMessage{id: "m", headers: map[string]string{header: "image/png"}, body: []byte("\x89PNG")}
		sub, err := Messages{Source: source}.Submission(m.message())
		if kept := sub.Headers[millrace.HeaderCameAs] == "image/png"; err != nil || kept != raw {
			t.Errorf("by %s: kept is %v, %v", header, sub.Headers, err)
		}
	}
}
