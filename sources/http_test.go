package sources

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

// patience is how long a test waits for what should happen soon.
const patience = 30 * time.Second

// answer is what the ingest stage does with one submission.
type answer struct {
	receipt millrace.Receipt
	ack     bool
}

// stage answers the submissions of a source in turn, and notes them.
func stage(t *testing.T, h *HTTP, answers ...answer) <-chan millrace.Submission {
	t.Helper()
	msgs, err := h.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	seen, done := make(chan millrace.Submission, len(answers)+1), make(chan struct{})
	go func() {
		defer close(done)
		for msg := range msgs {
			s, err := Submission(msg)
			if err != nil || len(answers) == 0 {
				t.Errorf("unexpected submission %+v: %v", s, err)
				msg.Nack()
				continue
			}
			seen <- s
			s.Answer(answers[0].receipt)
			if answers[0].ack {
				msg.Ack()
			} else {
				msg.Nack()
			}
			answers = answers[1:]
		}
	}()
	t.Cleanup(func() {
		_ = h.Close()
		<-done
	})
	return seen
}

func newHTTP(places int) *HTTP {
	return NewHTTP(HTTPConfig{Concurrency: places, Patience: patience})
}

func TestSubmitAnswersWhatTheStageSettled(t *testing.T) {
	id := millrace.NewID(time.Now())
	event := millrace.Event{ID: id, Type: "a"}
	queued, persisted := millrace.Receipt{Event: event, Ack: millrace.AckQueued}, millrace.Receipt{Event: event, Ack: millrace.AckPersisted}
	refused := millrace.Receipt{Refused: millrace.Missing("data")}
	away, odd := millrace.Unavailable(errors.New("away")), errors.New("odd")
	for name, c := range map[string]struct {
		answers     []answer
		want        millrace.AckLevel
		refused     bool
		err         error
		unavailable bool
	}{
		"what was queued":    {answers: []answer{{queued, true}}, want: millrace.AckQueued},
		"what was persisted": {answers: []answer{{persisted, true}}, want: millrace.AckPersisted},
		"what was refused":   {answers: []answer{{refused, true}}, refused: true},
		"what the queue did not take is persisted then":              {answers: []answer{{queued, false}, {persisted, true}}, want: millrace.AckPersisted},
		"what neither the queue nor the store took is unavailable":   {answers: []answer{{queued, false}, {millrace.Receipt{Failed: away}, false}}, err: away, unavailable: true},
		"what was persisted is taken, though nobody was told":        {answers: []answer{{persisted, false}}, want: millrace.AckPersisted},
		"what was persisted then is taken, though nobody was told":   {answers: []answer{{queued, false}, {persisted, false}}, want: millrace.AckPersisted},
		"what failed is not submitted again":                         {answers: []answer{{millrace.Receipt{Failed: odd}, false}}, err: odd},
		"what failed because the store is away is unavailable":       {answers: []answer{{millrace.Receipt{Failed: away}, false}}, err: away, unavailable: true},
		"what the queue did not take twice is unavailable":           {answers: []answer{{queued, false}, {queued, false}}, unavailable: true},
		"what was not settled at all, as in a panic, is unavailable": {answers: []answer{{millrace.Receipt{}, false}}, unavailable: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHTTP(1)
			seen := stage(t, h, c.answers...)
			receipt, err := h.Submit(t.Context(), millrace.Submission{Type: "a", Ack: millrace.AckQueued})
			if millrace.IsUnavailable(err) != c.unavailable || (err != nil) != (c.unavailable || c.err != nil) || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("error %v", err)
			}
			if receipt.Ack != c.want || (receipt.Refused != nil) != c.refused || (c.want != "") != (receipt.Event.ID == id) {
				t.Errorf("receipt %+v", receipt)
			}
			if len(seen) != len(c.answers) {
				t.Fatalf("submitted %d times, want %d", len(seen), len(c.answers))
			}
			<-seen
			if len(c.answers) == 2 {
				if again := <-seen; again.EventID != id || again.Ack != millrace.AckPersisted || again.Type != "a" {
					t.Errorf("submitted once more as %+v, want event %s persisted", again, id)
				}
			}
			if len(h.places) != 0 {
				t.Errorf("%d places were not given back", len(h.places))
			}
		})
	}
}

