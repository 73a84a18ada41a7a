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
	config ClockConfig

	closing  context.CancelFunc
	closed   context.Context
	running  sync.WaitGroup
	mu       sync.Mutex
	inFlight map[millrace.Due]struct{}
	slots    chan struct{}
	emitted  sync.WaitGroup // what is not settled yet
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
	// ShutdownTimeout is how long those under way may take when it ends.
	ShutdownTimeout time.Duration
	Logger          *slog.Logger
}

// NewClock makes a Clock; nothing runs before Subscribe.
func NewClock(c ClockConfig) *Clock {
	closed, closing := context.WithCancel(context.Background())
	if c.Open == nil {
		c.Open = func() bool { return true }
	}
	if c.Observe == nil {
		c.Observe = func(string, int) {}
	}
	return &Clock{config: c, closed: closed, closing: closing, inFlight: map[millrace.Due]struct{}{}, slots: make(chan struct{}, c.Concurrency)}
}

// ticking is one subscription to the clock.
type ticking struct {
	*Clock
	out chan *message.Message
	// ctx ends with the subscription; life, which is that of the messages,
	// when what is under way then is out of time.
	ctx, life context.Context
}

// Subscribe starts the feeds. The topic is not used: there is one clock. The
// channel is closed after ctx ended or the clock was closed, and what was
// emitted is settled or out of time.
func (c *Clock) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.closed, cancel)
	t := &ticking{Clock: c, out: make(chan *message.Message), ctx: ctx, life: life}
	c.running.Go(func() {
		defer close(t.out)
		defer kill()
		defer cancel()
		defer stop()
		t.lead()
		outOfTime := time.AfterFunc(c.config.ShutdownTimeout, kill)
		defer outOfTime.Stop()
		c.emitted.Wait()
	})
	return t.out, nil
}

// Close stops the feeds and waits for what was emitted.
func (c *Clock) Close() error {
	c.closing()
	c.running.Wait()
	return nil
}

// lead runs the feeds for as long as this process leads, again and again.
func (t *ticking) lead() {
	for t.ctx.Err() == nil {
		leading, err := t.config.Leading(t.ctx)
		if err != nil {
			t.config.Logger.Debug("not leading", "error", err)
			pause(t.ctx, time.Second)
			continue
		}
		t.term(leading)
	}
}

// term runs the feeds until the leadership or the subscription ends.
func (t *ticking) term(leading context.Context) {
	term, end := context.WithCancel(leading)
	defer end()
	stop := context.AfterFunc(t.ctx, end)
	defer stop()
	var feeds sync.WaitGroup
	for _, f := range t.config.Feeds {
		feeds.Go(func() { t.feed(term, f) })
	}
	feeds.Wait()
}

func (t *ticking) feed(term context.Context, f Feed) {
	for term.Err() == nil {
		if t.config.Open() {
			due, err := f.Next(term, t.config.Concurrency)
			if err != nil && term.Err() == nil {
				t.config.Logger.Warn("what is due could not be read", "feed", f.Name, "error", err)
			}
			t.config.Observe(f.Name, len(due))
			fresh := t.emit(term, due)
			if err == nil && fresh {
				pause(term, min(moreSoon, f.Every))
				continue
			}
		}
		pause(term, f.Every)
	}
}

// moreSoon is when a feed is asked again that had something: a backlog is
// worked off as fast as it is taken.
const moreSoon = 20 * time.Millisecond

// emit passes on what is not under way already and tells whether there was
// any.
func (t *ticking) emit(term context.Context, due []millrace.Due) bool {
	fresh := false
	for _, d := range due {
		if !t.begin(d) {
			continue
		}
		fresh = true
		select {
		case t.slots <- struct{}{}:
		case <-term.Done():
			t.end(d)
			return fresh
		}
		msg := t.message(d)
		select {
		case t.out <- msg:
		case <-term.Done():
			msg.Nack()
			return fresh
		}
	}
	return fresh
}

// message makes the message of a delivery that is due; its slot is free again
// when it is settled.
func (t *ticking) message(d millrace.Due) *message.Message {
	body, _ := json.Marshal(d) // a struct of plain fields
	msg := message.NewMessageWithContext(t.life, turnUUID(d.DeliveryID, d.Turn), body)
	t.emitted.Go(func() {
		select {
		case <-msg.Acked():
		case <-msg.Nacked(): // the log still says that it is due
		case <-t.life.Done():
		}
		<-t.slots
		t.end(d)
	})
	return msg
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
func pause(ctx context.Context, d time.Duration) { pauseUnless(ctx, nil, d) }

// pauseUnless waits as pause does, and no longer once it is hurried.
func pauseUnless(ctx context.Context, hurry <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-hurry:
	case <-t.C:
	case <-ctx.Done():
	}
}
