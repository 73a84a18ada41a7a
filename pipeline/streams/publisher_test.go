package streams

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// gate is a go-redis hook that counts round trips and can hold them up.
type gate struct {
	trips atomic.Int64
	hold  chan struct{}
	open  func()
}

// newGatedFixture is a fixture whose publisher has a connection, so that
// setting one up is not counted, and goes through a gate from now on.
func newGatedFixture(t *testing.T) (*fixture, *gate) {
	f := newFixture(t, shared)
	must(t, f.publisher.client.Ping(t.Context()).Err())
	g := &gate{hold: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.hold) })
	t.Cleanup(g.open)
	f.publisher.client.AddHook(g)
	return f, g
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		g.trips.Add(1)
		<-g.hold
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		g.trips.Add(1)
		<-g.hold
		return next(ctx, cmds)
	}
}

// publishBehind makes one call that the gate holds up on its way, alone, and n
// that are queued behind it.
func (f *fixture) publishBehind(g *gate, n int) *sync.WaitGroup {
	f.Helper()
	var calls sync.WaitGroup
	publish := func(i int) {
		calls.Go(func() {
			if err := f.publisher.Publish("topic", message.NewMessage(strconv.Itoa(i), nil)); err != nil {
				f.Error(err)
			}
		})
	}
	publish(0)
	eventually(f, "the first call is on its way alone", func() bool { return g.trips.Load() == 1 })
	for i := range n {
		publish(i + 1)
	}
	eventually(f, "the others are queued behind it", func() bool { return len(f.publisher.queue) == n })
	return &calls
}

func TestPublishConcurrentCallsLeaveTogether(t *testing.T) {
	f, g := newGatedFixture(t)
	calls := f.publishBehind(g, 50)
	g.open()
	calls.Wait()
	if got := g.trips.Load(); got != 2 {
		t.Errorf("51 calls took %d round trips, want 2", got)
	}
	if got := f.length(); got != 51 {
		t.Errorf("%d entries, want 51", got)
	}
}

func TestPublishOneCallIsOnePipeline(t *testing.T) {
	f, g := newGatedFixture(t)
	g.open()
	f.publish(Live, "m", 100)
	if got := g.trips.Load(); got != 1 {
		t.Errorf("100 messages took %d round trips, want 1", got)
	}
}

func TestPublishLanes(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "live", 2)
	f.publish(Bulk, "bulk", 3)
	for lane, want := range map[Lane]int64{Live: 2, Bulk: 3} {
		if got := f.client.XLen(t.Context(), Key(f.prefix, "topic", lane)).Val(); got != want {
			t.Errorf("%s has %d entries, want %d", lane, got, want)
		}
	}
}

func TestPublishReservedMetadata(t *testing.T) {
	f := newFixture(t, shared)
	msg := message.NewMessage("m", nil)
	msg.Metadata.Set(uuidField, "x")
	if err := f.publisher.Publish("topic", msg); err == nil || f.length() != 0 {
		t.Errorf("error %v and %d entries, want an error and none", err, f.length())
	}
}

// TestPublishLostReply cuts the connection between the XADD and its reply: the caller must hear of it, and nothing may add the message a second time.
func TestPublishLostReply(t *testing.T) {
	f := newFixture(t, shared)
	client := redis.NewClient(&redis.Options{Addr: dropReplies(t, shared.addr, "payload"), MaxRetries: 5})
	defer client.Close()
	publisher, err := NewPublisher(client, PublisherConfig{Prefix: f.prefix})
	must(t, err)
	defer publisher.Close()
	for _, n := range []int{1, 3} {
		batch := make([]*message.Message, n)
		for i := range batch {
			batch[i] = message.NewMessage(strconv.Itoa(i), nil)
		}
		if err := publisher.Publish("topic"+strconv.Itoa(n), batch...); err == nil {
			t.Errorf("%d messages: no error although the reply was lost", n)
		}
		key := Key(f.prefix, "topic"+strconv.Itoa(n), Live)
		eventually(t, "the entries are there", func() bool { return f.client.XLen(t.Context(), key).Val() >= int64(n) })
		if got := f.client.XLen(t.Context(), key).Val(); got != int64(n) {
			t.Errorf("%d messages became %d entries", n, got)
		}
	}
}

// dropReplies is a proxy to addr that cuts each connection as soon as it has passed on a request that contains the word.
func dropReplies(t *testing.T, addr, word string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { relay(conn, addr, word) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		conns.Wait()
	})
	return listener.Addr().String()
}

func relay(conn net.Conn, addr, word string) {
	defer conn.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	var cut atomic.Bool
	var replies sync.WaitGroup
	defer replies.Wait()
	replies.Go(func() {
		defer conn.Close()
		reply := make([]byte, 1<<16)
		for {
			n, err := server.Read(reply)
			if err != nil || cut.Load() { // Redis has done it
				return
			}
			if _, err := conn.Write(reply[:n]); err != nil {
				return
			}
		}
	})
	request := make([]byte, 1<<16)
	for {
		n, err := conn.Read(request)
		if err != nil {
			_ = server.Close()
			return
		}
		if strings.Contains(string(request[:n]), word) {
			cut.Store(true)
		}
		if _, err := server.Write(request[:n]); err != nil {
			return
		}
	}
}

// silentServer accepts connections and never answers.
func silentServer(t *testing.T) *redis.Client {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	client := redis.NewClient(&redis.Options{Addr: listener.Addr().String()})
	t.Cleanup(func() {
		_ = client.Close()
		_ = listener.Close()
	})
	return client
}

func TestPublishIsBounded(t *testing.T) {
	publisher, err := NewPublisher(silentServer(t), PublisherConfig{Timeout: 200 * time.Millisecond})
	must(t, err)
	defer publisher.Close()
	t.Run("by the timeout of the config", func(t *testing.T) {
		began := time.Now()
		if err := publisher.Publish("topic", message.NewMessage("m", nil)); err == nil {
			t.Error("no error from a Redis that does not answer")
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
	t.Run("by the context of the message", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := publisher.Publish("topic", message.NewMessageWithContext(ctx, "m", nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
	})
}

func TestPublishNothingLateForCallersThatLeft(t *testing.T) {
	f, g := newGatedFixture(t)
	first := make(chan error, 1)
	go func() { first <- f.publisher.Publish("topic", message.NewMessage("first", nil)) }()
	eventually(t, "the first call is on its way", func() bool { return g.trips.Load() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { second <- f.publisher.Publish("topic", message.NewMessageWithContext(ctx, "second", nil)) }()
	eventually(t, "the second is queued", func() bool { return len(f.publisher.queue) == 1 })
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	g.open()
	must(t, <-first)
	must(t, f.publisher.Close())
	if got := f.length(); got != 1 {
		t.Errorf("%d entries, want the first alone", got)
	}
}

func TestPublisherClose(t *testing.T) {
	f, g := newGatedFixture(t)
	calls := f.publishBehind(g, 19)
	closed := make(chan error, 1)
	go func() { closed <- f.publisher.Close() }()
	eventually(t, "it is closing", func() bool {
		f.publisher.mu.RLock()
		defer f.publisher.mu.RUnlock()
		return f.publisher.closed
	})
	if err := f.publisher.Publish("topic", message.NewMessage("late", nil)); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v while closing, want ErrClosed", err)
	}
	g.open()
	must(t, <-closed)
	calls.Wait()
	if got := f.length(); got != 20 {
		t.Errorf("%d entries, want 20", got)
	}
	must(t, f.client.Ping(t.Context()).Err()) // the given client is not ours to close
	must(t, f.publisher.Close())
}
