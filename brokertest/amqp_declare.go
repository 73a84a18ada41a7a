package brokertest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

func (ch *amqpChannel) declareExchange(a *amqpArguments) error {
	_, name, kind, bits := a.uint16(), a.name(), a.name(), a.octet()
	x, known := ch.connection.host.exchanges[name]
	switch passive := bits&1 != 0; {
	case passive && !known:
		return &amqpFault{404, reason("not_found", "no exchange '%s' in vhost '/'", name), 0}
	case known && !passive && x.kind != kind:
		return &amqpFault{406, reason("precondition_failed", "inequivalent arg 'type' for exchange '%s'", name), 0}
	case !known && kind != "direct" && kind != "fanout" && kind != "topic":
		return &amqpFault{540, reason("not_implemented", "exchange type '%s'", kind), 0}
	case !known:
		ch.connection.host.exchanges[name] = &amqpExchange{kind: kind}
	}
	ch.call(exchangeDeclareOk)
	return nil
}

func (ch *amqpChannel) declareQueue(a *amqpArguments) error {
	_, name, bits, arguments := a.uint16(), a.name(), a.octet(), a.bytes()
	passive, durable := bits&1 != 0, bits&2 != 0
	queues := ch.connection.host.queues
	generated := name == ""
	if generated {
		name = fmt.Sprintf("amq.gen-%d", len(queues)+1)
	}
	q, known := queues[name]
	switch {
	case passive && !known:
		return noQueue(name)
	case known && !passive && (q.durable != durable || !bytes.Equal(q.arguments, arguments)):
		return &amqpFault{406, reason("precondition_failed", "inequivalent arg for queue '%s' in vhost '/'", name), 0}
	case !known && strings.HasPrefix(name, "amq.") && !generated:
		return &amqpFault{403, reason("access_refused", "queue name '%s' contains reserved prefix 'amq.*'", name), 0}
	case !known:
		q = &amqpQueue{name: name, durable: durable, arguments: bytes.Clone(arguments)}
		queues[name] = q
	}
	ch.call(queueDeclareOk, name, uint32(len(q.ready)), uint32(len(q.consumers)))
	return nil
}

func noQueue(name string) *amqpFault {
	return &amqpFault{404, reason("not_found", "no queue '%s' in vhost '/'", name), 0}
}

func (ch *amqpChannel) bind(a *amqpArguments) error {
	_, queue, exchange, key := a.uint16(), a.name(), a.name(), a.name()
	if _, known := ch.connection.host.queues[queue]; !known {
		return noQueue(queue)
	}
	x, known := ch.connection.host.exchanges[exchange]
	if !known {
		return &amqpFault{404, reason("not_found", "no exchange '%s' in vhost '/'", exchange), 0}
	}
	if b := (amqpBinding{key, queue}); !slices.Contains(x.bindings, b) {
		x.bindings = append(x.bindings, b)
	}
	ch.call(queueBindOk)
	return nil
}

func (ch *amqpChannel) purge(a *amqpArguments) error {
	_, name := a.uint16(), a.name()
	q, known := ch.connection.host.queues[name]
	if !known {
		return noQueue(name)
	}
	n := len(q.ready)
	q.ready = nil
	ch.call(queuePurgeOk, uint32(n))
	return nil
}

// deleteQueue tells the consumers of a queue that it is gone.
func (ch *amqpChannel) deleteQueue(a *amqpArguments) error {
	_, name := a.uint16(), a.name()
	n := 0
	if q := ch.connection.host.deleteQueue(name); q != nil {
		n = len(q.ready)
		for _, c := range q.consumers {
			c.channel.call(basicCancel, c.tag, true)
			c.channel.consumers = slices.DeleteFunc(c.channel.consumers, func(other *amqpConsumer) bool { return other == c })
		}
		q.consumers = nil
	}
	ch.call(queueDeleteOk, uint32(n))
	return nil
}
