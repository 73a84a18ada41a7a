package bench

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestMessagesAreReadOneAfterTheOther(t *testing.T) {
	text := "POST /1/2 HTTP/1.1\r\nHost: x\r\nCONTENT-length: 4\r\nWebhook-Id: a\r\n\r\nbody" +
		"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" +
		"HTTP/1.1 204 No Content\nConnection: Close\n\n"
	for name, r := range map[string]io.Reader{"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text))} {
		t.Run(name, func(t *testing.T) {
			in, m := bufio.NewReader(r), message{}
			if err := m.read(in); err != nil || string(m.path()) != "/1/2" || string(m.body) != "body" || string(m.fields.id) != "a" || m.last {
				t.Errorf("the request is read as %s %s %s, %v", m.path(), m.body, m.fields.id, err)
			}
			if err := m.read(in); err != nil || m.status() != 201 || string(m.body) != "abcde" || len(m.fields.id) != 0 {
				t.Errorf("the answer is read as %d %s, %v", m.status(), m.body, err)
			}
			if err := m.read(in); err != nil || m.status() != 204 || len(m.body) != 0 || !m.last {
				t.Errorf("the last answer is read as %d %s, %v", m.status(), m.body, err)
			}
			if err := m.read(in); !errors.Is(err, io.EOF) {
				t.Errorf("behind the last message there is %v", err)
			}
		})
	}
}

func TestBrokenMessagesAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"one that ends in its head":    "POST / HTTP/1.1\r\nHost: x\r\n",
		"one that ends in its body":    "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbo",
		"one that ends in a chunk":     "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
		"a length that is none":        "POST / HTTP/1.1\r\nContent-Length: -4\r\n\r\nbody",
		"a body that is too long":      "POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n",
		"a head line that is too long": "POST / HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<16) + "\r\n\r\n",
	} {
		m := message{}
		if err := m.read(bufio.NewReader(strings.NewReader(text))); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzMessage reads strangers' bytes without a panic.
func FuzzMessage(f *testing.F) {
	f.Add([]byte("POST /1/2 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"))
	f.Add([]byte("HTTP/1.1 201\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m := message{}
		if m.read(bufio.NewReader(strings.NewReader(string(text)))) == nil {
			_, _, _ = address(string(m.path()))
			_, _ = newTemplate(1, 100).number(m.body)
			if m.status() < 0 {
				t.Errorf("the status is %d", m.status())
			}
		}
	})
}

func TestDataBearsItsNumber(t *testing.T) {
	data := newTemplate(7, 1024)
	one := data.append(nil, 123456, 42)
	if len(one) != 1024 || !strings.Contains(string(one), `"run":"0007","n":"00123456","k":"000042"`) {
		t.Errorf("the data is %d bytes: %.80s", len(one), one)
	}
	if n, ok := data.number(one); !ok || n != 123456 {
		t.Errorf("its number is read as %d, %v", n, ok)
	}
	if _, ok := newTemplate(8, 1024).number(one); ok {
		t.Error("data of another run is taken for this one's")
	}
}

func TestUIDsAreRead(t *testing.T) {
	answer := []byte(`{"status":true,"data":{"uid":"019e0b3c-7e80-7000-8000-0000000000ff","ack":"queued"}}`)
	want := uid{0x01, 0x9e, 0x0b, 0x3c, 0x7e, 0x80, 0x70, 0x00, 0x80, 15: 0xff}
	if got := answeredUID(answer); got != want {
		t.Errorf("%x", got)
	}
	for _, text := range []string{"", "none", strings.Repeat("g", 36), strings.Repeat("-", 36)} {
		if got := parseUID([]byte(text)); got != (uid{}) {
			t.Errorf("%q is read as %x", text, got)
		}
	}
}
