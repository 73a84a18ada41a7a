package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rabbitmq/amqp091-go"
)

// amqpClient is a connection to a broker, with the one channel that all
// messages to an exchange go by. Both are made when they are first needed and
// after they were lost.
type amqpClient struct {
	key  amqpKey
	line *line
	// turn is held by whoever looks for the channel, or makes it.
	turn chan struct{}
	conn atomic.Pointer[amqp091.Connection]
	open *amqpChannel
	// failure is why the last look for a channel found none, and when: it is
	// the answer to all that waited for their turn meanwhile. Brokers may take
	// seconds to refuse credentials.
	failure  error
	failedAt time.Time
	// work is what is on its way: it may hang until the line is cut.
	work sync.WaitGroup
}

// Times of a connection.
const (
	amqpHeartbeat = 10 * time.Second
	amqpGoodbye   = time.Second
)

func newAMQPClient(key amqpKey, p *proxies) (*amqpClient, error) {
	var secure *tls.Config
	if key.schema == "amqps" {
		var err error
		if secure, err = key.secure.tls(); err != nil {
			return nil, err
		}
	}
	return &amqpClient{key: key, line: newLine(p, secure), turn: make(chan struct{}, 1)}, nil
}

// send publishes a message and waits for the broker's confirmation, to the end
// of ctx: the library itself waits for as long as the connection stands.
func (c *amqpClient) send(ctx context.Context, m amqpMessage) error {
	done := make(chan error, 1)
	c.work.Go(func() { done <- c.publish(ctx, m) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *amqpClient) publish(ctx context.Context, m amqpMessage) error {
	ch, err := c.channel(ctx)
	if err != nil {
		return plainAMQP(err)
	}
	return plainAMQP(ch.publish(ctx, c.key.exchange, m))
}

// plainAMQP makes of what the library says about a connection that was cut an
// error that says so.
func plainAMQP(err error) error {
	var said *amqp091.Error
	if errors.As(err, &said) && !said.Server && said.Code != amqp091.AccessRefused {
		return fmt.Errorf("%w: %w", errEnded, err)
	}
	return err
}

// channel is the channel that is open, or a new one.
func (c *amqpClient) channel(ctx context.Context) (*amqpChannel, error) {
	began := time.Now()
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.turn }()
	if c.open != nil && !c.open.IsClosed() {
		return c.open, nil
	}
	if c.failure != nil && c.failedAt.After(began) {
		return nil, c.failure
	}
	ch, err := c.reopen(ctx)
	if ctx.Err() == nil { // else it is the deadline of one, and tells nothing of the others
		c.failure, c.failedAt = err, time.Now()
	}
	return ch, err
}

// reopen makes a channel, and a connection where there is none. The caller has
// the turn.
func (c *amqpClient) reopen(ctx context.Context) (*amqpChannel, error) {
	conn := c.conn.Load()
	if conn == nil || conn.IsClosed() {
		var err error
		if conn, err = c.connect(ctx); err != nil {
			return nil, err
		}
		c.conn.Store(conn)
	}
	ch, err := openAMQPChannel(conn)
	if err != nil {
		return nil, err
	}
	c.work.Go(ch.watch)
	c.open = ch
	return ch, nil
}

// connect connects and proves who we are, to the end of ctx.
func (c *amqpClient) connect(ctx context.Context) (*amqp091.Connection, error) {
	raw, err := c.line.dial(ctx, c.key.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := amqp091.Open(raw, amqp091.Config{
		SASL: []amqp091.Authentication{&amqp091.PlainAuth{Username: c.key.user, Password: c.key.password}}, Vhost: c.key.vhost,
		Heartbeat: amqpHeartbeat, Locale: "en_US", Properties: amqp091.Table{"product": "Millrace"},
	})
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, keepOpen(raw, stop)
}

// keepOpen takes the end of the handshake's ctx off the connection.
func keepOpen(raw net.Conn, stop func() bool) error {
	if !stop() {
		return errors.Join(context.DeadlineExceeded, raw.Close())
	}
	return nil
}

// close says goodbye where the broker listens, and cuts the rest.
func (c *amqpClient) close() {
	if conn := c.conn.Load(); conn != nil && !conn.IsClosed() {
		_ = conn.CloseDeadline(time.Now().Add(amqpGoodbye)) // cut below in any case
	}
	c.line.cut()
	c.work.Wait()
}

// amqpChannel is a channel whose publishings are confirmed. A message that no
// queue takes is returned before it is confirmed; watch notes it.
type amqpChannel struct {
	*amqp091.Channel
	returns chan amqp091.Return
	closes  chan *amqp091.Error
	asks    chan amqpAsk
	ended   chan struct{}
	why     *amqp091.Error // set before ended is closed
}

// amqpAsk asks whether a message was returned.
type amqpAsk struct {
	message string
	answer  chan bool
}

func openAMQPChannel(conn *amqp091.Connection) (*amqpChannel, error) {
	raw, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := raw.Confirm(false); err != nil {
		return nil, err
	}
	ch := &amqpChannel{Channel: raw, asks: make(chan amqpAsk), ended: make(chan struct{})}
	// Unbuffered, so that a return is taken before the confirmation behind it.
	ch.returns = raw.NotifyReturn(make(chan amqp091.Return))
	ch.closes = raw.NotifyClose(make(chan *amqp091.Error, 1))
	return ch, nil
}

// watch notes what is returned, until the channel ends.
func (ch *amqpChannel) watch() {
	defer close(ch.ended)
	returned, returns := map[string]int{}, ch.returns
	for {
		select {
		case r, open := <-returns:
			if !open {
				returns = nil
				continue
			}
			returned[r.MessageId+"\n"+r.RoutingKey]++
		case ask := <-ch.asks:
			n := returned[ask.message]
			if ask.answer <- n > 0; n > 1 {
				returned[ask.message]--
			} else {
				delete(returned, ask.message)
			}
		case ch.why = <-ch.closes:
			return
		}
	}
}

func (ch *amqpChannel) publish(ctx context.Context, exchange string, m amqpMessage) error {
	confirmation, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, m.key, true, false, m.Publishing)
	if err != nil {
		return ch.reason(err)
	}
	kept, err := confirmation.WaitContext(ctx)
	switch {
	case err != nil:
		return err
	case !kept && ch.IsClosed():
		return ch.reason(errEnded)
	case !kept:
		return errNack
	case ch.returned(m):
		return errUnrouted
	}
	return nil
}

// reason is why the channel ended, where that is known.
func (ch *amqpChannel) reason(otherwise error) error {
	if !ch.IsClosed() {
		return otherwise
	}
	<-ch.ended // the library has closed it, and tells so
	if ch.why != nil {
		return ch.why
	}
	return otherwise
}

// returned tells whether a message that was confirmed had been returned. Those
// of one id and one key have one fate.
func (ch *amqpChannel) returned(m amqpMessage) bool {
	ask := amqpAsk{message: m.MessageId + "\n" + m.key, answer: make(chan bool, 1)}
	select {
	case ch.asks <- ask:
		return <-ask.answer
	case <-ch.ended:
		return false
	}
}
