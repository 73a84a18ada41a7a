package localstores

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"
)

// server is a program that listens on a port of the loopback address.
type server struct {
	program func(port int) (program, error)
	ready   func(p *process, port int) bool
	timeout time.Duration
}

// start runs the server on a free port and waits until it answers.
func (s server) start(ctx context.Context) (*process, int, error) {
	var err error
	for range 3 {
		var p *process
		var port int
		if p, port, err = s.try(ctx); err == nil {
			return p, port, nil
		}
		if free(port) {
			break
		}
		// Another program took the port between our look and its bind.
	}
	return nil, 0, err
}

func (s server) try(ctx context.Context) (*process, int, error) {
	port, err := freePort()
	if err != nil {
		return nil, 0, err
	}
	program, err := s.program(port)
	if err != nil {
		return nil, port, err
	}
	p, err := program.start()
	if err != nil {
		return nil, port, err
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.wait(limited, p, port); err != nil {
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return nil, port, errors.Join(err, p.stop(leave))
	}
	return p, port, nil
}

func (s server) wait(ctx context.Context, p *process, port int) error {
	ended := false
	err := until(ctx, func() bool {
		select {
		case <-p.done:
			ended = true
		default:
		}
		return ended || s.ready(p, port)
	})
	switch {
	case ended:
		return fmt.Errorf("%s did not start: %s", p.name, p.complaint())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %s: %s", p.name, s.timeout, p.complaint())
	}
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func free(port int) bool {
	l, err := net.Listen("tcp", address(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// newPassword has 130 bits of chance, in letters and digits alone.
func newPassword() string { return rand.Text() }
