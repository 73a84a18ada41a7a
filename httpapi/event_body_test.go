package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
)

func TestPayloadIsTheBytesOfData(t *testing.T) {
	for _, data := range []string{
		`{}`, `[]`, `0`, `-0.0e+1`, `false`, `"text"`, `" "`,
		"{ \"a\" :\t1 ,\r\n \"b\":[ ] }",
		`{"big":123456789012345678901234567890.000,"small":1e-400,"same":1.0}`,
		`{"a":1,"a":2}`,
		`"\u00e9\/\ud83d\ude00<&>"`, `"é😀"`, `"\ud800"`,
		`{"data":{"data":"data"}}`, `[[[[{"}":"]"}]]]]`, `"\"}"`, `"\\"`,
	} {
		for _, around := range [][2]string{{`{"data":`, `}`}, {"{\"event_type\":\"a\", \"data\" : \n", "\t , \"x\":{\"data\":1}} \r\n"}, {`{"d\u0061ta":`, `,"z":[null]}`}} {
			e, err := decodeEvent([]byte(around[0] + data + around[1]))
			if err != nil || string(e.Data) != data {
				t.Errorf("in %q the payload is %q (%v), want %q", around, e.Data, err, data)
			}
		}
	}
}

func TestEventBodyRefuses(t *testing.T) {
	for rule, c := range map[string]struct {
		body string
		code millrace.Code
	}{
		"nothing at all":             {``, millrace.CodeBadRequest},
		"what is no object":          {`[{"data":1}]`, millrace.CodeBadRequest},
		"a text, as of an empty SDK": {`"{}"`, millrace.CodeBadRequest},
		"anything after the object":  {`{"data":1}x`, millrace.CodeBadRequest},
		"a second object":            {`{"data":1}{"data":2}`, millrace.CodeBadRequest},
		"an object without an end":   {`{"data":{"a":1}`, millrace.CodeBadRequest},
		"a comma too many":           {`{"data":1,}`, millrace.CodeBadRequest},
		"a missing colon":            {`{"data" 1}`, millrace.CodeBadRequest},
		"crossed brackets":           {`{"data":[1}]`, millrace.CodeBadRequest},
		"a leading zero":             {`{"data":01}`, millrace.CodeBadRequest},
		"NaN":                        {`{"data":NaN}`, millrace.CodeBadRequest},
		"a bare control character":   {"{\"data\":\"\n\"}", millrace.CodeBadRequest},
		"a wrong escape":             {`{"data":"\x41"}`, millrace.CodeBadRequest},
		"bytes that are not UTF-8":   {"{\"data\":\"\xff\"}", millrace.CodeBadRequest},
		"data twice":                 {`{"data":1,"data":2}`, millrace.CodeBadRequest},
		"data twice, once escaped":   {`{"data":1,"\u0064ata":2}`, millrace.CodeBadRequest},
		"absurd depth":               {`{"data":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, millrace.CodeBadRequest},
		"a type that is no text":     {`{"event_type":5}`, millrace.CodeInvalid},
		"headers that are no object": {`{"custom_headers":["a"]}`, millrace.CodeInvalid},
		"a header that is no text":   {`{"custom_headers":{"a":1}}`, millrace.CodeInvalid},
	} {
		t.Run(rule, func(t *testing.T) {
			_, err := decodeEvent([]byte(c.body))
			if err == nil || millrace.CodeOf(err) != c.code {
				t.Errorf("the error is %v, want %s", err, c.code)
			}
		})
	}
}

func TestEventBodyMembers(t *testing.T) {
	e, err := decodeEvent([]byte(`{"endpoint_id":"e","owner_id":null,"event_type":"a\u002eb","idempotency_key":"","custom_headers":{"X-A":"1","X-B":null},"data":"","unknown":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	if e.EndpointID != "e" || e.OwnerID != "" || e.EventType != "a.b" || e.IdempotencyKey != "" || e.Data != nil {
		t.Errorf("read %+v", e)
	}
	if len(e.CustomHeaders) != 2 || e.CustomHeaders["X-A"] != "1" || e.CustomHeaders["X-B"] != "" {
		t.Errorf("read the headers %v", e.CustomHeaders)
	}
}

// FuzzEventBody holds the decoder against encoding/json: they agree on what is
// JSON, and on the exact bytes of data.
func FuzzEventBody(f *testing.F) {
	for _, seed := range []string{
		`{"event_type":"order.paid","data":{"id": 42}}`, `{"data":[1,2.5e-3,"\u00e9",null,true]}`, `{"data":1,"data":2}`, `{}`, `[]`, `{"data":nul}`,
		`{"a":{"b":[{}]},"data":" "}`, "{\"data\"\n:\t{ }\r}", `{"custom_headers":{"X":"y"},"data":0}`, `{"data":-0}`, `{"data":"\ud800"}`, `{"":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEvent(b)
		var members map[string]json.RawMessage
		std := json.Unmarshal(b, &members)
		if err != nil {
			if refusedByChoice(err) || std != nil || members == nil || !utf8.Valid(b) {
				return
			}
			t.Fatalf("refused what encoding/json takes: %v", err)
		}
		if std != nil {
			t.Fatalf("took what encoding/json refuses: %v", std)
		}
		want := []byte(members["data"])
		if isAbsent(want) {
			want = nil
		}
		if !bytes.Equal(e.Data, want) {
			t.Fatalf("the payload is %q, and for encoding/json %q", e.Data, want)
		}
	})
}

// refusedByChoice are the faults that are ours alone: wrong types of known
// members, members twice, and depth.
func refusedByChoice(err error) bool {
	return millrace.CodeOf(err) == millrace.CodeInvalid || strings.Contains(err.Error(), "twice") || strings.Contains(err.Error(), "nested")
}
