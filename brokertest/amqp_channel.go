package brokertest

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// amqpChannel is one of a connection's. AMQP guards it.
type amqpChannel struct {
	connection *amqpConnection
	number     uint16
	closing    bool
	consumers  []*amqpConsumer
	prefetch   int
	unacked    map[uint64]amqpUnacked
	delivered  uint64 // the last delivery tag
	confirms   bool
	published  uint64 // the last message to confirm
	// publishing is a message that is not complete yet.
	publishing *amqpPublishing
}

// amqpUnacked is a delivery that was not acknowledged; a message that was
// fetched singly has no consumer.
type amqpUnacked struct {
	message  *amqpMessage
	queue    *amqpQueue
	consumer *amqpConsumer
}

// amqpPublishing is a message whose frames still come.
type amqpPublishing struct {
	amqpMessage
	mandatory bool
	missing   uint64
}

func (ch *amqpChannel) call(m amqpMethod, arguments ...any) {
	ch.connection.call(ch.number, m, arguments...)
}

// amqpHandlers are what a channel can be told.
var amqpHandlers = map[amqpMethod]func(*amqpChannel, *amqpArguments) error{
	channelClose:    (*amqpChannel).close,
	exchangeDeclare: (*amqpChannel).declareExchange,
	queueDeclare:    (*amqpChannel).declareQueue,
	queueBind:       (*amqpChannel).bind,
	queuePurge:      (*amqpChannel).purge,
	queueDelete:     (*amqpChannel).deleteQueue,
	basicQos:        (*amqpChannel).qos,
	basicConsume:    (*amqpChannel).consume,
	basicCancel:     (*amqpChannel).cancel,
	basicPublish:    (*amqpChannel).publish,
	basicGet:        (*amqpChannel).get,
	basicAck:        (*amqpChannel).ack,
	basicReject:     (*amqpChannel).reject,
	basicNack:       (*amqpChannel).nack,
	confirmSelect:   (*amqpChannel).confirm,
}

func (ch *amqpChannel) method(m amqpMethod, a *amqpArguments) error {
	handle, known := amqpHandlers[m]
	if !known {
		return &amqpFault{540, reason("not_implemented", "method %d.%d", m>>16, uint16(m)), m}
	}
	err := handle(ch, a)
	if a.short {
		return &amqpFault{502, reason("syntax_error", "a method of %d.%d is too short", m>>16, uint16(m)), m}
	}
	if f, is := err.(*amqpFault); is {
		f.method = m
	}
	return err
}

// refuse closes the channel with a reason.
func (ch *amqpChannel) refuse(f *amqpFault) {
	ch.end()
	ch.closing = true
	ch.call(channelClose, f.code, f.text, uint16(f.method>>16), uint16(f.method))
}

// end takes the consumers away and puts back what was not acknowledged.
func (ch *amqpChannel) end() {
	for _, c := range ch.consumers {
		c.leave()
	}
	ch.consumers = nil
	back := map[*amqpQueue][]*amqpMessage{}
	for _, u := range ch.unacked {
		u.queue.unacked--
		back[u.queue] = append(back[u.queue], u.message)
	}
	clear(ch.unacked)
	for q, messages := range back {
		q.putBack(messages...)
	}
}

func (c *amqpConsumer) leave() {
	c.queue.consumers = slices.DeleteFunc(c.queue.consumers, func(other *amqpConsumer) bool { return other == c })
}

func (ch *amqpChannel) close(*amqpArguments) error {
	ch.end()
	delete(ch.connection.channels, ch.number)
	ch.call(channelCloseOk)
	return nil
}

func (ch *amqpChannel) qos(a *amqpArguments) error {
	_, most := a.uint32(), a.uint16()
	ch.prefetch = int(most)
	ch.call(basicQosOk)
	return nil
}

func (ch *amqpChannel) consume(a *amqpArguments) error {
	_, name, tag, bits := a.uint16(), a.name(), a.name(), a.octet()
	q, known := ch.connection.host.queues[name]
	if !known {
		return noQueue(name)
	}
	if tag == "" {
		tag = fmt.Sprintf("amq.ctag-%d", len(ch.consumers)+1)
	}
	c := &amqpConsumer{tag: tag, channel: ch, queue: q, noAck: bits&2 != 0, most: ch.prefetch}
	ch.consumers, q.consumers = append(ch.consumers, c), append(q.consumers, c)
	ch.call(basicConsumeOk, tag)
	q.feed()
	return nil
}

