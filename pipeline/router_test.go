package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// startRedis starts a server of the test's own and answers with a client.
func startRedis(t testing.TB) *redis.Client {
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

func publisher(t testing.TB, client *redis.Client) *streams.Publisher {
	t.Helper()
	out, err := streams.NewPublisher(client, streams.PublisherConfig{Prefix: quickStreams().Prefix, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	return out
}

// transport is what stages pass messages on by.
func transport(t testing.TB, client *redis.Client) Transport {
	t.Helper()
	return Transport{Client: client, Publisher: publisher(t, client), Pressure: pressure(0), Shares: NewShares(client, quickStreams(), nil), Consumer: "test", Config: quickStreams()}
}

func publish[T any](t testing.TB, out message.Publisher, to Topic[T], v T) {
	t.Helper()
	msg, err := encode(to, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Publish(string(to), msg); err != nil {
		t.Fatal(err)
	}
}

// newRouter makes a router; run runs it and answers when its stages run.
func newRouter(t testing.TB, by Transport, a Around, stages ...Stage) (router *Router, run func() <-chan error) {
	t.Helper()
	router, err := NewRouter(stages, by, a)
	if err != nil {
		t.Fatal(err)
	}
	return router, func() <-chan error {
		done := make(chan error, 1)
		go func() { done <- router.Run(context.Background()) }()
		receive(t, router.Running(), "the stages run")
		return done
	}
}

// runStages runs the stages on a server of their own, until the test ends.
func runStages(t *testing.T, stages ...Stage) (message.Publisher, <-chan millrace.DeadLetter) {
	t.Helper()
	by := transport(t, startRedis(t))
	dead := &told{fills: make(chan millrace.DeadLetter, 8)}
	a := around(&graves{})
	a.Dead = dead
	router, run := newRouter(t, by, a, stages...)
	done := run()
	t.Cleanup(func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return by.Publisher, dead.fills
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
	msg, err := encode(Persisted, e)
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
	msg, err := encode(Due, millrace.Delivery{ID: millrace.NewID(time.Now()), EventID: millrace.NewID(time.Now()), Turn: 1})
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

func TestARouterThatClosesLetsWhatIsUnderWayFinishAndBeginsNothingMore(t *testing.T) {
	limits := DefaultConfig().Fanout.Limits
	limits.Concurrency = 2
	began, finish := make(chan millrace.ID, 8), make(chan struct{})
	fanout := handled[millrace.StoredEvent, millrace.Delivery](func(ctx context.Context, e millrace.StoredEvent) ([]millrace.Delivery, error) {
		began <- e.ID
		<-finish
		return []millrace.Delivery{{ID: e.ID, Turn: 1}}, ctx.Err()
	})
	client := startRedis(t)
	by := transport(t, client)
	router, run := newRouter(t, by, around(&graves{}), Between("fanout", limits, Persisted, fanout, Due))
	done := run()
	for range 5 {
		publish(t, by.Publisher, Persisted, millrace.StoredEvent{Event: millrace.Event{ID: millrace.NewID(time.Now())}})
	}
	for range 2 {
		receive(t, began, "two are under way")
	}
	closed := make(chan error, 1)
	go func() { closed <- router.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(finish)
	if err := errors.Join(receive(t, closed, "it is closed"), receive(t, done, "it ends")); err != nil {
		t.Error(err)
	}
	if n := len(began); n != 0 {
		t.Errorf("%d more were begun", n)
	}
	if n := client.XLen(t.Context(), "millrace:"+string(Due)).Val(); n != 2 {
		t.Errorf("%d were passed on, want 2", n)
	}
	left := client.XPending(t.Context(), "millrace:"+string(Persisted), Group("fanout")).Val()
	unread := client.XInfoGroups(t.Context(), "millrace:"+string(Persisted)).Val()[0].Lag
	if left.Count+unread != 3 {
		t.Errorf("%d wait for the next to come, want 3", left.Count+unread)
	}
}

// unavailable tells that it was tried, and that something is away.
func unavailable(tried chan<- struct{}) error {
	select {
	case tried <- struct{}{}:
	default:
	}
	return millrace.Unavailable(errors.New("away"))
}

func TestAStageThatClosesWhileItsStoresAreAwayEndsInTime(t *testing.T) {
	limits := DefaultConfig().Fanout.Limits
	fanned, retried := make(chan struct{}, 1), make(chan struct{}, 1)
	fanout := handled[millrace.StoredEvent, millrace.Delivery](func(context.Context, millrace.StoredEvent) ([]millrace.Delivery, error) {
		return nil, unavailable(fanned)
	})
	retry := handled[millrace.Due, millrace.Delivery](func(context.Context, millrace.Due) ([]millrace.Delivery, error) {
		return nil, unavailable(retried)
	})
	c := quickStreams()
	c.ShutdownTimeout = time.Second
	clock := NewClock(ClockConfig{
		Feeds:       []Feed{{Name: "due", Every: time.Millisecond, Next: oneDue().next}},
		Leading:     func(context.Context) (context.Context, error) { return context.Background(), nil },
		Concurrency: 1, ShutdownTimeout: c.ShutdownTimeout, Logger: slog.New(slog.DiscardHandler),
	})
	by := transport(t, startRedis(t))
	by.Config = c
	router, err := NewRouter([]Stage{
		Between("fanout", limits, Persisted, fanout, Due),
		From("retry", limits, Source[millrace.Due]{Subscriber: clock, Decode: DecodeJSON[millrace.Due]}, retry, Due),
	}, by, around(&graves{}))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	receive(t, router.Running(), "the stages run")
	publish(t, by.Publisher, Persisted, millrace.StoredEvent{Event: millrace.Event{ID: millrace.NewID(time.Now())}})
	receive(t, fanned, "fanout has tried")
	receive(t, retried, "retry has tried")
	if err := errors.Join(router.Close(), receive(t, done, "it ends")); err != nil {
		t.Error(err)
	}
}

func TestWhenAStageCannotBeWiredThoseBeforeItAreClosed(t *testing.T) {
	limits, wrong := DefaultConfig().Fanout.Limits, DefaultConfig().Deliver.Limits
	wrong.Concurrency = -1
	fanout := handled[millrace.StoredEvent, millrace.Delivery](nil)
	deliver := handled[millrace.Delivery, handlers.Nothing](nil)
	by := transport(t, startRedis(t))
	r, err := emptyRouter(by, around(&graves{}))
	if err != nil {
		t.Fatal(err)
	}
	err = r.wire([]Stage{Between("fanout", limits, Persisted, fanout, Due), Last("deliver", wrong, Due, deliver)}, by, around(&graves{}))
	if err == nil || !strings.Contains(err.Error(), "stage deliver: ") {
		t.Errorf("the fault is %v", err)
	}
	if _, err := r.subscribers["fanout"].Subscribe(t.Context(), string(Persisted)); !errors.Is(err, streams.ErrClosed) {
		t.Errorf("the subscriber of the stage before is open: %v", err)
	}
}
