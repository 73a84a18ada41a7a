package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// topic is a topic of a Redis of the test's own, read by hand.
type topic struct {
	out  *streams.Publisher
	msgs <-chan *message.Message
	dead chan streams.Dead
}

func newTopic(t *testing.T) *topic {
	t.Helper()
	client := startRedis(t)
	q := &topic{dead: make(chan streams.Dead, 8)}
	sub, err := streams.NewSubscriber(client, streams.SubscriberConfig{
		Prefix: "p:", Group: "g", Consumer: "c", Concurrency: 1, Lease: 9 * time.Second, RenewInterval: 3 * time.Second, ClaimInterval: 3 * time.Second,
		ShutdownTimeout: patience, MaxRedeliveries: 1, MaxTakeovers: 2, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond,
		Logger: slog.New(slog.DiscardHandler), Dead: func(_ context.Context, d streams.Dead) error { q.dead <- d; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if q.out, err = streams.NewPublisher(client, streams.PublisherConfig{Prefix: "p:", Timeout: patience}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(sub.Close(), q.out.Close()); err != nil {
			t.Error(err)
		}
	})
	if q.msgs, err = sub.Subscribe(context.Background(), "t"); err != nil {
		t.Fatal(err)
	}
	return q
}

// next is a message that is held.
func (q *topic) next(t *testing.T) *message.Message {
	t.Helper()
	if err := q.out.Publish("t", message.NewMessage("m", nil)); err != nil {
		t.Fatal(err)
	}
	return receive(t, q.msgs, "the message comes")
}

func TestTheFourOutcomes(t *testing.T) {
	q := newTopic(t)
	fault, away := errors.New("fault"), millrace.Unavailable(errors.New("away"))
	for _, c := range []struct {
		name    string
		source  bool // the message is of a source, not of a topic
		answers []error
		fails   []error // of the dead letters
		out     int
		err     error
		tries   int
		reason  string // of the one dead letter; empty for none
		history int
	}{
		{name: "values pass on", answers: []error{nil}, out: 1, tries: 1},
		{name: "an error is the transport's to count", answers: []error{fault}, err: fault, tries: 1},
		{name: "a permanent one is a dead letter, and done", answers: []error{millrace.Permanent(fault)}, tries: 1, reason: "permanent", history: 1},
		{name: "one that cannot be read is a dead letter, and done", answers: []error{millrace.Permanent(&undecodableError{fault})}, tries: 1, reason: "undecodable", history: 1},
		{name: "what is unavailable is waited for, and never counted", answers: []error{away, away, away, away, nil}, out: 1, tries: 5},
		{name: "after a wait an error still counts", answers: []error{away, fault}, err: fault, tries: 2},
		{name: "dead letters that are away are waited for, and nothing is done twice", answers: []error{millrace.Permanent(fault)}, fails: []error{away, away}, tries: 1, reason: "permanent", history: 1},
		{name: "dead letters that fail are waited for, and nothing is done twice", answers: []error{millrace.Permanent(fault)}, fails: []error{fault}, tries: 1, reason: "permanent", history: 1},
		{name: "of a source: values pass on", source: true, answers: []error{nil}, out: 1, tries: 1},
		{name: "of a source: an error is tried again in its place", source: true, answers: []error{fault, away, fault, nil}, out: 1, tries: 4},
		{name: "of a source: past its redeliveries it is a dead letter", source: true, answers: []error{fault}, tries: 3, reason: "redeliveries", history: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			dead := &graves{fails: slices.Clone(c.fails)}
			handle, tries := answers(c.answers...)
			s, msg := Stage{Name: "s", Reads: "t", Limits: quick(), handle: handle}, message.NewMessage("m", nil)
			if c.source {
				s.Reads = ""
			} else {
				msg = q.next(t)
				defer msg.Ack()
			}
			out, err := around(dead).wrap(s)(msg)
			if len(out) != c.out || !errors.Is(err, c.err) || *tries != c.tries {
				t.Errorf("%d values, %v, after %d tries; want %d, %v, %d", len(out), err, *tries, c.out, c.err, c.tries)
			}
			if (len(dead.kept) == 1) != (c.reason != "") {
				t.Fatalf("dead letters: %+v", dead.kept)
			}
			if c.reason != "" && (dead.kept[0].Reason != c.reason || len(dead.kept[0].History) != c.history || dead.kept[0].Error == "") {
				t.Errorf("dead as %+v, want reason %s and a history of %d", dead.kept[0], c.reason, c.history)
			}
		})
	}
}

func TestAnErrorStandsInTheHistoryOfItsMessage(t *testing.T) {
	q := newTopic(t)
	handle, _ := answers(errors.New("first"), errors.New("second"))
	handle = around(&graves{}).wrap(Stage{Name: "s", Reads: "t", handle: handle})
	msg := q.next(t)
	for range 2 {
		if _, err := handle(msg); err == nil {
			t.Error("it does not fail")
		}
		msg.Nack()
		if len(q.dead) == 0 {
			select {
			case msg = <-q.msgs:
			case d := <-q.dead:
				q.dead <- d
			case <-time.After(patience):
				t.Fatal("the message comes neither again nor to the dead letters")
			}
		}
	}
	if d := receive(t, q.dead, "it is dead"); !slices.Equal(d.History, []string{"first", "second"}) {
		t.Errorf("its history is %q", d.History)
	}
}

func TestNothingIsBegunWithAMessageThatIsAnothers(t *testing.T) {
	handle, tries := answers(nil)
	handle = around(&graves{}).wrap(Stage{Name: "s", Reads: "t", handle: handle})
	if _, err := handle(message.NewMessage("m", nil)); !errors.Is(err, errNotHeld) || *tries != 0 {
		t.Errorf("%v after %d tries", err, *tries)
	}
}

func TestAWaitEndsWithTheMessage(t *testing.T) {
	fault, away := errors.New("fault"), millrace.Unavailable(errors.New("away"))
	for name, c := range map[string]struct{ answer, grave error }{
		"for what is unavailable":     {answer: away},
		"for the next try":            {answer: fault},
		"for what is not to be tried": {answer: millrace.Permanent(fault), grave: away},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			handle := func(*message.Message) ([]*message.Message, error) {
				cancel()
				return nil, c.answer
			}
			_, err := around(&graves{fails: []error{c.grave}}).wrap(Stage{Name: "s", Limits: quick(), handle: handle})(message.NewMessageWithContext(ctx, "m", nil))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhoeverComesWhileTheStageWaitsWaitsToo(t *testing.T) {
	away := millrace.Unavailable(errors.New("away"))
	began, gone := make(chan struct{}), make(chan struct{})
	s := &settlement{Around: around(&graves{}), stage: Stage{Name: "s"}}
	s.gate.failures.Store(6) // the next wait is of two seconds
	s.next = func(msg *message.Message) ([]*message.Message, error) {
		select {
		case <-gone:
			return nil, nil
		default:
		}
		if msg.UUID == "late" {
			t.Error("the late one was tried while the stage waited")
		}
		close(began)
		return nil, away
	}
	first, late := make(chan error), make(chan error)
	go func() {
		_, err := s.settle(message.NewMessage("first", nil))
		first <- err
	}()
	receive(t, began, "the first is tried")
	for open := true; open; pause(t.Context(), time.Millisecond) {
		s.gate.mu.Lock()
		open = s.gate.shut == nil
		s.gate.mu.Unlock()
	}
	go func() {
		_, err := s.settle(message.NewMessage("late", nil))
		late <- err
	}()
	select {
	case <-late:
		t.Fatal("the late one did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	close(gone)
	if err := errors.Join(receive(t, first, "the first goes on"), receive(t, late, "the late one goes on")); err != nil {
		t.Error(err)
	}
}
