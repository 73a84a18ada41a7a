package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

// tap is a source whose messages a test writes.
type tap struct {
	out   chan *message.Message
	ended atomic.Bool
}

func (s *tap) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			select {
			case msg := <-s.out:
				out <- msg
			case <-ctx.Done():
				s.ended.Store(true)
				return
			}
		}
	}()
	return out, nil
}

func (*tap) Close() error { return nil }

func newTap() *tap { return &tap{out: make(chan *message.Message)} }

// through sends a message and answers whether the pipeline took it.
func (s *tap) through(t *testing.T) bool {
	t.Helper()
	msg := message.NewMessage("m", nil)
	select {
	case s.out <- msg:
	case <-t.Context().Done():
		t.Fatal("nobody reads the source")
	}
	select {
	case <-msg.Acked():
		return true
	case <-msg.Nacked():
		return false
	}
}

// liveStage reads a source and writes what a handler answers.
func liveStage(s *tap, handle message.HandlerFunc) Stage {
	return Stage{Name: "ingest", Source: s, Writes: string(Ingested), Or: string(Persisted), Answers: true, handle: handle}
}

func newLive(t *testing.T, p message.Publisher) *Live {
	t.Helper()
	l, err := NewLive(Transport{Publisher: p, Pressure: pressure(0), Shares: NewShares(nil, DefaultStreamsConfig(), nil), Config: DefaultStreamsConfig()}, around(&graves{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestSourcesComeAndGoWhileOthersRun(t *testing.T) {
	l := newLive(t, &stream{})
	nothing := func(*message.Message) ([]*message.Message, error) { return nil, nil }
	stays := newTap()
	if _, err := l.Start(liveStage(stays, nothing)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a name is good for one start
		comes := newTap()
		stop, err := l.Start(liveStage(comes, nothing))
		if err != nil {
			t.Fatal(err)
		}
		if !comes.through(t) {
			t.Error("the message was not taken")
		}
		stop()
		stop()
		if !comes.ended.Load() {
			t.Error("a source that was stopped still runs")
		}
	}
	if !stays.through(t) {
		t.Error("the source that stays was touched")
	}
}

func TestTheLastSourceEndsAndTheNextOneStarts(t *testing.T) {
	l := newLive(t, &stream{})
	for range 2 {
		s := newTap()
		stop, err := l.Start(liveStage(s, func(*message.Message) ([]*message.Message, error) { return nil, errors.New("no") }))
		if err != nil {
			t.Fatal(err)
		}
		if s.through(t) {
			t.Error("a message that failed was acked")
		}
		stop()
	}
}
