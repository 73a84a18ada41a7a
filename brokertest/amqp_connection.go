package brokertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// amqpFault is a refusal, which closes the channel; or the connection, where
// the code says so.
type amqpFault struct {
	code   uint16
	text   string
	method amqpMethod
}

// Error is the text that a client gets.
func (f *amqpFault) Error() string { return f.text }

// hard tells whether the whole connection ends.
func (f *amqpFault) hard() bool {
	switch f.code {
	case 311, 313, 403, 404, 405, 406:
		return false
	}
	return true
}

// amqpConnection is one client's. AMQP guards what is behind the line.
type amqpConnection struct {
	server *AMQP
	conn   net.Conn
	in     *bufio.Reader
	// heartbeat is what the client asked for; 0: none.
	heartbeat time.Duration

	out     chan struct{} // there is something to send
	ended   chan struct{}
	sending sync.WaitGroup

	outbox   []byte
	host     *amqpHost
	channels map[uint16]*amqpChannel
}

func newAMQPConnection(a *AMQP, conn net.Conn) *amqpConnection {
	return &amqpConnection{
		server: a, conn: conn, in: bufio.NewReader(conn), out: make(chan struct{}, 1), ended: make(chan struct{}),
		channels: map[uint16]*amqpChannel{},
	}
}

// serve speaks with the client until either ends it.
func (c *amqpConnection) serve() {
	c.sending.Go(c.send)
	if err := c.greet(); err == nil {
		_ = c.listen() // why the client went is its own affair
	}
	c.server.mu.Lock()
	for _, ch := range c.channels {
		ch.end()
	}
	delete(c.server.open, c)
	c.server.mu.Unlock()
	close(c.ended)
	c.sending.Wait()
}

// send writes what is to be sent, and heartbeats between, and at the end what
// is left.
func (c *amqpConnection) send() {
	defer func() { _ = c.conn.Close() }() // all is said
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for last := time.Now(); ; {
		ended := false
		select {
		case <-c.out:
		case <-c.ended:
			ended = true
		case <-beat.C:
			if c.silent(last) {
				c.queue(amqpFrame{kind: amqpHeartbeatFrame})
			}
		}
		c.server.mu.Lock()
		batch := c.outbox
		c.outbox = nil
		c.server.mu.Unlock()
		if len(batch) > 0 {
			last = time.Now()
			if _, err := c.conn.Write(batch); err != nil {
				return
			}
		}
		if ended {
			return
		}
	}
}

// silent tells whether it is time for a heartbeat.
func (c *amqpConnection) silent(last time.Time) bool {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.heartbeat > 0 && time.Since(last) >= c.heartbeat/2
}

func (c *amqpConnection) queue(f amqpFrame) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.write(f)
}

// write queues a frame. The server's lock is held.
func (c *amqpConnection) write(f amqpFrame) {
	c.outbox = f.append(c.outbox)
	select {
	case c.out <- struct{}{}:
	default:
	}
}

// call queues a method. The server's lock is held.
func (c *amqpConnection) call(channel uint16, m amqpMethod, arguments ...any) {
	c.write(amqpFrame{amqpMethodFrame, channel, amqpWords(m, arguments...)})
}

// await reads the next frame, which must be this method.
func (c *amqpConnection) await(want amqpMethod) (*amqpArguments, error) {
	f, err := readAMQPFrame(c.in)
	if err != nil {
		return nil, err
	}
	a := &amqpArguments{rest: f.payload}
	if got := amqpMethod(a.uint32()); f.kind != amqpMethodFrame || got != want {
		return nil, fmt.Errorf("method %x came instead of %x", got, want)
	}
	return a, nil
}

