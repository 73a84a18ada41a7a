package misbehave

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// How a connection ends.
var (
	errClosed = errors.New("it closed the connection")
	errReset  = errors.New("it reset the connection")
)

// exchange is a connection of a server, with the request that it answers now.
type exchange struct {
	ctx  context.Context
	tcp  net.Conn
	conn *counted // what is written to: tcp, or TLS over it
	in   *bufio.Reader
	most *io.LimitedReader // what the next request may have
	call Call
	// before is how many bytes had been sent when it came.
	before int64
	// number is the request's on its connection, turn the server's; from 1.
	number int
	turn   int64
}

func newExchange(ctx context.Context, tcp net.Conn) *exchange {
	x := &exchange{ctx: ctx, tcp: tcp, call: Call{At: time.Now()}}
	x.through(tcp)
	return x
}

// through speaks through a connection from now on.
func (x *exchange) through(conn net.Conn) {
	x.conn = &counted{Conn: conn}
	x.most = &io.LimitedReader{R: conn}
	x.in = bufio.NewReader(x.most)
}

// counted knows how much was written.
type counted struct {
	net.Conn
	sent int64
}

// Write writes and counts.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent += int64(n)
	return n, err
}

func (x *exchange) handshake(c *tls.Config) error {
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	conn := tls.Server(x.tcp, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("the handshake failed: %w", err)
	}
	x.through(conn)
	return nil
}

// next reads a request whole.
func (x *exchange) next() error {
	x.most.N = maxRequest
	if err := x.tcp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	r, err := http.ReadRequest(x.in)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	x.call = Call{At: time.Now(), Request: r, Body: body}
	x.before = x.conn.sent
	x.number++
	return x.tcp.SetReadDeadline(time.Time{})
}

// say sends a text.
func (x *exchange) say(text string) error {
	if _, err := io.WriteString(x.conn, text); err != nil {
		return left(err)
	}
	return nil
}

// answer sends a whole answer; fields are header lines, each with its end.
func (x *exchange) answer(status, fields, body string) error {
	return x.say(fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(body), body))
}

// hold keeps the connection open until the client leaves.
func (x *exchange) hold() error {
	_, err := io.Copy(io.Discard, x.conn)
	return left(err)
}

// reset ends the connection by an RST.
func (x *exchange) reset() error {
	if tcp, is := x.tcp.(*net.TCPConn); is {
		if err := tcp.SetLinger(0); err != nil {
			return left(err)
		}
	}
	if err := x.tcp.Close(); err != nil {
		return left(err)
	}
	return errReset
}

// left says that the client ended the connection, and by what error, if any.
func left(err error) error {
	if err == nil {
		return errors.New("the client left")
	}
	return fmt.Errorf("the client left: %w", err)
}

// held sends a text and keeps the connection open.
func held(text string) func(*exchange) error {
	return func(x *exchange) error {
		if err := x.say(text); err != nil {
			return err
		}
		return x.hold()
	}
}

// closed sends a text and closes the connection.
func closed(text string) func(*exchange) error {
	return func(x *exchange) error {
		if err := x.say(text); err != nil {
			return err
		}
		return errClosed
	}
}

// answered sends a whole answer without a body.
func answered(status, fields string) func(*exchange) error {
	return func(x *exchange) error { return x.answer(status, fields, "") }
}
