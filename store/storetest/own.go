package storetest

import (
	"syscall"
	"testing"
	"time"
)

// Server is a PostgreSQL of one test's own, which it may stop, kill and start
// again. It keeps what it committed, also when it is killed.
type Server struct {
	t       testing.TB
	server  *server
	running bool
}

// Own starts a server for this test alone, with settings such as
// "log_statement=all" besides the usual ones; it ends with the test.
func Own(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := startServer(append(settings, "synchronous_commit=on")...)
	if err != nil {
		t.Fatal(err)
	}
	return owned(t, s)
}

func owned(t testing.TB, s *server) *Server {
	own := &Server{t: t, server: s, running: true}
	t.Cleanup(func() {
		own.Kill()
		s.stop()
	})
	return own
}

// URL is where it answers, the same after each start. It holds no schema yet.
func (s *Server) URL() string { return s.server.url }

// Stop ends the server as an operator does who is in a hurry: what is under
// way is rolled back.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Kill ends the server as the kernel does that is out of memory.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(how syscall.Signal) {
	if !s.running {
		return
	}
	s.running = false
	if err := s.server.cmd.Process.Signal(how); err == nil {
		<-s.server.done
	}
}

// Start starts the server again on the same files and waits until it
// answers. The sessions of one that was killed may outlive it for a moment,
// and until they are gone there is no start.
func (s *Server) Start() {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		err := s.server.run()
		if err == nil {
			s.running = true
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatal(err)
		}
	}
}
