package brokertest

import (
	"slices"
	"strings"
)

// amqpMessage is a message in a queue. Its properties stay as they came.
type amqpMessage struct {
	exchange, key string
	header        []byte // the payload of the header frame
	body          []byte
	// number is its place in its queue.
	number      uint64
	redelivered bool
}

// amqpQueue is a queue. AMQP guards it.
type amqpQueue struct {
	name      string
	durable   bool
	arguments []byte // a table
	ready     []*amqpMessage
	last      uint64
	// consumers take turns.
	consumers []*amqpConsumer
	unacked   int
}

// amqpConsumer gets the messages of a queue, so many at a time; 0: all.
type amqpConsumer struct {
	tag     string
	channel *amqpChannel
	queue   *amqpQueue
	noAck   bool
	most    int
	unacked int
}

func (c *amqpConsumer) hungry() bool { return c.noAck || c.most == 0 || c.unacked < c.most }

// add puts a message behind all others.
func (q *amqpQueue) add(m amqpMessage) {
	q.last++
	m.number, m.redelivered = q.last, false
	q.ready = append(q.ready, &m)
	q.feed()
}

// putBack returns messages to their places.
func (q *amqpQueue) putBack(messages ...*amqpMessage) {
	for _, m := range messages {
		m.redelivered = true
	}
	q.ready = append(slices.Clone(q.ready), messages...)
	slices.SortFunc(q.ready, func(a, b *amqpMessage) int { return int(int64(a.number) - int64(b.number)) })
	q.feed()
}

// feed gives the consumers what they may have.
func (q *amqpQueue) feed() {
	for len(q.ready) > 0 {
		at := slices.IndexFunc(q.consumers, (*amqpConsumer).hungry)
		if at < 0 {
			return
		}
		c, m := q.consumers[at], q.ready[0]
		q.ready = q.ready[1:]
		q.consumers = append(slices.Delete(q.consumers, at, at+1), c)
		c.channel.deliver(c, m)
	}
}

// amqpExchange routes by its kind.
type amqpExchange struct {
	kind     string
	bindings []amqpBinding
}

type amqpBinding struct {
	key   string
	queue string
}

// routes are the queues that a key leads to, each once.
func (x *amqpExchange) routes(key string) []string {
	var names []string
	for _, b := range x.bindings {
		if x.leads(b.key, key) && !slices.Contains(names, b.queue) {
			names = append(names, b.queue)
		}
	}
	return names
}

func (x *amqpExchange) leads(binding, key string) bool {
	switch x.kind {
	case "fanout":
		return true
	case "topic":
		return topicMatches(strings.Split(binding, "."), strings.Split(key, "."))
	}
	return binding == key
}

// topicMatches: * is one word, # is any number of them.
func topicMatches(pattern, words []string) bool {
	switch {
	case len(pattern) == 0:
		return len(words) == 0
	case pattern[0] == "#":
		return topicMatches(pattern[1:], words) || (len(words) > 0 && topicMatches(pattern, words[1:]))
	case len(words) == 0 || (pattern[0] != "*" && pattern[0] != words[0]):
		return false
	}
	return topicMatches(pattern[1:], words[1:])
}

// amqpHost is a virtual host.
type amqpHost struct {
	queues    map[string]*amqpQueue
	exchanges map[string]*amqpExchange
}

func newAMQPHost() *amqpHost {
	return &amqpHost{queues: map[string]*amqpQueue{}, exchanges: map[string]*amqpExchange{
		"amq.direct": {kind: "direct"}, "amq.fanout": {kind: "fanout"}, "amq.topic": {kind: "topic"},
	}}
}

// route puts a message into the queues that it is for, and tells how many
// those are; false: there is no such exchange.
func (h *amqpHost) route(m amqpMessage) (int, bool) {
	names := []string{m.key} // the exchange without a name has every queue by its name
	if m.exchange != "" {
		x, known := h.exchanges[m.exchange]
		if !known {
			return 0, false
		}
		names = x.routes(m.key)
	}
	n := 0
	for _, name := range names {
		if q, known := h.queues[name]; known {
			q.add(m)
			n++
		}
	}
	return n, true
}

// drop ends a message that was refused: its queue may name an exchange for
// those.
func (h *amqpHost) drop(q *amqpQueue, m *amqpMessage) {
	if to := amqpText(q.arguments, "x-dead-letter-exchange"); to != "" {
		dead := *m
		dead.exchange = to
		h.route(dead)
	}
}

func (h *amqpHost) deleteQueue(name string) *amqpQueue {
	q := h.queues[name]
	delete(h.queues, name)
	for _, x := range h.exchanges {
		x.bindings = slices.DeleteFunc(x.bindings, func(b amqpBinding) bool { return b.queue == name })
	}
	return q
}
