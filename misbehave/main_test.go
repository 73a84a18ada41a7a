package misbehave

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slack is how long a test waits for what must happen.
const slack = 30 * time.Second

// started is a server that serves until the test ends or end is called.
type started struct {
	*Server
	address string
	end     func()
	ended   chan error
}

func start(t *testing.T, m Mode, w Watch) *started {
	t.Helper()
	server, err := New(m, w)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &started{server, l.Addr().String(), cancel, make(chan error, 1)}
	go func() { s.ended <- server.Serve(ctx, l); close(s.ended) }()
	t.Cleanup(func() {
		cancel()
		<-s.ended
	})
	return s
}

func (s *started) dial(t *testing.T) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(slack)); err != nil {
		t.Fatal(err)
	}
	return &client{t, conn}
}
