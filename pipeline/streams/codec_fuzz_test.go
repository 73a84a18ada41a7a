package streams

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

// FuzzEncode holds that whatever is written to a stream is read as what it was, by ours and by the stock unmarshaller: to the byte, and whatever the length of its parts.
func FuzzEncode(f *testing.F) {
	f.Add("id", "traceparent", "00-1-2-01", uint16(0), uint16(0), []byte("{}\npayload"))
	f.Add("", "", "", uint16(15), uint16(31), []byte{})
	f.Add("\xff", "\x00", "\xc0", uint16(16), uint16(32), []byte{0, 255})
	f.Add("id", "k", "v", uint16(300), uint16(256), []byte("p"))
	f.Add("id", "k", "v", uint16(1), uint16(65535), []byte("p"))
	f.Fuzz(func(t *testing.T, uuid, key, value string, more, length uint16, payload []byte) {
		msg := message.NewMessage(uuid, payload)
		msg.Metadata[key] = value
		for i := range more % 512 {
			msg.Metadata[strconv.Itoa(int(i))] = value
		}
		msg.Metadata["long"] = strings.Repeat("v", int(length))
		command, err := xadd("stream", msg)
		if err != nil {
			if msg.Metadata[uuidField] == "" {
				t.Fatalf("it is not written: %v", err)
			}
			return
		}
		fields := make([]any, 0, 6)
		for _, part := range command[3:] { // as Redis gives them back
			if b, ok := part.([]byte); ok {
				part = string(b)
			}
			fields = append(fields, part)
		}
		got, err := decode(fields)
		must(t, err)
		assertSame(t, got, msg)
		stock, err := decodeStock(uuid, fields[3].(string), fields[5].(string))
		must(t, err)
		assertSame(t, stock, msg)
	})
}

// FuzzFields holds that what a dead letter keeps of an entry is the entry, whatever its fields are, and that nothing is read of it in two ways: what is read, written again, reads the same.
func FuzzFields(f *testing.F) {
	f.Add([]byte("1:a,0:,"), ",")
	f.Add([]byte("a|1|a|2,3:x||\x00\xff"), "|")
	f.Add([]byte("99999999999:a,"), "")
	f.Add([]byte("9999999999:a,"), ":")
	f.Fuzz(func(t *testing.T, raw []byte, by string) {
		parts := strings.Split(string(raw), by)
		fields := make([]any, len(parts))
		for i := range parts {
			fields[i] = parts[i]
		}
		got, err := Fields(packRaw(fields))
		must(t, err)
		if !slices.Equal(got, parts) {
			t.Fatalf("the fields %q came back as %q", parts, got)
		}
		read, err := Fields(raw)
		if err != nil {
			return
		}
		fields = fields[:0]
		for _, field := range read {
			fields = append(fields, field)
		}
		if again, err := Fields(packRaw(fields)); err != nil || !slices.Equal(again, read) {
			t.Fatalf("%q is read as %q, and then as %q: %v", raw, read, again, err)
		}
	})
}
