package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strconv"
)

// message is one HTTP/1.1 request or response as the load generator and the
// receiver read it. net/http would cost more processor time than the gateway
// under test leaves; this reads into the same memory again and again.
type message struct {
	start  []byte // the first line
	fields fields
	body   []byte
	last   bool // the connection ends with it
}

// fields are the header fields that the benchmark looks at.
type fields struct {
	id, timestamp, signature, convoy []byte
}

// maxBody bounds what a stranger may send.
const maxBody = 4 << 20

var errTooLong = errors.New("the message is too long")

// read reads the next message; it is valid until the next read.
func (m *message) read(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	m.start = append(m.start[:0], bytes.TrimRight(line, "\r\n")...)
	m.fields, m.last = m.fields.cleared(), false
	length, chunked := 0, false
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return noEnd(err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return m.readBody(r, length, chunked)
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case is(name, "content-length"):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return fmt.Errorf("the content length %q", value)
			}
		case is(name, "transfer-encoding"):
			chunked = true
		case is(name, "connection"):
			m.last = is(value, "close")
		default:
			m.fields.take(name, value)
		}
	}
}

func (m *message) readBody(r *bufio.Reader, length int, chunked bool) error {
	if chunked {
		return m.readChunks(r)
	}
	if length > maxBody {
		return errTooLong
	}
	if cap(m.body) < length {
		m.body = make([]byte, length)
	}
	m.body = m.body[:length]
	_, err := io.ReadFull(r, m.body)
	return noEnd(err)
}

func (m *message) readChunks(r *bufio.Reader) error {
	body, err := io.ReadAll(io.LimitReader(httputil.NewChunkedReader(r), maxBody+1))
	if err != nil {
		return noEnd(err)
	}
	if len(body) > maxBody {
		return errTooLong
	}
	m.body = body
	_, err = r.ReadSlice('\n') // the empty line behind the last chunk
	return noEnd(err)
}

// status is the code of a response, or 0.
func (m *message) status() int {
	_, rest, _ := bytes.Cut(m.start, []byte(" "))
	if len(rest) < 3 {
		return 0
	}
	code, _ := strconv.Atoi(string(rest[:3])) // no number: 0
	return max(code, 0)
}

// path is the target of a request.
func (m *message) path() []byte {
	_, rest, _ := bytes.Cut(m.start, []byte(" "))
	path, _, _ := bytes.Cut(rest, []byte(" "))
	return path
}

func (f fields) cleared() fields {
	return fields{f.id[:0], f.timestamp[:0], f.signature[:0], f.convoy[:0]}
}

func (f *fields) take(name, value []byte) {
	switch {
	case is(name, "webhook-id"):
		f.id = append(f.id[:0], value...)
	case is(name, "webhook-timestamp"):
		f.timestamp = append(f.timestamp[:0], value...)
	case is(name, "webhook-signature"):
		f.signature = append(f.signature[:0], value...)
	case is(name, "x-convoy-signature"):
		f.convoy = append(f.convoy[:0], value...)
	}
}

// is compares without regard to case; b is in small letters.
func is(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != b[i] {
			return false
		}
	}
	return true
}

// noEnd says that a connection which ended inside a message did so too early.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
