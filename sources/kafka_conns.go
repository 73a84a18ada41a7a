package sources

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// kafkaConns are the connections of one client, which can be cut: for the
// answer of a broker that went silent the library waits up to 10 s, whatever
// the context of the call, and at the end for several in turn.
type kafkaConns struct {
	reach func(ctx context.Context, network, address string) (net.Conn, error)
	tls   *tls.Config // nil: plain text

	mu   sync.Mutex
	over bool
	open map[*kafkaConn]struct{}
}

// dial connects to a broker.
func (c *kafkaConns) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaDial)
	defer cancel()
	conn, err := c.reach(ctx, network, address)
	if err == nil && c.tls != nil {
		conn, err = secured(ctx, conn, c.tls, address)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		_ = conn.Close() // of no use any more
		return nil, net.ErrClosed
	}
	made := &kafkaConn{Conn: conn, of: c}
	c.open[made] = struct{}{}
	return made, nil
}

// cut closes what is open; nothing is opened any more.
func (c *kafkaConns) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for conn := range c.open {
		_ = conn.Conn.Close() // nobody waits for what it says
	}
}

// kafkaConn is a connection that can be cut.
type kafkaConn struct {
	net.Conn
	of *kafkaConns
}

// Close implements net.Conn.
func (c *kafkaConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