// greet goes from the protocol's header to an open virtual host.
func (c *amqpConnection) greet() error {
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // a socket's never fails
	var header [8]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil || string(header[:]) != "AMQP\x00\x00\x09\x01" {
		return errors.New("it is not AMQP 0.9.1")
	}
	c.methodNow(connectionStart, uint8(0), uint8(9), []byte{}, []byte("PLAIN"), []byte("en_US"))
	a, err := c.await(connectionStartOk)
	if err != nil {
		return err
	}
	a.bytes() // what the client says of itself
	if mechanism, login := a.name(), string(a.bytes()); mechanism != "PLAIN" || login != "\x00guest\x00guest" {
		return errors.New("it is not let in") // which RabbitMQ says only to clients that claim to understand
	}
	c.methodNow(connectionTune, uint16(2047), uint32(amqpFrameMost), uint16(60))
	if a, err = c.await(connectionTuneOk); err != nil {
		return err
	}
	_, _, beat := a.uint16(), a.uint32(), a.uint16()
	if a, err = c.await(connectionOpen); err != nil {
		return err
	}
	name := a.name()
	if !c.enter(name, time.Duration(beat)*time.Second) {
		return c.refuse(&amqpFault{530, fmt.Sprintf("NOT_ALLOWED - vhost %s not found", name), connectionOpen})
	}
	c.methodNow(connectionOpenOk, "")
	return nil
}

// enter finds the virtual host.
func (c *amqpConnection) enter(name string, beat time.Duration) bool {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.host, c.heartbeat = c.server.hosts[name], beat
	return c.host != nil
}

func (c *amqpConnection) methodNow(m amqpMethod, arguments ...any) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.call(0, m, arguments...)
}

// refuse ends the connection with a reason, and waits for the client to have
// heard it.
func (c *amqpConnection) refuse(f *amqpFault) error {
	c.methodNow(connectionClose, f.code, f.text, uint16(f.method>>16), uint16(f.method))
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // a socket's never fails
	for {
		heard, err := readAMQPFrame(c.in)
		if err != nil || (heard.kind == amqpMethodFrame && binary.BigEndian.Uint32(heard.payload) == uint32(connectionCloseOk)) {
			return f
		}
	}
}

// listen does what the client says, frame by frame.
func (c *amqpConnection) listen() error {
	for {
		var patience time.Time
		if c.heartbeat > 0 {
			patience = time.Now().Add(2 * c.heartbeat)
		}
		_ = c.conn.SetReadDeadline(patience) // a socket's never fails
		f, err := readAMQPFrame(c.in)
		if err != nil {
			return err
		}
		if f.kind == amqpHeartbeatFrame {
			continue
		}
		if err := c.do(f); err != nil {
			return err
		}
	}
}

// do does one frame: an error ends the connection.
func (c *amqpConnection) do(f amqpFrame) error {
	c.server.mu.Lock()
	err := c.dispatch(f)
	var fault *amqpFault
	if errors.As(err, &fault) && !fault.hard() {
		c.channels[f.channel].refuse(fault)
		err = nil
	}
	c.server.mu.Unlock()
	if fault != nil && fault.hard() {
		return c.refuse(fault)
	}
	return err
}

// dispatch does one frame. The server's lock is held.
func (c *amqpConnection) dispatch(f amqpFrame) error {
	a := &amqpArguments{rest: f.payload}
	var m amqpMethod
	if f.kind == amqpMethodFrame {
		m = amqpMethod(a.uint32())
	}
	switch ch := c.channels[f.channel]; {
	case m == connectionClose:
		c.call(0, connectionCloseOk)
		return io.EOF
	case m == channelOpen:
		c.channels[f.channel] = &amqpChannel{connection: c, number: f.channel, unacked: map[uint64]amqpUnacked{}}
		c.call(f.channel, channelOpenOk, []byte{})
		return nil
	case m == channelCloseOk:
		delete(c.channels, f.channel)
		return nil
	case ch == nil:
		return &amqpFault{504, "CHANNEL_ERROR - expected 'channel.open'", m}
	case ch.closing && m != channelClose:
		return nil // said before the client knew
	case f.kind == amqpMethodFrame:
		return ch.method(m, a)
	default:
		return ch.content(f)
	}
}

// reason writes a refusal as RabbitMQ does.
func reason(name, format string, arguments ...any) string {
	return strings.ToUpper(name) + " - " + fmt.Sprintf(format, arguments...)
}
