package brokertest

import (
	"net"
	"sync"
	"testing"
)

// AMQP is a broker of AMQP 0.9.1 as RabbitMQ speaks it: virtual hosts, direct,
// fanout and topic exchanges, queues with a dead-letter exchange, prefetch,
// redelivery, returns, confirms, heartbeats, and refusals by the same codes.
// All queues are as if durable. It has no policies, no permissions within a
// virtual host, no time to live and no priorities.
type AMQP struct {
	t    testing.TB
	addr string

	mu       sync.Mutex
	listener net.Listener
	hosts    map[string]*amqpHost
	open     map[*amqpConnection]struct{}
	serving  sync.WaitGroup
}

// NewAMQP starts a broker on a loopback port; it ends with the test. Its one
// user is guest, with the password guest, and its virtual hosts are / and
// second.
func NewAMQP(t testing.TB) *AMQP {
	t.Helper()
	a := &AMQP{
		t: t, addr: "127.0.0.1:0", open: map[*amqpConnection]struct{}{},
		hosts: map[string]*amqpHost{"/": newAMQPHost(), "second": newAMQPHost()},
	}
	a.Start()
	t.Cleanup(a.Stop)
	return a
}

// Addr is the broker's host and port.
func (a *AMQP) Addr() string { return a.addr }

// URL is the broker's address as clients take it.
func (a *AMQP) URL() string { return "amqp://guest:guest@" + a.addr + "/" }

// Start serves again after Stop, on the same port and with the same queues.
func (a *AMQP) Start() {
	a.t.Helper()
	listener, err := net.Listen("tcp", a.addr)
	if err != nil {
		a.t.Fatalf("listen for AMQP: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addr, a.listener = listener.Addr().String(), listener
	a.serving.Go(func() { a.accept(listener) })
}

// Stop cuts all connections and refuses new ones.
func (a *AMQP) Stop() {
	a.mu.Lock()
	if a.listener != nil {
		_ = a.listener.Close() // there is nothing to lose
		a.listener = nil
	}
	for c := range a.open {
		_ = c.conn.Close() // cut, as is asked for
	}
	a.mu.Unlock()
	a.serving.Wait()
}

// Waiting is how many messages of a queue no consumer has, and how many were
// delivered and not acknowledged.
func (a *AMQP) Waiting(host, queue string) (ready, unacked int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q, known := a.hosts[host].queues[queue]
	if !known {
		return 0, 0
	}
	return len(q.ready), q.unacked
}

func (a *AMQP) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		c := newAMQPConnection(a, conn)
		a.mu.Lock()
		if a.listener != listener {
			a.mu.Unlock()
			_ = conn.Close() // too late
			return
		}
		a.open[c] = struct{}{}
		a.serving.Go(c.serve)
		a.mu.Unlock()
	}
}
