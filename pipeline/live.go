package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Live runs stages that come and go while the process runs: one for each
// source in the database that reads a broker. Each is a handler of one
// Watermill router.
type Live struct {
	router    *message.Router
	transport Transport
	around    Around
	closing   context.Context
	close     context.CancelFunc
	ended     chan error

	mu      sync.Mutex
	started int
}

// NewLive makes a router without stages and runs it.
func NewLive(t Transport, a Around) (*Live, error) {
	router, err := watermillRouter(t, a)
	if err != nil {
		return nil, err
	}
	l := &Live{router: router, transport: t, around: a, ended: make(chan error, 1)}
	l.closing, l.close = context.WithCancel(context.Background())
	// A router closes with its last handler: this one never has anything.
	router.AddConsumerHandler("idle", "idle", idle{}, func(*message.Message) error { return nil })
	go func() { l.ended <- router.Run(context.Background()) }()
	select {
	case <-router.Running():
		return l, nil
	case err := <-l.ended:
		return nil, fmt.Errorf("run the sources' router: %w", err)
	}
}

// Start runs a stage that reads a source until the answer is called, which
// waits until what is in flight has been settled. The source's Subscribe must
// return at once: the router's lock is held meanwhile.
func (l *Live) Start(s Stage) (stop func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started++
	// The router keeps a name's middleware for ever, and panics at one it knows.
	name := fmt.Sprintf("%s-%d", s.Name, l.started)
	h := l.router.AddHandler(name, "", s.Source, s.Writes, newOutlet(l.closing, s, l.transport, l.around), l.around.wrap(s))
	if err := l.router.RunHandlers(l.closing); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return sync.OnceFunc(func() {
		h.Stop()
		<-h.Stopped()
	}), nil
}

// Close ends all that run: what is in flight is settled.
func (l *Live) Close() error {
	l.close()
	err := l.router.Close()
	return errors.Join(err, <-l.ended)
}

// idle is a subscriber that never has anything.
type idle struct{}

// Subscribe answers a channel that closes with ctx.
func (idle) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		<-ctx.Done()
		close(out)
	}()
	return out, nil
}

// Close does nothing.
func (idle) Close() error { return nil }
