package misbehave

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// How a connection goes on after the beginning of an answer.
type ending string

const (
	open  ending = "open"  // nothing more comes
	eof   ending = "eof"   // it is closed
	cut   ending = "cut"   // it is reset
	reuse ending = "reuse" // another request is answered alike
	more  ending = "more"  // more and more comes
)

// seen is what a plain client sees of a mode.
type seen struct {
	begins string
	then   ending
	least  int // bytes that follow, for more
}

const (
	ok200      = "HTTP/1.1 200 OK\r\n"
	tooMany    = "HTTP/1.1 429 Too Many Requests\r\n"
	notNow     = "HTTP/1.1 503 Service Unavailable\r\n"
	empty      = "Content-Length: 0\r\n\r\n"
	retryIn    = "Retry-After: "
	forTooLong = "9999999999999999999999999999999999999999"
)

// wire is what is seen of each mode that takes no TLS.
func wire() map[Mode]seen {
	all := map[Mode]seen{
		Deaf:       {"", open, 0},
		Hang:       {"", open, 0},
		DripHeader: {ok200 + "X-Drip: 1\r\nX-Drip: 1\r\n", more, 30},
		DripLine:   {ok200 + "X-Drip: aaa", more, 5},
		DripHints:  {"HTTP/1.1 103 Early Hints\r\n\r\n", more, 60},
		DripBody:   {ok200 + "Content-Length: 1000000\r\n\r\na", more, 3},
		StallBody:  {ok200 + "Content-Length: 9\r\n\r\n", open, 0},

		EndlessBody:   {ok200 + "\r\nX-More", more, 4 << 20},
		EndlessChunks: {ok200 + "Transfer-Encoding: chunked\r\n\r\nfffffffffff\r\nX-More", more, 4 << 20},
		EndlessError:  {"HTTP/1.1 500 Internal Server Error\r\n\r\nX-More", more, 4 << 20},
		EndlessHeader: {ok200 + "X-More: 1\r\nX-More: 1\r\n", more, 4 << 20},
		HeaderBomb:    {ok200 + "X-Bomb: aaaaa", more, headerBombBytes},
		GzipBomb:      {ok200 + "Content-Encoding: gzip\r\nContent-Length: ", more, 64 << 10},

		Close:       {"", eof, 0},
		Reset:       {"", cut, 0},
		CutHeader:   {ok200 + "X-Cut: yes\r\n", eof, 0},
		CutBody:     {ok200 + "Content-Length: 9\r\n\r\nabc", eof, 0},
		CloseIdle:   {ok200 + empty, eof, 0},
		CloseReused: {ok200 + empty, open, 0},

		Gone:        {"HTTP/1.1 410 Gone\r\n" + empty, reuse, 0},
		Flap:        {"HTTP/1.1 500 Internal Server Error\r\n" + empty, open, 0},
		Echo:        {ok200 + "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 60\r\n\r\n" + request, reuse, 0},
		Redirect301: {"HTTP/1.1 301 Moved Permanently\r\nLocation: /elsewhere\r\n" + empty, reuse, 0},
		Redirect302: {"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n" + empty, reuse, 0},
		Redirect303: {"HTTP/1.1 303 See Other\r\nLocation: /elsewhere\r\n" + empty, reuse, 0},
		Redirect307: {"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\n" + empty, reuse, 0},
		Redirect308: {"HTTP/1.1 308 Permanent Redirect\r\nLocation: /elsewhere\r\n" + empty, reuse, 0},

		TooMany:     {tooMany + empty, reuse, 0},
		Unavailable: {notNow + empty, reuse, 0},

		GarbledProtocol: {"SSH-2.0-OpenSSH_9.2\r\n", open, 0},
		GarbledHeader:   {ok200 + "no colon\r\n\r\n", open, 0},
		GarbledStatus:   {"HTTP/1.1 9000 Over\r\n" + empty, open, 0},
		GarbledUpgrade:  {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", open, 0},
	}
	for kind, value := range map[string]string{
		"seconds": "300", "zero": "0", "negative": "-5", "years": "315360000", "absurd": forTooLong, "garbage": "soon",
	} {
		all[Mode("429-"+kind)] = seen{tooMany + retryIn + value + "\r\n" + empty, reuse, 0}
		all[Mode("503-"+kind)] = seen{notNow + retryIn + value + "\r\n" + empty, reuse, 0}
	}
	for _, kind := range []string{"date", "past", "years-date"} { // their dates are looked at apart
		all[Mode("429-"+kind)] = seen{tooMany + retryIn, more, 29}
		all[Mode("503-"+kind)] = seen{notNow + retryIn, more, 29}
	}
	return all
}

func TestWhatAPlainClientSees(t *testing.T) {
	t.Parallel()
	for mode, want := range wire() {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			c := start(t, mode, Watch{}).dial(t)
			c.ask()
			c.reads(want.begins)
			c.ends(want)
		})
	}
}

// request is what the client sends, 60 bytes.
const request = "POST /hook HTTP/1.1\r\nHost: receiver\r\nContent-Length: 2\r\n\r\n{}"

type client struct {
	t    *testing.T
	conn net.Conn
}

func (c *client) ask() {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, request); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) reads(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.conn, got)
	if string(got[:n]) != want || err != nil {
		c.t.Fatalf("read %q (%v), want %q", got[:n], err, want)
	}
}

func (c *client) ends(want seen) {
	c.t.Helper()
	switch want.then {
	case open:
		c.staysOpen()
	case eof:
		if rest, err := io.ReadAll(c.conn); err != nil || len(rest) > 0 {
			c.t.Errorf("then came %q and %v, want the end", rest, err)
		}
	case cut:
		if rest, err := io.ReadAll(c.conn); !errors.Is(err, syscall.ECONNRESET) {
			c.t.Errorf("then came %q and %v, want a reset", rest, err)
		}
	case reuse:
		c.ask()
		c.reads(want.begins)
	case more:
		if n, err := io.CopyN(io.Discard, c.conn, int64(want.least)); err != nil {
			c.t.Errorf("%d more bytes came (%v), want %d", n, err, want.least)
		}
	}
}

// staysOpen holds that nothing comes for a while.
func (c *client) staysOpen() {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(4 * dripInterval)); err != nil {
		c.t.Fatal(err)
	}
	rest, err := io.ReadAll(c.conn)
	if !errors.Is(err, os.ErrDeadlineExceeded) || len(rest) > 0 {
		c.t.Errorf("then came %q and %v, want nothing", rest, err)
	}
}
