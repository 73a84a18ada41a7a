package pipeline

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// startRedis starts a server of the test's own and answers with a client.
func startRedis(t *testing.T) *redis.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--daemonize", "no")
	if err := cmd.Start(); err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() {
		_ = client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(patience); client.Ping(t.Context()).Err() != nil; pause(t.Context(), 10*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("redis-server does not answer within %s", patience)
		}
	}
	return client
}

// told are graves that tell of each letter.
type told struct {
	fills chan millrace.DeadLetter
}

func (g *told) AddDeadLetter(_ context.Context, d millrace.DeadLetter) error {
	g.fills <- d
	return nil
}

// handled is a handler of a stage that tells what it was given.
type handled[In, Out any] func(ctx context.Context, in In) ([]Out, error)

// Handle calls the function.
func (h handled[In, Out]) Handle(ctx context.Context, in In) ([]Out, error) { return h(ctx, in) }

func quickStreams() StreamsConfig {
	c := DefaultStreamsConfig()
	c.ShutdownTimeout = patience
	return c
}

// runStages runs the stages on a server of their own, until the test ends.
func runStages(t *testing.T, stages ...Stage) (*streams.Publisher, <-chan millrace.DeadLetter) {
	t.Helper()
	client := startRedis(t)
	c := quickStreams()
	out, err := streams.NewPublisher(client, streams.PublisherConfig{Prefix: c.Prefix, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	dead := &told{fills: make(chan millrace.DeadLetter, 8)}
	a := around(&graves{})
	a.Dead = dead
	router, err := NewRouter(stages, Transport{Client: client, Publisher: out, Pressure: pressure(0), Consumer: "test", Config: c}, a)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	t.Cleanup(func() {
		if err := errors.Join(router.Close(), <-done, out.Close()); err != nil {
			t.Error(err)
		}
	})
	receive(t, router.Running(), "the stages run")
	return out, dead.fills
}

// receive waits for a value.
func receive[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("not within %s: %s", patience, what)
	}
	return v
}

func TestAValuePassesFromStageToStageWithItsEntryAndItsTrace(t *testing.T) {
	limits := DefaultConfig().Fanout.Limits
	arrived := make(chan millrace.Delivery, 1)
	fanout := handled[millrace.StoredEvent, millrace.Delivery](func(_ context.Context, e millrace.StoredEvent) ([]millrace.Delivery, error) {
		return []millrace.Delivery{{ID: e.ID, Turn: 1, Payload: e.Payload, TraceParent: e.TraceParent, Bulk: true}}, nil
	})
	deliver := handled[millrace.Delivery, handlers.Nothing](func(_ context.Context, d millrace.Delivery) ([]handlers.Nothing, error) {
		arrived <- d
		return nil, nil
	})
	out, _ := runStages(t, Between("fanout", limits, Persisted, fanout, Due), Last("deliver", limits, Due, deliver))
	e := millrace.StoredEvent{Event: millrace.Event{ID: millrace.NewID(time.Now()), Payload: []byte("{\n}\n"), TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	msg, err := encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Publish(string(Persisted), msg); err != nil {
		t.Fatal(err)
	}
	d := receive(t, arrived, "the delivery arrives")
	if d.ID != e.ID || string(d.Payload) != "{\n}\n" || d.TraceParent != e.TraceParent || !d.Bulk || d.Entry == "" {
		t.Errorf("arrived as %+v", d)
	}
}

func TestAMessageThatFailsIsTriedAgainAndDiesWithItsHistory(t *testing.T) {
	limits := DefaultConfig().Deliver.Limits
	limits.MaxRedeliveries, limits.MinBackoff, limits.MaxBackoff = 2, time.Millisecond, time.Millisecond
	deliver := handled[millrace.Delivery, handlers.Nothing](func(context.Context, millrace.Delivery) ([]handlers.Nothing, error) {
		panic("oh")
	})
	out, dead := runStages(t, Last("deliver", limits, Due, deliver))
	msg, err := encode(millrace.Delivery{ID: millrace.NewID(time.Now()), EventID: millrace.NewID(time.Now()), Turn: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Publish(string(Due), msg, message.NewMessage("odd", []byte("nonsense"))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		switch d := receive(t, dead, "both are dead letters"); d.Reason {
		case "undecodable":
			if string(d.Raw) != "nonsense" || len(d.History) != 1 {
				t.Errorf("undecodable: %+v", d)
			}
		case "redeliveries":
			if len(d.History) != 3 || d.DeliveryID == (millrace.ID{}) || string(d.Raw) != string(msg.Payload) {
				t.Errorf("after redeliveries: %+v", d)
			}
		default:
			t.Errorf("dead for reason %q", d.Reason)
		}
	}
}
