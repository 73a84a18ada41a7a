package misbehave

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a server: what it holds of its clients is not without end, however
// it behaves.
const (
	maxConns   = 4096
	maxRequest = 80 << 20 // bytes, head and body
	// patience is how long it waits for a handshake, for a request, and with
	// what its client would not hear of.
	patience = 2 * time.Minute
)

// Watch hears of what a server does, of several connections at once. Each may
// be nil.
type Watch struct {
	// Began hears of a request that has been read whole, before anything is
	// done to it.
	Began func(Call)
	// Ended hears of it again when it is over, and of a connection that ended
	// before there was a request.
	Ended func(Call)
}

// Call is one request to a server, or a connection that did not come to one.
type Call struct {
	At time.Time
	// Request is nil where there was none; its body stands in Body.
	Request *http.Request
	Body    []byte
	// Took is how long it was answered, and Sent how many bytes that were.
	Took time.Duration
	Sent int64
	// Fault is how the connection ended; nil where it may be used again.
	Fault error
}

// Server is a receiver in one mode.
type Server struct {
	behaves  behaviour
	watch    Watch
	identity identity
	requests atomic.Int64

	mu      sync.Mutex
	ended   bool
	conns   map[net.Conn]bool
	working sync.WaitGroup
}

// New makes a server in a mode. It fails for a mode that is none.
func New(m Mode, w Watch) (*Server, error) {
	b, err := m.behaviour()
	if err != nil {
		return nil, err
	}
	s := &Server{behaves: b, watch: w, conns: map[net.Conn]bool{}}
	if b.issue != nil {
		s.identity, err = newIdentity(b.issue)
	}
	return s, err
}

// CA is the certificate that the server shows, in PEM: a client that trusts it
// meets the mode's fault and no other. It is empty where none is shown.
func (s *Server) CA() string { return s.identity.pem }

// Serve misbehaves to whoever connects, until ctx ends or the listener fails.
// It closes the listener and every connection, and returns when all of its
// goroutines have ended. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var closing sync.WaitGroup
	closing.Go(func() {
		<-ctx.Done()
		s.end(l)
	})
	err := s.accept(ctx, l)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	closing.Wait()
	s.working.Wait()
	return err
}

func (s *Server) accept(ctx context.Context, l net.Listener) error {
	places := make(chan struct{}, maxConns)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		if !s.enter(conn) {
			return errors.Join(ctx.Err(), conn.Close())
		}
		s.working.Go(func() {
			s.converse(ctx, conn)
			s.leave(conn)
			<-places
		})
	}
}

func (s *Server) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.conns[conn] = true
	}
	return !s.ended
}

func (s *Server) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	_ = conn.Close() // it may be closed already, which is as good
}

func (s *Server) end(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	_ = l.Close()
	for conn := range s.conns {
		_ = conn.Close()
	}
}

// converse misbehaves on one connection until it ends.
func (s *Server) converse(ctx context.Context, tcp net.Conn) {
	x := newExchange(ctx, tcp)
	if s.behaves.greet != nil {
		s.over(x, s.behaves.greet(x))
		return
	}
	if s.behaves.secure {
		if err := x.handshake(s.tls()); err != nil {
			s.over(x, err)
			return
		}
	}
	for {
		if err := x.next(); err != nil {
			if x.number == 0 {
				s.over(x, left(err))
			}
			return
		}
		x.turn = s.requests.Add(1)
		if s.watch.Began != nil {
			s.watch.Began(x.call)
		}
		err := s.behaves.act(x)
		s.over(x, err)
		if err != nil || x.call.Request.Close {
			return
		}
	}
}

func (s *Server) tls() *tls.Config {
	c := &tls.Config{Certificates: []tls.Certificate{s.identity.pair}, MinVersion: tls.VersionTLS12}
	if s.behaves.old {
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	return c
}

// over tells that a call is over. What ended with the server was not seen to
// its end.
func (s *Server) over(x *exchange, fault error) {
	if x.ctx.Err() != nil {
		fault = x.ctx.Err()
	}
	if s.watch.Ended != nil {
		c := x.call
		c.Took, c.Sent, c.Fault = time.Since(c.At), x.conn.sent-x.before, fault
		s.watch.Ended(c)
	}
}