func (ch *amqpChannel) cancel(a *amqpArguments) error {
	tag, noWait := a.name(), a.octet()&1 != 0
	ch.consumers = slices.DeleteFunc(ch.consumers, func(c *amqpConsumer) bool {
		if c.tag == tag {
			c.leave()
		}
		return c.tag == tag
	})
	if !noWait {
		ch.call(basicCancelOk, tag)
	}
	return nil
}

// deliver sends a message to a consumer.
func (ch *amqpChannel) deliver(c *amqpConsumer, m *amqpMessage) {
	ch.delivered++
	if !c.noAck {
		ch.unacked[ch.delivered] = amqpUnacked{m, c.queue, c}
		c.unacked++
		c.queue.unacked++
	}
	ch.call(basicDeliver, c.tag, ch.delivered, m.redelivered, m.exchange, m.key)
	ch.send(m)
}

// send sends the content of a message behind its method.
func (ch *amqpChannel) send(m *amqpMessage) {
	ch.connection.write(amqpFrame{amqpHeaderFrame, ch.number, m.header})
	for body := range slices.Chunk(m.body, amqpFrameMost-8) {
		ch.connection.write(amqpFrame{amqpBodyFrame, ch.number, body})
	}
}

func (ch *amqpChannel) get(a *amqpArguments) error {
	_, name, noAck := a.uint16(), a.name(), a.octet()&1 != 0
	q, known := ch.connection.host.queues[name]
	if !known {
		return noQueue(name)
	}
	if len(q.ready) == 0 {
		ch.call(basicGetEmpty, "")
		return nil
	}
	m := q.ready[0]
	q.ready = q.ready[1:]
	ch.delivered++
	if !noAck {
		ch.unacked[ch.delivered] = amqpUnacked{m, q, nil}
		q.unacked++
	}
	ch.call(basicGetOk, ch.delivered, m.redelivered, m.exchange, m.key, uint32(len(q.ready)))
	ch.send(m)
	return nil
}

// publish begins a message; its content follows.
func (ch *amqpChannel) publish(a *amqpArguments) error {
	_, exchange, key, bits := a.uint16(), a.name(), a.name(), a.octet()
	ch.publishing = &amqpPublishing{amqpMessage: amqpMessage{exchange: exchange, key: key}, mandatory: bits&1 != 0}
	return nil
}

// content takes a frame of a message's content.
func (ch *amqpChannel) content(f amqpFrame) error {
	p := ch.publishing
	switch {
	case p == nil || (f.kind == amqpHeaderFrame) != (p.header == nil):
		return &amqpFault{505, reason("unexpected_frame", "kind %d", f.kind), 0}
	case f.kind == amqpHeaderFrame:
		if len(f.payload) < 14 {
			return &amqpFault{502, reason("syntax_error", "a header of %d bytes", len(f.payload)), 0}
		}
		p.header, p.missing = f.payload, binary.BigEndian.Uint64(f.payload[4:])
	default:
		p.body = append(p.body, f.payload...)
		p.missing -= min(p.missing, uint64(len(f.payload)))
	}
	if p.missing > 0 {
		return nil
	}
	ch.publishing = nil
	return ch.complete(p)
}

// complete routes a message that is complete.
func (ch *amqpChannel) complete(p *amqpPublishing) error {
	n, known := ch.connection.host.route(p.amqpMessage)
	if !known {
		return &amqpFault{404, reason("not_found", "no exchange '%s' in vhost '/'", p.exchange), basicPublish}
	}
	if n == 0 && p.mandatory {
		ch.call(basicReturn, uint16(312), "NO_ROUTE", p.exchange, p.key)
		ch.send(&p.amqpMessage)
	}
	if ch.confirms {
		ch.published++
		ch.call(basicAck, ch.published, false)
	}
	return nil
}

func (ch *amqpChannel) confirm(*amqpArguments) error {
	ch.confirms = true
	ch.call(confirmSelectOk)
	return nil
}
