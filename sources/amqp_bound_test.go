package sources

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	amqp "github.com/rabbitmq/amqp091-go"

	millrace "github.com/millrace-dev/millrace"
)

// heard is a connection on which something was said.
type heard struct {
	net.Conn
	io.Reader
}

// Read hears it.
func (h heard) Read(p []byte) (int, error) { return h.Reader.Read(p) }

func frame(kind byte, channel uint16, payload []byte) []byte {
	f := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	f = binary.BigEndian.AppendUint32(f, uint32(len(payload)))
	return append(append(f, payload...), amqpFrameEnd)
}

func header(channel uint16, size uint64) []byte {
	payload := binary.BigEndian.AppendUint64([]byte{0, 60, 0, 0}, size)
	return frame(amqpHeader, channel, append(payload, 0, 0))
}

func body(channel uint16, text string) []byte { return frame(amqpBody, channel, []byte(text)) }

func TestTheBodyOfAMessageIsCutOneByteBeyondWhatIsTaken(t *testing.T) {
	t.Parallel()
	method := frame(amqpMethod, 1, []byte{0, 60, 0, 60})
	for _, c := range []struct {
		rule       string
		said, read [][]byte
	}{
		{"a body of what is taken goes through", [][]byte{method, header(1, 5), body(1, "123"), body(1, "45"), method},
			[][]byte{method, header(1, 5), body(1, "123"), body(1, "45"), method}},
		{"a larger one is cut in a frame", [][]byte{method, header(1, 9), body(1, "1234"), body(1, "5678"), body(1, "9"), method},
			[][]byte{method, header(1, 6), body(1, "1234"), body(1, "56"), amqpBeat, method}},
		{"and between two", [][]byte{header(1, 8), body(1, "123456"), body(1, "78"), method}, [][]byte{header(1, 6), body(1, "123456"), amqpBeat, method}},
		{"what follows is another message", [][]byte{header(1, 7), body(1, "1234567"), method, header(1, 2), body(1, "ab")},
			[][]byte{header(1, 6), body(1, "123456"), method, header(1, 2), body(1, "ab")}},
		{"channels do not touch each other", [][]byte{header(1, 7), header(2, 3), body(1, "1234567"), body(2, "abc")},
			[][]byte{header(1, 6), header(2, 3), body(1, "123456"), body(2, "abc")}},
		{"a body that is broken off is over", [][]byte{header(1, 100), body(1, "1234567"), method, header(1, 3), body(1, "abc")},
			[][]byte{header(1, 6), body(1, "123456"), method, header(1, 3), body(1, "abc")}},
		{"a size that nothing has is one like others", [][]byte{header(1, 1<<63), body(1, "1234567"), body(1, "1234567")},
			[][]byte{header(1, 6), body(1, "123456"), amqpBeat}},
		{"no body", [][]byte{method, header(1, 0), method}, [][]byte{method, header(1, 0), method}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			for name, said := range map[string]io.Reader{
				"at once": bytes.NewReader(bytes.Join(c.said, nil)), "byte by byte": iotest.OneByteReader(bytes.NewReader(bytes.Join(c.said, nil))),
			} {
				got, err := io.ReadAll(newAMQPBound(heard{Reader: said}, 5))
				if want := bytes.Join(c.read, nil); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: read\n%q, %v; want\n%q", name, got, err, want)
				}
			}
		})
	}
}

func TestAFrameOfAMQPHasABound(t *testing.T) {
	t.Parallel()
	huge := []byte{amqpBody, 0, 1, 0xff, 0xff, 0xff, 0xff}
	b := newAMQPBound(heard{Reader: io.MultiReader(bytes.NewReader(huge), iotest.ErrReader(errors.New("it was read")))}, 5)
	if _, err := io.ReadAll(b); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("it is read: %v", err)
	}
	if cap(b.frame) > amqpFrame {
		t.Errorf("%d bytes are kept for it", cap(b.frame))
	}
}

func FuzzWhatAMQPSays(f *testing.F) {
	f.Add(bytes.Join([][]byte{header(1, 9), body(1, "123456789"), frame(amqpMethod, 1, nil)}, nil))
	f.Add(frame(amqpHeader, 1, []byte{0, 60}))
	f.Add([]byte{amqpBody, 0, 1, 0, 0, 0, 9, 1})
	f.Fuzz(func(t *testing.T, said []byte) {
		got, _ := io.ReadAll(newAMQPBound(heard{Reader: bytes.NewReader(said)}, 5)) // what is no AMQP ends somewhere
		if len(got) > len(said)+len(said)/len(amqpBeat)+amqpFrameHead {
			t.Errorf("%d bytes became %d", len(said), len(got))
		}
	})
}

func TestAMessageThatIsTooLargeIsBuriedByItsBeginningAndTheQueueGoesOn(t *testing.T) {
	t.Parallel()
	h := newAMQPHarness(t)
	source := h.Source()
	source.PubSub.Raw, source.EventTypeLocation = true, "request.header.amqp-type"
	const most = 1<<20 + aroundPayload
	largest, larger := bytes.Repeat([]byte("a"), most), bytes.Repeat([]byte("b"), 40<<20)
	h.publish("", h.queue, amqp.Publishing{Type: "a", Body: larger}, amqp.Publishing{Type: "a", Body: largest}, amqp.Publishing{Type: "a", Body: []byte("last")})
	a := startAgent(t, agentConfig{source: source})
	arrived := map[string]bool{}
	for range 2 {
		arrived[string(a.next().Payload)] = true
	}
	if !arrived[string(largest)] || !arrived["last"] {
		t.Errorf("%d of the two that are not too large arrived as they were", len(arrived))
	}
	dead := receive(t, a.dead, "it is buried")
	if len(dead.Raw) != most || dead.Raw[0] != 'b' || !strings.Contains(dead.Error, "beginning") || dead.Metadata["amqp-type"] != "a" {
		t.Errorf("buried are %d bytes with %v: %s", len(dead.Raw), dead.Metadata, dead.Error)
	}
	if _, err := (Messages{Source: source}).Redriven(dead); millrace.CodeOf(err) != millrace.CodeTooLarge {
		t.Errorf("driven again, the beginning is an event: %v", err)
	}
	a.stop()
	wantLeft(t, h, 0)
}
