package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	millrace "github.com/millrace-dev/millrace"
)

// graves are dead letters in memory; each write fails first with what is in
// fails.
type graves struct {
	fails []error
	kept  []millrace.DeadLetter
}

func (g *graves) AddDeadLetter(_ context.Context, d millrace.DeadLetter) error {
	if len(g.fails) > 0 {
		err := g.fails[0]
		g.fails = g.fails[1:]
		return err
	}
	g.kept = append(g.kept, d)
	return nil
}

func around(dead *graves) Around {
	return Around{
		Metrics: NewMetrics(prometheus.NewRegistry()), Tracer: noop.NewTracerProvider().Tracer(""), Dead: dead,
		Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	}
}

// quick are limits of two redeliveries, at once.
func quick() Limits {
	return Limits{MaxRedeliveries: 2, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond}
}

// answers is a handler that gives one answer after the other.
func answers(all ...error) (message.HandlerFunc, *int) {
	tries := new(int)
	return func(*message.Message) ([]*message.Message, error) {
		err := all[min(*tries, len(all)-1)]
		*tries++
		if err != nil {
			return nil, err
		}
		return []*message.Message{message.NewMessage("out", nil)}, nil
	}, tries
}

func TestWhoeverWaitsForAnAnswerGetsEveryError(t *testing.T) {
	away := millrace.Unavailable(errors.New("away"))
	handle, tries := answers(away)
	_, err := around(&graves{}).wrap(Stage{Name: "s", handle: handle, Answers: true})(message.NewMessage("m", nil))
	if !errors.Is(err, away) || *tries != 1 {
		t.Errorf("%v after %d tries", err, *tries)
	}
}

func TestAPanicIsAnErrorLikeAnother(t *testing.T) {
	handle := func(*message.Message) ([]*message.Message, error) { panic("oh") }
	_, err := around(&graves{}).wrap(Stage{Name: "s", Answers: true, handle: handle})(message.NewMessage("m", nil))
	if err == nil || !strings.Contains(err.Error(), "panic: oh") {
		t.Errorf("got %v", err)
	}
}

func TestATryIsBoundedByTheStagesTimeout(t *testing.T) {
	handle := func(msg *message.Message) ([]*message.Message, error) {
		<-msg.Context().Done()
		return nil, msg.Context().Err()
	}
	msg := message.NewMessage("m", nil)
	_, err := around(&graves{}).wrap(Stage{Name: "s", Answers: true, handle: handle, Limits: Limits{Timeout: time.Millisecond}})(msg)
	if !errors.Is(err, context.DeadlineExceeded) || msg.Context().Err() != nil {
		t.Errorf("got %v, and the message's own context ends with %v", err, msg.Context().Err())
	}
}

func TestOneBackoffHoldsTheWholeStage(t *testing.T) {
	g := &gate{}
	done := make(chan error, 8)
	for range 8 {
		go func() { done <- g.pause(t.Context()) }()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n := g.failures.Load(); n < 1 || n > 8 {
		t.Errorf("%d backoffs", n)
	}
	began := time.Now()
	if err := g.pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*waitFirst {
		t.Errorf("the second wait took %s, no longer than the first", took)
	}
	g.through()
	if g.failures.Load() != 0 {
		t.Error("a stage that got through still counts failures")
	}
}

func TestADeadLetterSaysWhoseMessageItWas(t *testing.T) {
	project, event, delivery := millrace.NewID(time.Now()), millrace.NewID(time.Now()), millrace.NewID(time.Now())
	due, err := encode(Due, millrace.Delivery{ID: delivery, ProjectID: project, EventID: event, Turn: 1})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := encode(Persisted, millrace.StoredEvent{Event: millrace.Event{ID: event, ProjectID: project}})
	if err != nil {
		t.Fatal(err)
	}
	a := around(&graves{})
	d := a.deadLetter(Stage{Name: "deliver", Reads: string(Due)}, due)
	if d.ProjectID != project || d.EventID != event || d.DeliveryID != delivery || d.Stage != "deliver" {
		t.Errorf("of a delivery: %+v", d)
	}
	d = a.deadLetter(Stage{Name: "fanout", Reads: string(Persisted)}, stored)
	if d.ProjectID != project || d.EventID != event || d.DeliveryID != (millrace.ID{}) {
		t.Errorf("of an event: %+v", d)
	}
	d = a.deadLetter(Stage{Name: "fanout", Reads: string(Persisted)}, message.NewMessage("m", []byte("nonsense")))
	if d.ProjectID != (millrace.ID{}) || string(d.Raw) != "nonsense" {
		t.Errorf("of nobody: %+v", d)
	}
}

func TestADeadLetterWrittenTwiceIsOne(t *testing.T) {
	a := around(&graves{})
	one, again := a.deadID("s", "topic/1700000000000-3", "m"), a.deadID("s", "topic/1700000000000-3", "m")
	other := a.deadID("s", "topic/1700000000000-4", "m")
	if one != again || one == other || fmt.Sprint(millrace.TimeOf(one).UnixMilli()) != "1700000000000" {
		t.Errorf("%s, %s and %s", one, again, other)
	}
}
