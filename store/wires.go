package store

import (
	"net"
	"sync"
)

// wires are the open connections to one server.
type wires struct {
	mu   sync.Mutex
	open map[*wire]struct{}
}

func newWires() *wires { return &wires{open: map[*wire]struct{}{}} }

// wire is a connection that is among the wires until it is closed.
type wire struct {
	net.Conn
	among *wires
}

func (w *wires) add(conn net.Conn) net.Conn {
	one := &wire{Conn: conn, among: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[one] = struct{}{}
	return one
}

// cut closes all of them: whoever waits for an answer gets an error.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.open {
		_ = one.Conn.Close() // it is given up
	}
	clear(w.open)
}

// Close closes the connection.
func (w *wire) Close() error {
	w.among.mu.Lock()
	delete(w.among.open, w)
	w.among.mu.Unlock()
	return w.Conn.Close()
}
