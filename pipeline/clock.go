package pipeline

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

// Feed is one reason why deliveries come back: it is asked now and then what
// is due.
type Feed struct {
	// Name is a label in logs.
	Name string
	// Every is how often it is asked while it has nothing more.
	Every time.Duration
	// Next lists up to limit deliveries that are due.
	Next func(ctx context.Context, limit int) ([]millrace.Due, error)
}

// Clock is the retry stage's subscriber: it reads the log's clock. It emits
// only while this process leads, and holds back what it has emitted already.
type Clock struct {
	feeds []Feed
	// leading blocks until this process leads and answers with a context that
	// ends when it does not any more.
	leading func(ctx context.Context) (context.Context, error)
	// open tells whether the transport may take more now.
	open    func() bool
	observe func(feed string, due int)
	limit   int
	logger  *slog.Logger

	closing   context.CancelFunc
	closed    context.Context
	running   sync.WaitGroup
	mu        sync.Mutex
	inFlight  map[millrace.Due]struct{}
	slots     chan struct{}
	untracked sync.WaitGroup
}

// ClockConfig is how a Clock is made.
type ClockConfig struct {
	Feeds []Feed
	// Leading blocks until this process leads; its context ends with that.
	Leading func(ctx context.Context) (context.Context, error)
	// Open tells whether the transport may take more; nil: always.
	Open func() bool
	// Observe is told how many deliveries a look found due, at most as many as
	// are handed back at once; nil: nobody is.
	Observe func(feed string, due int)
	// Concurrency bounds how many deliveries are handed back at once.
	Concurrency int
	Logger      *slog.Logger
}

// NewClock makes a Clock; nothing runs before Subscribe.
func NewClock(c ClockConfig) *Clock {
	closed, closing := context.WithCancel(context.Background())
	open := c.Open
	if open == nil {
		open = func() bool { return true }
	}
	observe := c.Observe
	if observe == nil {
		observe = func(string, int) {}
	}
	return &Clock{
		feeds: c.Feeds, leading: c.Leading, open: open, observe: observe, limit: c.Concurrency, logger: c.Logger,
		closed: closed, closing: closing,
		inFlight: map[millrace.Due]struct{}{}, slots: make(chan struct{}, c.Concurrency),
	}
}

// Subscribe starts the feeds. The topic is not used: there is one clock.
func (c *Clock) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.closed, cancel)
	c.running.Add(1)
	go func() {
		defer c.running.Done()
		defer close(out)
		defer cancel()
		defer stop()
		c.lead(ctx, out)
		c.untracked.Wait()
	}()
	return out, nil
}

// Close stops the feeds and waits for what was emitted.
func (c *Clock) Close() error {
	c.closing()
	c.running.Wait()
	return nil
}

// lead runs the feeds for as long as this process leads, again and again.
func (c *Clock) lead(ctx context.Context, out chan<- *message.Message) {
	for ctx.Err() == nil {
		leading, err := c.leading(ctx)
		if err != nil {
			c.logger.Debug("not leading", "error", err)
			pause(ctx, time.Second)
			continue
		}
		var feeds sync.WaitGroup
		for _, f := range c.feeds {
			feeds.Go(func() { c.feed(leading, ctx, f, out) })
		}
		feeds.Wait()
	}
}

func (c *Clock) feed(leading, ctx context.Context, f Feed, out chan<- *message.Message) {
	for leading.Err() == nil && ctx.Err() == nil {
		if c.open() {
			due, err := f.Next(leading, c.limit)
			if err != nil && leading.Err() == nil {
				c.logger.Warn("what is due could not be read", "feed", f.Name, "error", err)
			}
			c.observe(f.Name, len(due))
			fresh := c.emit(ctx, due, out)
			if err == nil && fresh {
				pause(leading, min(moreSoon, f.Every))
				continue
			}
		}
		pause(leading, f.Every)
	}
}

// moreSoon is when a feed is asked again that had something: a backlog is
// worked off as fast as it is taken.
const moreSoon = 20 * time.Millisecond

// emit passes on what is not under way already and tells whether there was
// any.
func (c *Clock) emit(ctx context.Context, due []millrace.Due, out chan<- *message.Message) bool {
	fresh := false
	for _, d := range due {
		if !c.begin(d) {
			continue
		}
		fresh = true
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			c.end(d)
			return fresh
		}
		body, _ := json.Marshal(d) // a struct of plain fields
		msg := message.NewMessage(d.DeliveryID.String(), body)
		msg.SetContext(context.WithoutCancel(ctx))
		c.untracked.Go(func() {
			select {
			case <-msg.Acked():
			case <-msg.Nacked(): // the log still says that it is due
			}
			<-c.slots
			c.end(d)
		})
		select {
		case out <- msg:
		case <-ctx.Done():
			msg.Nack()
			return fresh
		}
	}
	return fresh
}

func (c *Clock) begin(d millrace.Due) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, underWay := c.inFlight[d]; underWay {
		return false
	}
	c.inFlight[d] = struct{}{}
	return true
}

func (c *Clock) end(d millrace.Due) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.inFlight, d)
}

// pause waits for the duration or the context's end.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
