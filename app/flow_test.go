package app

import (
	"context"
	"errors"
	"testing"
)

// stages are a router that runs until it is closed, or fails to.
type stages struct {
	fails, closes   error
	running, closed chan struct{}
}

func (s *stages) Run(context.Context) error {
	if s.fails != nil {
		return s.fails
	}
	close(s.running)
	<-s.closed
	return nil
}

func (s *stages) Running() chan struct{} { return s.running }

func (s *stages) Close() error {
	close(s.closed)
	return s.closes
}

func TestStagesAreDrainedOnceWithOneAnswer(t *testing.T) {
	late := errors.New("router close timeout")
	f, err := startFlow(&stages{closes: late, running: make(chan struct{}), closed: make(chan struct{})})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		done := make(chan error, 1)
		go func() { done <- f.drain() }()
		if err := ended(t, done); !errors.Is(err, late) {
			t.Errorf("it says %v", err)
		}
	}
}

func TestStagesThatCannotSubscribeDoNotStart(t *testing.T) {
	fault, done := errors.New("fault"), make(chan error, 1)
	go func() {
		_, err := startFlow(&stages{fails: fault, running: make(chan struct{})})
		done <- err
	}()
	if err := ended(t, done); !errors.Is(err, fault) {
		t.Errorf("it says %v", err)
	}
}
