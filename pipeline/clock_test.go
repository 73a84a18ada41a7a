package pipeline

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

const patience = 30 * time.Second

// due is a feed that always says the same until it is told otherwise.
type due struct {
	mu  sync.Mutex
	all []millrace.Due
}

func (d *due) next(context.Context, int) ([]millrace.Due, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all, nil
}

func startClock(t *testing.T, c ClockConfig, d *due) (*Clock, <-chan *message.Message) {
	t.Helper()
	c.Feeds = []Feed{{Name: "due", Every: time.Millisecond, Next: d.next}}
	c.Concurrency, c.Logger = 4, slog.New(slog.DiscardHandler)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, patience)
	if c.Leading == nil {
		c.Leading = func(ctx context.Context) (context.Context, error) { return ctx, nil }
	}
	clock := NewClock(c)
	msgs, err := clock.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return clock, msgs
}

func next(t *testing.T, msgs <-chan *message.Message) (*message.Message, millrace.Due) {
	t.Helper()
	select {
	case msg, ok := <-msgs:
		if !ok {
			t.Fatal("the clock ended")
		}
		d, err := DecodeJSON[millrace.Due](msg)
		if err != nil {
			t.Fatal(err)
		}
		return msg, d
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return nil, millrace.Due{}
}

func silent(t *testing.T, msgs <-chan *message.Message) {
	t.Helper()
	select {
	case msg := <-msgs:
		t.Fatalf("%s came", msg.UUID)
	case <-time.After(50 * time.Millisecond):
	}
}

func oneDue() *due {
	return &due{all: []millrace.Due{{DeliveryID: millrace.NewID(time.Now()), Turn: 2, Why: millrace.DueTime}}}
}

func TestTheClockEmitsOnceWhatIsUnderWayAndAgainWhatFailed(t *testing.T) {
	d := oneDue()
	clock, msgs := startClock(t, ClockConfig{}, d)
	msg, got := next(t, msgs)
	if got != d.all[0] {
		t.Errorf("it says %+v, want %+v", got, d.all[0])
	}
	silent(t, msgs)
	msg.Nack()
	msg, _ = next(t, msgs)
	msg.Ack()
	msg, _ = next(t, msgs) // the log still says that it is due
	d.mu.Lock()
	d.all = nil
	d.mu.Unlock()
	msg.Ack()
	silent(t, msgs)
	if err := clock.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheClockEmitsOnlyWhileItLeads(t *testing.T) {
	terms := make(chan context.Context)
	clock, msgs := startClock(t, ClockConfig{Leading: func(ctx context.Context) (context.Context, error) {
		select {
		case term := <-terms:
			return term, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}, oneDue())
	silent(t, msgs)
	term, end := context.WithCancel(t.Context())
	terms <- term
	msg, _ := next(t, msgs)
	end()
	msg.Ack()
	for { // one more may have been on its way
		select {
		case msg := <-msgs:
			msg.Ack()
			continue
		case <-time.After(50 * time.Millisecond):
		}
		break
	}
	silent(t, msgs)
	_ = clock.Close()
}

func TestTheClockEmitsNothingWhileTheTransportIsFull(t *testing.T) {
	clock, msgs := startClock(t, ClockConfig{Open: func() bool { return false }}, oneDue())
	silent(t, msgs)
	_ = clock.Close()
}

func TestTheClockWaitsForWhatItEmittedBeforeItEnds(t *testing.T) {
	clock, msgs := startClock(t, ClockConfig{}, oneDue())
	msg, _ := next(t, msgs)
	closed := make(chan struct{})
	go func() {
		_ = clock.Close()
		close(closed)
	}()
	select {
	case <-closed:
		t.Fatal("it ended under a message")
	case <-time.After(50 * time.Millisecond):
	}
	if msg.Context().Err() != nil {
		t.Error("the work under way was cancelled")
	}
	msg.Ack()
	<-closed
}

func TestTheClockEndsAtOnceThoughItLeadsAndNothingIsDue(t *testing.T) {
	for name, end := range map[string]func(c *Clock, cancel func()){
		"when it is closed":             func(c *Clock, _ func()) { _ = c.Close() },
		"when its subscription is over": func(_ *Clock, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 1)
			clock := NewClock(ClockConfig{
				Feeds: []Feed{{Name: "seldom", Every: time.Hour, Next: func(context.Context, int) ([]millrace.Due, error) {
					asked <- struct{}{}
					return nil, nil
				}}},
				Leading:     func(context.Context) (context.Context, error) { return context.Background(), nil },
				Concurrency: 1, ShutdownTimeout: patience, Logger: slog.New(slog.DiscardHandler),
			})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			msgs, err := clock.Subscribe(ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			receive(t, asked, "the feed is asked")
			go end(clock, cancel)
			if msg := receive(t, msgs, "the subscription ends"); msg != nil {
				t.Errorf("%s came", msg.UUID)
			}
			_ = clock.Close()
		})
	}
}

func TestTheClockEndsThoughWhatItEmittedIsNeverSettled(t *testing.T) {
	clock, msgs := startClock(t, ClockConfig{ShutdownTimeout: 50 * time.Millisecond}, oneDue())
	msg, _ := next(t, msgs)
	began := time.Now()
	if err := clock.Close(); err != nil {
		t.Error(err)
	}
	if msg.Context().Err() == nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("after %s the work under way was cut off: %v", time.Since(began), msg.Context().Err())
	}
	msg.Nack()
}

func TestEachFeedOfTheClockHasItsOwnPace(t *testing.T) {
	one, other := oneDue(), oneDue()
	seen := map[string]int{}
	var mu sync.Mutex
	clock := NewClock(ClockConfig{
		Feeds: []Feed{
			{Name: "fails", Every: time.Millisecond, Next: func(context.Context, int) ([]millrace.Due, error) { return nil, errors.New("fault") }},
			{Name: "one", Every: time.Millisecond, Next: one.next},
			{Name: "other", Every: time.Millisecond, Next: other.next},
		},
		Leading: func(ctx context.Context) (context.Context, error) { return ctx, nil },
		Observe: func(feed string, due int) {
			mu.Lock()
			defer mu.Unlock()
			seen[feed] = due
		},
		Concurrency: 4, ShutdownTimeout: patience, Logger: slog.New(slog.DiscardHandler),
	})
	msgs, err := clock.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	came := map[millrace.Due]*message.Message{}
	for range 2 {
		msg, d := next(t, msgs)
		came[d] = msg
	}
	if came[one.all[0]] == nil || came[other.all[0]] == nil {
		t.Errorf("of two feeds %d came", len(came))
	}
	for _, msg := range came {
		msg.Nack()
	}
	go func() {
		for msg := range msgs {
			msg.Nack()
		}
	}()
	_ = clock.Close()
	mu.Lock()
	defer mu.Unlock()
	if seen["fails"] != 0 || seen["one"] != 1 || seen["other"] != 1 {
		t.Errorf("observed %v", seen)
	}
}

func TestTheClockHandsBackNoMoreAtOnceThanItMay(t *testing.T) {
	d := &due{}
	for range 7 {
		d.all = append(d.all, oneDue().all...)
	}
	clock, msgs := startClock(t, ClockConfig{}, d) // four at once
	var under []*message.Message
	for range 4 {
		msg, _ := next(t, msgs)
		under = append(under, msg)
	}
	silent(t, msgs)
	under[0].Ack()
	msg, _ := next(t, msgs)
	for _, m := range append(under, msg) {
		m.Ack()
	}
	go func() {
		for msg := range msgs {
			msg.Ack()
		}
	}()
	_ = clock.Close()
}
