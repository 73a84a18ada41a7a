package sources

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	millrace "github.com/millrace-dev/millrace"
)

const (
	// amqpWorkers is how many messages a queue has in flight unless its source
	// says so: what one group commit of the store takes at a time.
	amqpWorkers = 100
	// amqpHeartbeat finds a broker that went without a word within half as
	// long again.
	amqpHeartbeat = 10 * time.Second
	// amqpHandshake bounds connecting and logging in.
	amqpHandshake = 10 * time.Second
	// amqpFrame is the largest frame, as RabbitMQ has it.
	amqpFrame = 128 << 10
	// amqpLagEvery is how often the queue's length is asked for.
	amqpLagEvery = 10 * time.Second
)

// amqpBroker reads a queue of an AMQP 0.9.1 broker such as RabbitMQ.
type amqpBroker struct {
	*link
	source millrace.Source
	queue  millrace.AMQPSource
	// tls is how amqps is spoken.
	tls                 *tls.Config
	heartbeat, lagEvery time.Duration
}

func newAMQP(c BrokerConfig) *amqpBroker {
	b := &amqpBroker{
		link: newLink(c, c.workers(amqpWorkers)), source: c.Source, queue: *c.Source.PubSub.AMQP,
		heartbeat: amqpHeartbeat, lagEvery: amqpLagEvery,
	}
	b.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	b.connection = b.read
	return b
}

// read is one connection. What it handed on is let go when it breaks: the
// broker delivers it again.
func (b *amqpBroker) read(ctx context.Context, e *emitter) error {
	conn, err := b.dial(ctx)
	if err != nil {
		return err
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	defer func() { _ = conn.CloseDeadline(time.Now().Add(b.parting)) }() // it may be broken
	// The library waits for an answer as long as the connection has heartbeats.
	hurry := context.AfterFunc(ctx, func() { _ = conn.CloseDeadline(time.Now()) }) // it is of no use
	c, err := b.begin(conn)
	hurry()
	if err != nil {
		return err
	}
	connected, broke := context.WithCancelCause(context.Background())
	defer broke(nil)
	open, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(connected, end)()
	beside.Go(func() { c.watch(connected, broke) })
	beside.Go(func() { b.measure(connected, conn) })
	b.healthy()
	b.handOn(open, connected, e, c.deliveries)
	if ctx.Err() == nil {
		return context.Cause(connected)
	}
	_ = c.channel.Cancel(c.tag, true) // broken: nothing comes any more
	e.inFlight.Wait()
	return nil
}

// begin makes the queue what it should be, and subscribes to it.
func (b *amqpBroker) begin(conn *amqp.Connection) (*amqpConsumer, error) {
	if err := b.prepare(conn); err != nil {
		return nil, err
	}
	return b.consume(conn)
}

// dial connects and logs in.
func (b *amqpBroker) dial(ctx context.Context) (*amqp.Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, amqpHandshake)
	defer cancel()
	conn, err := b.config.dial(ctx, "tcp", b.queue.HostPort())
	if err != nil {
		return nil, fmt.Errorf("the broker cannot be reached: %w", err)
	}
	// Once it is logged in, the connection has no deadline but its heartbeats.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if b.queue.Schema == "amqps" {
		if conn, err = secured(ctx, conn, b.tls, b.queue.HostPort()); err != nil {
			return nil, fmt.Errorf("no TLS connection to the broker: %w", err)
		}
	}
	logged, err := amqp.Open(newAMQPBound(conn, b.config.mostBytes()), b.login())
	if err != nil {
		_ = conn.Close() // it is of no use
		return nil, inWords("log in", cmp.Or(ctx.Err(), err))
	}
	return logged, nil
}

