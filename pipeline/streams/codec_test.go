package streams

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

// wireMessages are messages whose parts take every form that the wire format has.
func wireMessages() map[string]*message.Message {
	metadata := func(n, size int) message.Metadata {
		m := message.Metadata{}
		for i := range n {
			m["key"+strconv.Itoa(i)] = strings.Repeat("v", size)
		}
		return m
	}
	with := func(m message.Metadata, payload string) *message.Message {
		msg := message.NewMessage("id", []byte(payload))
		msg.Metadata = m
		return msg
	}
	return map[string]*message.Message{
		"no metadata":            with(message.Metadata{}, "payload"),
		"no payload":             with(metadata(1, 1), ""),
		"no UUID":                message.NewMessage("", []byte("payload")),
		"bytes that are no text": with(message.Metadata{"k": "\x00\xff"}, "\x00\xff\r\n"),
		"fifteen short values":   with(metadata(15, 31), "payload"),
		"sixteen longer values":  with(metadata(16, 32), "payload"),
		"a value of 256 bytes":   with(metadata(1, 256), "payload"),
		"a value of 64 KiB":      with(metadata(1, 1<<16), strings.Repeat("p", 1<<16)),
		"70,000 values":          with(metadata(70_000, 1), "payload"),
	}
}

func assertSame(t *testing.T, got, want *message.Message) {
	t.Helper()
	if got.UUID != want.UUID || string(got.Payload) != string(want.Payload) || !maps.Equal(got.Metadata, want.Metadata) {
		t.Errorf("message (UUID %q, %d bytes, %d metadata) came as (UUID %q, %d bytes, %d metadata)",
			want.UUID, len(want.Payload), len(want.Metadata), got.UUID, len(got.Payload), len(got.Metadata))
	}
}

// FuzzDecode holds decode to the stock unmarshaller on any bytes: the same message, or both refuse; and it never panics.
func FuzzDecode(f *testing.F) {
	for _, msg := range wireMessages() {
		f.Add(string(packMetadata(msg.Metadata)), string(msg.Payload))
	}
	for _, metadata := range []string{"\x81", "\x81\xa1k", "\x81\xa1k\xa5v", "\xdf\xff\xff\xff\xff", "\x80\x80", "\xc0", "\x81\x01\x02", "\xde\x00\x01\xd9\x01k\xdb\x00\x00\x00\x01v"} {
		f.Add(metadata, "payload")
	}
	f.Fuzz(func(t *testing.T, metadata, payload string) {
		got, err := decode([]any{uuidField, "id", metadataField, metadata, payloadField, payload})
		want, wantErr := decodeStock("id", metadata, payload)
		if err != nil {
			if wantErr == nil {
				t.Fatalf("refused (%v) what the stock unmarshaller takes", err)
			}
			return
		}
		if wantErr == nil {
			assertSame(t, got, want)
		}
	})
}

func TestDecodeWithoutUUID(t *testing.T) {
	if _, err := decode([]any{"a", "b"}); err == nil {
		t.Error("no error without a UUID field")
	}
}

func TestRawKeepsEveryField(t *testing.T) {
	fields := []any{"a", "1", "a", "2,3:x", "", "\x00\xff", "last", ""}
	got, err := Fields(packRaw(fields))
	must(t, err)
	if want := []string{"a", "1", "a", "2,3:x", "", "\x00\xff", "last", ""}; !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	for _, bad := range []string{"x", "1:", "1:ab,", "2:a,", "99999999999999999999:a,", "1:a"} {
		if _, err := Fields([]byte(bad)); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
