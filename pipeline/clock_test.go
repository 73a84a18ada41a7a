package pipeline

import (
	"context"
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
