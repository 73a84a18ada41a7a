package pipeline

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// headOf writes the head of a value, which must be what encoding/json makes of
// it, and reads it again.
func headOf[T any](t *testing.T, v T) {
	t.Helper()
	got, err := appendHead(nil, &v)
	want, wrong := json.Marshal(&v)
	if (err != nil) != (wrong != nil) {
		t.Fatalf("%+v: %v, want %v", v, err, wrong)
	}
	if err != nil {
		return
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%+v is\n%s, want\n%s", v, got, want)
	}
	readLike[T](t, got)
}

// readLike reads a head, and reports whether it could: then it must be what
// encoding/json reads.
func readLike[T any](t *testing.T, b []byte) bool {
	t.Helper()
	var got, want T
	if !readHead(b, &got) {
		return false
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatalf("%s is read, and should not: %v", b, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is read as\n%+v, want\n%+v", b, got, want)
	}
	return true
}

// fill sets every field of a struct.
func fill(v reflect.Value) {
	switch at := v.Addr().Interface().(type) {
	case *millrace.ID:
		*at = millrace.NewID(time.Now())
		return
	case *time.Time:
		*at = time.Now()
		return
	case *map[string]string:
		*at = map[string]string{"X-B": "2", "X-A": "1"}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Int, reflect.Int64:
		v.SetInt(1234567)
	case reflect.Bool:
		v.SetBool(true)
	}
}

func TestAHeadHasEveryFieldThatItsTypeHas(t *testing.T) {
	filled := func(v any) any {
		fill(reflect.ValueOf(v).Elem())
		return v
	}
	headOf(t, *filled(&millrace.Event{}).(*millrace.Event))
	headOf(t, *filled(&millrace.StoredEvent{}).(*millrace.StoredEvent))
	headOf(t, *filled(&millrace.Delivery{}).(*millrace.Delivery))
	headOf(t, millrace.Event{})
	headOf(t, millrace.StoredEvent{})
	headOf(t, millrace.Delivery{})
}

func TestAHeadIsReadWithoutEncodingJSONWhereverItCanBe(t *testing.T) {
	read := func(v any) bool {
		b, err := appendHead(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		return readHead(b, v)
	}
	e, d := benchmarkEvent(), benchmarkDelivery()
	if !read(&e.Event) || !read(&e) || !read(&d) {
		t.Error("a common head is left to encoding/json")
	}
	d.DueAt = time.Now()
	if !read(&d) {
		t.Error("a head with a time is left to encoding/json")
	}
	if d.EventType = "größe"; read(&d) {
		t.Error("a head with more than ASCII is not left to encoding/json")
	}
}

func FuzzHead(f *testing.F) {
	f.Add("order.paid", "anna", "X-A", "b", []byte("0123456789abcdef"), int64(3), int64(1732000000), true)
	f.Add("<&>\"\\\u2028", "\xff\x00", "größe", "\n", []byte{}, int64(-1), int64(-1<<60), false)
	f.Fuzz(func(t *testing.T, kind, owner, name, value string, id []byte, n, at int64, flag bool) {
		var one, other millrace.ID
		copy(one[:], id)
		copy(other[:], id[len(id)/2:])
		headers := map[string]string{name: value, value: name, "": kind}
		if flag {
			headers = nil
		}
		e := millrace.Event{
			ID: one, ProjectID: other, SourceID: other, Type: kind, Audience: millrace.Audience{EndpointID: one, OwnerID: owner}, Headers: headers, IdempotencyKey: value, KeyScope: millrace.KeyScope(owner), BrokerMessageID: name,
		}
		headOf(t, e)
		headOf(t, millrace.StoredEvent{Event: e, ConfigVersion: n, ReplayID: other})
		headOf(t, millrace.Delivery{
			ID: one, ProjectID: other, EventID: one, EndpointID: other, SubscriptionID: other, ReplayID: other, Turn: int(n), Attempts: int(at),
			Released: flag, DueAt: time.Unix(at, n), EventType: kind, Headers: headers, IdempotencyKey: name, ByReference: flag, Bulk: !flag,
		})
	})
}

func FuzzReadHead(f *testing.F) {
	for _, v := range []any{&millrace.Event{Headers: map[string]string{"a": "b"}}, &millrace.StoredEvent{ConfigVersion: 7}, &millrace.Delivery{Turn: 2, DueAt: time.Unix(0, 0)}} {
		b, err := appendHead(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, odd := range []string{"", "{", "{}", `{"id":null}`, `{"turn":01}`, `{"turn":1e3}`, `{"headers":{,}}`, `{"headers":{"a":"b","a":"c"}}`, `{"to":{}}`, `{"due":""}`, `{"due":"`, `{"bulk":false}`} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readLike[millrace.Event](t, b)
		readLike[millrace.StoredEvent](t, b)
		readLike[millrace.Delivery](t, b)
	})
}