func (b *amqpBroker) login() amqp.Config {
	// What every broker begins with, as clients take it when told nothing.
	user := amqp.PlainAuth{Username: "guest", Password: "guest"}
	if a := b.queue.Auth; a != nil {
		user = amqp.PlainAuth{Username: a.User, Password: string(a.Password)}
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("millrace, source " + b.source.ID.String())
	return amqp.Config{
		SASL: []amqp.Authentication{&user}, Vhost: cmp.Or(b.queue.VHost, "/"), Heartbeat: b.heartbeat, FrameSize: amqpFrame,
		Locale: "en_US", Properties: properties,
	}
}

// prepare finds the queue, makes it where there is none, and binds it.
func (b *amqpBroker) prepare(conn *amqp.Connection) error {
	name := b.queue.Queue
	err := onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
	// An existing queue stays as it is: declaring it otherwise is refused.
	var refused *amqp.Error
	if errors.As(err, &refused) && refused.Code == amqp.NotFound {
		err = onChannel(conn, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(name, true, false, false, false, b.arguments())
			return err
		})
	}
	if err != nil {
		return inWords(fmt.Sprintf("declare the queue %q", name), err)
	}
	bind := b.queue.Bind
	if bind == nil {
		return nil
	}
	err = onChannel(conn, func(ch *amqp.Channel) error { return ch.QueueBind(name, bind.RoutingKey, bind.Exchange, false, nil) })
	if err != nil {
		return inWords(fmt.Sprintf("bind the queue %q to the exchange %q", name, bind.Exchange), err)
	}
	return nil
}

// arguments are those of a queue that is made here.
func (b *amqpBroker) arguments() amqp.Table {
	if b.queue.DeadLetterExchange == "" {
		return nil
	}
	return amqp.Table{"x-dead-letter-exchange": b.queue.DeadLetterExchange}
}

// onChannel does one thing on a channel of its own: what is refused closes the
// channel.
func onChannel(conn *amqp.Connection, do func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := do(ch); err != nil {
		return err
	}
	return ch.Close()
}

// amqpConsumer is a channel that a queue's messages come by.
type amqpConsumer struct {
	channel    *amqp.Channel
	tag        string
	deliveries <-chan amqp.Delivery
	closed     <-chan *amqp.Error
	cancelled  <-chan string
}

func (b *amqpBroker) consume(conn *amqp.Connection) (*amqpConsumer, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, inWords("open a channel", err)
	}
	c := &amqpConsumer{
		channel: ch, tag: "millrace-" + b.source.ID.String(),
		closed: ch.NotifyClose(make(chan *amqp.Error, 1)), cancelled: ch.NotifyCancel(make(chan string, 1)),
	}
	if err := ch.Qos(b.workers, 0, false); err != nil {
		return nil, inWords("bound what is in flight", err)
	}
	if c.deliveries, err = ch.Consume(b.queue.Queue, c.tag, false, false, false, false, nil); err != nil {
		return nil, inWords(fmt.Sprintf("read the queue %q", b.queue.Queue), err)
	}
	return c, nil
}

// watch tells why no more messages come.
func (c *amqpConsumer) watch(connected context.Context, broke context.CancelCauseFunc) {
	select {
	case err := <-c.closed:
		if err == nil {
			err = amqp.ErrClosed
		}
		broke(inWords("keep the connection", err))
	case <-c.cancelled:
		broke(errors.New("the broker ended the subscription: the queue was deleted, or moved"))
	case <-connected.Done():
	}
}

// handOn passes on what comes until the connection or the source ends.
func (b *amqpBroker) handOn(open, connected context.Context, e *emitter, deliveries <-chan amqp.Delivery) {
	for e.reserve(open) {
		select {
		case d, more := <-deliveries:
			if more {
				e.emit(open, b.message(d).messageIn(connected), func(acked bool) { settle(d, acked) })
				continue
			}
			deliveries = nil // why, watch is about to say
			e.release()
		case <-open.Done():
			e.release()
			return
		}
	}
}

// settle acknowledges a message that was stored. One that was not goes back
// to its queue when its channel closes, which is then about to happen; so does
// one whose acknowledgement gets lost.
func settle(d amqp.Delivery, acked bool) {
	if acked {
		_ = d.Ack(false)
	}
}

// measure notes how many messages wait in the queue.
func (b *amqpBroker) measure(ctx context.Context, conn *amqp.Connection) {
	ch, err := conn.Channel()
	for ; err == nil && ctx.Err() == nil; pause(ctx, b.lagEvery) {
		var q amqp.Queue
		if q, err = ch.QueueDeclarePassive(b.queue.Queue, true, false, false, false, nil); err == nil {
			b.lag(int64(q.Messages))
		}
	}
}

// inWords says what the broker refused. The client's own words for it name Go
// types.
func inWords(what string, err error) error {
	var refused *amqp.Error
	switch {
	case !errors.As(err, &refused):
		return fmt.Errorf("cannot %s: %w", what, err)
	case refused.Server:
		return fmt.Errorf("cannot %s: the broker says %s", what, refused.Reason)
	}
	return fmt.Errorf("cannot %s: %s", what, refused.Reason)
}
