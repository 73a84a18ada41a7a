package sources

import (
	"context"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

// link keeps a source connected: whatever ends a connection is a state, and
// after a pause there is another.
//
//	connecting ─▶ healthy ─▶ unhealthy ─▶ (backoff) ─▶ healthy …
//
// When it ends it takes nothing more, waits for what is in flight, and lets
// go of what is out of time.
type link struct {
	*health
	config  BrokerConfig
	workers int
	// parting is how long it may take to tell the broker of the end.
	parting time.Duration
	// connection connects and hands on what comes, until ctx ends, or with an
	// error in plain words. Once ctx has ended it stays until what it handed on
	// is settled and the broker knows.
	connection func(ctx context.Context, e *emitter) error

	mu      sync.Mutex
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
}

func newLink(c BrokerConfig, workers int) *link {
	l := &link{health: newHealth(c.Source.ID), config: c, workers: workers, parting: goodbye}
	l.closing, l.close = context.WithCancel(context.Background())
	return l
}

// Subscribe answers at once, and connects in the background, until ctx ends.
// The topic is the source's own.
func (l *link) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Err() != nil {
		return nil, ErrClosed
	}
	ctx, end := context.WithCancel(ctx)
	stop := context.AfterFunc(l.closing, end)
	e := newEmitter(l.workers)
	l.running.Go(func() {
		defer stop()
		defer end()
		l.run(ctx, e)
	})
	l.running.Go(func() {
		<-ctx.Done()
		pause(e.life, l.config.ShutdownTimeout)
		e.kill()
	})
	return e.out, nil
}

// Close ends all subscriptions, and waits for them.
func (l *link) Close() error {
	l.mu.Lock()
	l.close()
	l.mu.Unlock()
	l.running.Wait()
	return nil
}

func (l *link) run(ctx context.Context, e *emitter) {
	for wait := backoffFirst; ctx.Err() == nil; wait = min(2*wait, backoffLast) {
		err := l.connection(ctx, e)
		if ctx.Err() != nil {
			break
		}
		if l.State().Health == millrace.SourceHealthy {
			wait = backoffFirst
		}
		l.lost(err)
		pause(ctx, wait)
	}
	e.drain(l.config.ShutdownTimeout)
}

// lost notes that there is no connection, and why.
func (l *link) lost(err error) {
	l.unhealthy(err)
	l.lag(-1)
	l.config.Logger.Warn("the source lost its broker", "error", fault(err))
}

const (
	// promptly bounds what a broker is asked.
	promptly = 5 * time.Second
	// goodbye bounds what it is told at the end, when nothing is in flight any
	// more. It may have fallen silent, and who changes a source waits for that;
	// what it is not told it delivers again, which is the same event.
	goodbye = time.Second
)
