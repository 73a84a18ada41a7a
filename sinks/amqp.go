package sinks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/millrace-dev/millrace"
)

// amqpExchanges publishes to exchanges of AMQP 0.9.1 brokers. It uses amqp091
// and not watermill-amqp, whose publisher waits for confirms without an end,
// declares exchanges and tells nothing of messages that no queue took
// (docs/adr/0014); any Watermill subscriber reads what it writes.
type amqpExchanges struct {
	config  Config
	proxies *proxies
	clients *kept[amqpKey, *amqpClient]
}

// amqpKey is what endpoints share that share a connection. The exchange is
// part of it: a broker closes the channel of whoever names one that is not
// there.
type amqpKey struct {
	schema, address, user, password, vhost, exchange string
	secure                                           credentials
}

func newAMQP(config Config, p *proxies) *amqpExchanges {
	return &amqpExchanges{config: config, proxies: p, clients: newKept[amqpKey](config.clients(), (*amqpClient).close)}
}

func (x *amqpExchanges) close() { x.clients.clear() }

func (x *amqpExchanges) publish(ctx context.Context, p posting) (placed, *dialError) {
	sink := p.endpoint.Sink.AMQP
	m, err := newAMQPMessage(p)
	if err != nil {
		return placed{}, outcomeWith(millrace.OutcomeUnsendable, "%s", sentence(err))
	}
	key := amqpKey{
		schema: sink.Schema, address: sink.HostPort(), user: sink.Auth.User, password: sink.Auth.Password.Reveal(), vhost: sink.VirtualHost(),
		exchange: sink.Exchange, secure: secureOf(p.endpoint),
	}
	c, back, err := x.clients.use(key, func() (*amqpClient, error) { return newAMQPClient(key, x.proxies) })
	if err != nil {
		return placed{}, unusable(err)
	}
	if err := c.send(ctx, m); err != nil {
		why := c.line.why(ctx, p, err, func(err error) *dialError { return amqpRefusal(ctx, err, m) })
		back(why.outcome == millrace.OutcomeTimeout || why.ours)
		return placed{}, why
	}
	back(false)
	return placed{peer: c.line.peer(), where: amqpPlace{Exchange: key.exchange, RoutingKey: m.key}}, nil
}

// amqpPlace is where a message went.
type amqpPlace struct {
	Exchange   string `json:"exchange"`
	RoutingKey string `json:"routing_key"`
}

// amqpMessage is a message and how it is routed.
type amqpMessage struct {
	key string
	amqp091.Publishing
}

// shortest is how long AMQP's short strings may be.
const shortest = 255

func newAMQPMessage(p posting) (amqpMessage, error) {
	m := amqpMessage{key: cmp.Or(p.endpoint.Sink.AMQP.RoutingKey, p.eventType)}
	if len(m.key) > shortest {
		return m, fmt.Errorf("the routing key has more than %d bytes", shortest)
	}
	m.Publishing = amqp091.Publishing{
		Headers: amqp091.Table{headerUUID: p.message.UUID}, ContentType: p.message.Metadata["content-type"], DeliveryMode: amqp091.Persistent,
		MessageId: p.message.UUID, Timestamp: time.Now(), Body: p.message.Payload,
	}
	for name, value := range p.message.Metadata {
		if len(name) > shortest {
			return m, fmt.Errorf("the header %.60q has more than %d bytes in its name", name, shortest)
		}
		m.Headers[name] = value
	}
	return m, nil
}

// Why a message was not taken though the connection stands.
var (
	errNack     = errors.New("the broker could not keep the message")
	errUnrouted = errors.New("no queue took the message")
)

// amqpRefusal knows what a broker says against a message.
func amqpRefusal(ctx context.Context, err error, m amqpMessage) *dialError {
	var said *amqp091.Error
	switch {
	case errors.Is(err, errUnrouted):
		return outcomeWith(millrace.OutcomeMissing, "No queue is bound to the exchange for the routing key %q.", m.key)
	case errors.Is(err, errNack):
		return outcomeWith(millrace.OutcomeServerError, "The broker could not keep the message (nack).")
	case ctx.Err() != nil || !errors.As(err, &said):
		return nil
	}
	switch said.Code {
	case amqp091.AccessRefused:
		return outcomeWith(millrace.OutcomeAuthentication, "The broker refused the endpoint's credentials (ACCESS_REFUSED).")
	case amqp091.NotAllowed, amqp091.InvalidPath:
		return outcomeWith(millrace.OutcomeMissing, "The broker has no such vhost, or the endpoint's user may not use it (NOT_ALLOWED).")
	case amqp091.NotFound:
		return outcomeWith(millrace.OutcomeMissing, "The broker has no such exchange (NOT_FOUND).")
	case amqp091.PreconditionFailed, amqp091.ContentTooLarge:
		// The channel of all was closed for one of them.
		if strings.Contains(said.Reason, fmt.Sprintf("message size %d ", len(m.Body))) {
			return outcomeWith(millrace.OutcomeTooLarge, "The message is larger than the broker takes (%d).", said.Code)
		}
	}
	if !said.Server {
		return nil
	}
	return outcomeWith(millrace.OutcomeServerError, "The broker ended the connection (%d).", said.Code)
}
