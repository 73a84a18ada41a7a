package pipeline

import (
	"context"
	"errors"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// await asks until the answer is yes.
func await(t *testing.T, what string, ask func() (bool, error)) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; pause(t.Context(), 10*time.Millisecond) {
		yes, err := ask()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if yes {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func TestABarrierIsPassedOnceAllBeforeItIsAcknowledgedInBothLanes(t *testing.T) {
	began, finish := make(chan millrace.ID, 4), make(chan struct{})
	deliver := handled[millrace.Delivery, handlers.Nothing](func(_ context.Context, d millrace.Delivery) ([]handlers.Nothing, error) {
		began <- d.ID
		if d.Turn == 1 {
			<-finish
		}
		return nil, nil
	})
	client := startRedis(t)
	by := transport(t, client)
	out := by.Publisher
	router, run := newRouter(t, by, around(&graves{}), Last("deliver", DefaultConfig().Deliver.Limits, Due, deliver))
	barrier := TopicBarrier{Transport: Transport{Client: client, Config: quickStreams()}, Topic: string(Due), Stage: "deliver"}
	passed, err := barrier.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	await(t, "what holds nothing is passed", func() (bool, error) { return passed(t.Context()) })
	publish(t, out, Due, millrace.Delivery{ID: millrace.NewID(time.Now()), Turn: 1, Bulk: true})
	if passed, err = barrier.Mark(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ok, err := passed(t.Context()); ok || err != nil {
		t.Errorf("passed before it was read: %v, %v", ok, err)
	}
	done := run()
	receive(t, began, "it is under way")
	if ok, err := passed(t.Context()); ok || err != nil {
		t.Errorf("passed while it is under way: %v, %v", ok, err)
	}
	publish(t, out, Due, millrace.Delivery{ID: millrace.NewID(time.Now()), Turn: 2})
	receive(t, began, "what came later overtakes it")
	close(finish)
	await(t, "it is passed once it is acknowledged", func() (bool, error) { return passed(t.Context()) })
	if err := errors.Join(router.Close(), <-done); err != nil {
		t.Error(err)
	}
}

func TestABarrierSaysThatItsStreamWasReset(t *testing.T) {
	client := startRedis(t)
	out := publisher(t, client)
	publish(t, out, Due, millrace.Delivery{ID: millrace.NewID(time.Now()), Turn: 1})
	barrier := TopicBarrier{Transport: Transport{Client: client, Config: quickStreams()}, Topic: string(Due), Stage: "deliver"}
	passed, err := barrier.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if ok, err := passed(t.Context()); ok || !errors.Is(err, streams.ErrReset) {
		t.Errorf("passed: %v, %v", ok, err)
	}
}

func TestABarrierCannotBeDrawnWhileRedisIsAway(t *testing.T) {
	client := startRedis(t)
	barrier := TopicBarrier{Transport: Transport{Client: client, Config: quickStreams()}, Topic: string(Due), Stage: "deliver"}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := barrier.Mark(t.Context()); err == nil {
		t.Error("it was drawn")
	}
}

func TestPressureIsThatOfRedis(t *testing.T) {
	client := startRedis(t)
	p := NewPressure(client, 0.70)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Watch(ctx)
	}()
	defer func() { cancel(); <-done }()
	if err := client.ConfigSet(t.Context(), "maxmemory", "1000mb").Err(); err != nil {
		t.Fatal(err)
	}
	await(t, "it has room", func() (bool, error) { return p.Used() > 0 && p.Used() < 0.5 && p.Accepting() && p.Open(), nil })
	if err := client.ConfigSet(t.Context(), "maxmemory", "100kb").Err(); err != nil {
		t.Fatal(err)
	}
	await(t, "it is full", func() (bool, error) {
		return p.Used() >= leaveAt && p.Used() <= 1 || p.Used() > 1 && p.Used() != away, nil
	})
	if p.Accepting() || p.Open() {
		t.Errorf("at %g: accepting %v, open %v", p.Used(), p.Accepting(), p.Open())
	}
	if err := client.Do(t.Context(), "shutdown", "nosave").Err(); err == nil {
		t.Error("it answers after its end")
	}
	await(t, "it is away", func() (bool, error) { return p.Used() == away, nil })
}