func TestAClientThatLeavesDoesNotTakeItsSubmissionWithIt(t *testing.T) {
	h := newHTTP(1)
	msgs, err := h.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := h.Submit(ctx, millrace.Submission{Type: "a"})
		done <- err
	}()
	msg := receive(t, msgs, "the submission comes")
	leave()
	if err := receive(t, done, "the client is answered"); !millrace.IsUnavailable(err) || !errors.Is(err, errNoAnswer) {
		t.Errorf("error %v", err)
	}
	if err := msg.Context().Err(); err != nil {
		t.Errorf("the submission is cancelled: %v", err)
	}
	s, err := Submission(msg)
	if err != nil || s.Type != "a" {
		t.Errorf("submission %+v, %v", s, err)
	}
	s.Answer(millrace.Receipt{Ack: millrace.AckQueued})
	msg.Ack()
	closed(t, h, msgs)
}

func TestNoMoreAreUnderWayThanThereArePlaces(t *testing.T) {
	h := newHTTP(1)
	msgs, err := h.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := h.Submit(context.Background(), millrace.Submission{})
		done <- err
	}()
	msg := receive(t, msgs, "the first comes")
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := h.Submit(ctx, millrace.Submission{}); !millrace.IsUnavailable(err) || !errors.Is(err, errOverloaded) {
		t.Errorf("the second: %v", err)
	}
	msg.Ack()
	if err := receive(t, done, "the first is answered"); err != nil {
		t.Error(err)
	}
	closed(t, h, msgs)
}

func TestPatienceEnds(t *testing.T) {
	h := NewHTTP(HTTPConfig{Concurrency: 1, Patience: time.Millisecond})
	if _, err := h.Submit(t.Context(), millrace.Submission{}); !millrace.IsUnavailable(err) {
		t.Errorf("error %v", err)
	}
}

func TestAClosedSourceRefuses(t *testing.T) {
	h := newHTTP(1)
	msgs, err := h.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	closed(t, h, msgs)
	closed(t, h, msgs) // closing twice is closing once
	if _, err := h.Submit(t.Context(), millrace.Submission{}); !millrace.IsUnavailable(err) {
		t.Errorf("error %v", err)
	}
}

func TestASubscriptionEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	msgs, err := newHTTP(1).Subscribe(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if msg := receive(t, msgs, "the subscription ends"); msg != nil {
		t.Error("a message came")
	}
}

func TestAMessageOfAnotherSourceIsNoSubmission(t *testing.T) {
	if _, err := Submission(message.NewMessage("m", nil)); err == nil {
		t.Error("it was taken")
	}
}

func TestASourceThatClosesBetweenTwoTriesDoesNotSayThatNothingWasDone(t *testing.T) {
	h := newHTTP(1)
	msgs, err := h.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := h.Submit(context.Background(), millrace.Submission{Ack: millrace.AckQueued})
		done <- err
	}()
	msg := receive(t, msgs, "the submission comes")
	s, err := Submission(msg)
	if err != nil {
		t.Fatal(err)
	}
	s.Answer(millrace.Receipt{Ack: millrace.AckQueued})
	closed(t, h, msgs)
	msg.Nack() // the queue may have it, and its answer was lost
	if err := receive(t, done, "the client is answered"); !millrace.IsUnavailable(err) || errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// closed closes the source and fails unless its subscription ends.
func closed(t *testing.T, h *HTTP, msgs <-chan *message.Message) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if msg := receive(t, msgs, "the subscription ends"); msg != nil {
		t.Error("a message came after the end")
	}
}

// receive waits for a value.
func receive[T any](t testing.TB, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("not within %s: %s", patience, what)
	}
	return v
}
