package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
)

const (
	uuidField     = redisstream.UUIDHeaderKey
	metadataField = "metadata"
	payloadField  = "payload"
)

// xadd returns the XADD that carries msg in watermill-redisstream's format, without the map that its marshaller would build.
func xadd(key string, msg *message.Message) ([]any, error) {
	if msg.Metadata.Get(uuidField) != "" {
		return nil, fmt.Errorf("metadata %s is reserved for the message's UUID", uuidField)
	}
	return []any{"xadd", key, "*", uuidField, msg.UUID, metadataField, packMetadata(msg.Metadata), payloadField, []byte(msg.Payload)}, nil
}

// packMetadata encodes a map of strings as MessagePack (spec: github.com/msgpack/msgpack/blob/master/spec.md); no metadata is no bytes, as in the stock marshaller.
func packMetadata(metadata message.Metadata) []byte {
	if len(metadata) == 0 {
		return []byte{}
	}
	size := 5
	for k, v := range metadata {
		size += len(k) + len(v) + 10
	}
	b := make([]byte, 0, size)
	switch n := len(metadata); {
	case n < 16:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0xde), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdf), uint32(n))
	}
	for k, v := range metadata {
		b = packString(packString(b, k), v)
	}
	return b
}

func packString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n < 1<<8:
		b = append(b, 0xd9, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, s...)
}

// decode makes the message that an entry's fields carry. What is not in the plain form that packMetadata writes goes to the stock unmarshaller.
func decode(fields []any) (*message.Message, error) {
	var uuid, metadata, payload string
	known := false
	for i := 0; i+1 < len(fields); i += 2 {
		name, _ := fields[i].(string)
		value, _ := fields[i+1].(string)
		switch name {
		case uuidField:
			uuid, known = value, true
		case metadataField:
			metadata = value
		case payloadField:
			payload = value
		}
	}
	if !known {
		return nil, fmt.Errorf("field %s is missing", uuidField)
	}
	msg := message.NewMessage(uuid, []byte(payload))
	if metadata == "" || unpackMetadata(metadata, msg.Metadata) {
		return msg, nil
	}
	return decodeStock(uuid, metadata, payload)
}

// decodeStock guards the stock unmarshaller, which panics on some inputs.
func decodeStock(uuid, metadata, payload string) (msg *message.Message, err error) {
	defer func() {
		if r := recover(); r != nil {
			msg, err = nil, fmt.Errorf("decode metadata: %v", r)
		}
	}()
	return redisstream.DefaultMarshallerUnmarshaller{}.Unmarshal(map[string]any{uuidField: uuid, metadataField: metadata, payloadField: payload})
}

// unpackMetadata reports whether s was a whole MessagePack map of strings; into is of use only then.
func unpackMetadata(s string, into message.Metadata) bool {
	n, s, ok := unpackLength(s, 0x80, 0x0f, "\x00\xde\xdf")
	if !ok {
		return false
	}
	for range n {
		var key, value string
		if key, s, ok = unpackString(s); !ok {
			return false
		}
		if value, s, ok = unpackString(s); !ok {
			return false
		}
		into[key] = value
	}
	return s == ""
}

func unpackString(s string) (value, rest string, ok bool) {
	n, s, ok := unpackLength(s, 0xa0, 0x1f, "\xd9\xda\xdb")
	if !ok || len(s) < n {
		return "", "", false
	}
	return s[:n], s[n:], true
}

// unpackLength reads a length in one of its forms: in the low bits of the first byte, or as 1, 2 or 4 bytes after the marker at that place of markers.
func unpackLength(s string, fixed, mask byte, markers string) (n int, rest string, ok bool) {
	if s == "" {
		return 0, "", false
	}
	if s[0]&^mask == fixed {
		return int(s[0] & mask), s[1:], true
	}
	for i, width := range []int{1, 2, 4} {
		if s[0] != markers[i] || markers[i] == 0 || len(s) < 1+width {
			continue
		}
		for _, c := range []byte(s[1 : 1+width]) {
			n = n<<8 | int(c)
		}
		return n, s[1+width:], true
	}
	return 0, "", false
}

// packRaw writes fields as netstrings (cr.yp.to/proto/netstrings.txt), "<length>:<bytes>,", names and values in turn: readable where they are, and never ambiguous.
func packRaw(fields []any) []byte {
	var b []byte
	for _, field := range fields {
		s, _ := field.(string)
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(append(append(b, ':'), s...), ',')
	}
	return b
}

// Fields returns what Dead.Raw holds: the names and values of the entry's fields in turn, in their order in the stream.
func Fields(raw []byte) ([]string, error) {
	var fields []string
	for len(raw) > 0 {
		n, at := 0, 0
		for ; at < len(raw) && at < 10 && raw[at] >= '0' && raw[at] <= '9'; at++ {
			n = n*10 + int(raw[at]-'0')
		}
		if at == 0 || len(raw) < at+n+2 || raw[at] != ':' || raw[at+1+n] != ',' {
			return nil, errors.New("read raw entry: not a list of netstrings")
		}
		fields = append(fields, string(raw[at+1:at+1+n]))
		raw = raw[at+n+2:]
	}
	return fields, nil
}
