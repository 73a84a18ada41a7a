package streams

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// healing runs a subscription, breaks the server, and wants messages again.
func healing(t *testing.T, s *server, wreck func(f *fixture)) {
	f := newFixture(t, s)
	messages := f.subscribe(f.subscriber(f.config()))
	f.publish(Live, "before", 1)
	f.nextIs(messages, "before0").Ack()
	wreck(f)
	began := time.Now()
	eventually(t, "something can be published", func() bool {
		return f.publisher.Publish("topic", message.NewMessage("after", nil)) == nil
	})
	for {
		msg := f.next(messages)
		msg.Ack()
		if msg.UUID == "after" {
			break
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to go on, want a second", took)
	}
}

func TestHealFlushAll(t *testing.T) {
	healing(t, ownServer(t), func(f *fixture) { must(t, f.client.FlushAll(t.Context()).Err()) })
}

func TestHealStreamDeleted(t *testing.T) {
	healing(t, shared, func(f *fixture) { must(t, f.client.Del(t.Context(), f.key()).Err()) })
}

func TestHealGroupDestroyed(t *testing.T) {
	healing(t, shared, func(f *fixture) {
		must(t, f.client.XGroupDestroy(t.Context(), f.key(), "group").Err())
	})
}

func TestHealRestart(t *testing.T) {
	t.Run("with its append-only file", func(t *testing.T) {
		s := ownServer(t, "--appendonly", "yes", "--appendfsync", "always")
		healing(t, s, func(*fixture) {
			s.kill()
			must(t, s.start())
		})
	})
	t.Run("empty", func(t *testing.T) {
		s := ownServer(t)
		healing(t, s, func(*fixture) {
			s.kill()
			s.empty(t)
			must(t, s.start())
		})
	})
}

// TestRestartsUnderLoadLoseNothing kills Redis twice while twenty callers publish, each message until it is confirmed.
func TestRestartsUnderLoadLoseNothing(t *testing.T) {
	const count, callers = 4000, 20
	own := ownServer(t, "--appendonly", "yes", "--appendfsync", "always")
	f := newFixture(t, own)
	messages := f.subscribe(f.subscriber(f.config()))
	numbers := make(chan int)
	var publishing sync.WaitGroup
	defer publishing.Wait()
	for range callers {
		publishing.Go(func() {
			for n := range numbers {
				for f.publisher.Publish("topic", message.NewMessage(strconv.Itoa(n), nil)) != nil && t.Context().Err() == nil {
					wait(t.Context(), 10*time.Millisecond)
				}
			}
		})
	}
	publishing.Go(func() {
		defer close(numbers)
		for n := range count {
			if n == count/3 || n == count/2 {
				own.kill()
				if err := own.start(); err != nil {
					t.Error(err)
				}
			}
			numbers <- n
		}
	})
	seen := map[string]bool{}
	deadline := time.After(2 * patience)
	for len(seen) < count {
		select {
		case msg := <-messages:
			seen[msg.UUID] = true
			msg.Ack()
		case <-deadline:
			t.Fatalf("%d of %d messages came", len(seen), count)
		}
	}
}

func TestAGroupThatIsMadeAgainBeginsAtTheStart(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.TrimInterval = time.Hour
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "m", 1)
	f.nextIs(messages, "m0").Ack()
	must(t, f.client.XGroupDestroy(t.Context(), f.key(), "group").Err())
	f.nextIs(messages, "m0").Ack() // what is in the stream may not have been worked on
}

// TestHealWithWorkInFlight breaks what a subscription reads while one of its messages is out.
func TestHealWithWorkInFlight(t *testing.T) {
	breaks := map[string]func(*fixture, *server){
		"the group is destroyed": func(f *fixture, _ *server) {
			must(f, f.client.XGroupDestroy(context.Background(), f.key(), "group").Err())
		},
		"a stream is deleted": func(f *fixture, _ *server) {
			must(f, f.client.Del(context.Background(), f.key()).Err())
		},
		"the other stream is deleted": func(f *fixture, _ *server) {
			must(f, f.client.Del(context.Background(), Key(f.prefix, "topic", Bulk)).Err())
		},
		"everything is deleted": func(f *fixture, _ *server) {
			must(f, f.client.FlushAll(context.Background()).Err())
		},
		"Redis restarts empty": func(f *fixture, s *server) {
			s.kill()
			s.empty(f.T)
			must(f, s.start())
		},
		"Redis restarts with what it had": func(f *fixture, s *server) {
			s.kill()
			must(f, s.start())
		},
	}
	for name, broken := range breaks {
		t.Run(name, func(t *testing.T) {
			own := ownServer(t, "--appendonly", "yes", "--appendfsync", "always")
			f := newFixture(t, own)
			subscriber := f.subscriber(f.config())
			messages := f.subscribe(subscriber)
			f.publish(Live, "before", 2)
			first, inFlight := f.next(messages), f.next(messages)
			if first.UUID != "before0" { // two slots, no order
				first, inFlight = inFlight, first
			}
			first.Ack()
			eventually(t, "one is acked, and trimmed", func() bool { return subscriber.Stats().Acked == 1 && f.length() == 1 })
			broken(f, own)
			began := time.Now()
			f.publish(Live, "after", 1)
			f.nextIs(messages, "after0").Ack()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the next message came after %s", took)
			}
			f.publish(Bulk, "bulk", 1)
			f.nextIs(messages, "bulk0").Ack()
			inFlight.Ack()
			eventually(t, "what was in flight is acked too", func() bool { return subscriber.Stats().Acked == 4 && len(f.pending()) == 0 })
			f.silent(messages, 50*time.Millisecond)
		})
	}
}

// TestHealWhenIdle breaks what an idle subscription reads, and gives it no message to notice by.
func TestHealWhenIdle(t *testing.T) {
	own := ownServer(t)
	f := newFixture(t, own)
	messages := f.subscribe(f.subscriber(f.config()))
	f.publish(Live, "before", 1)
	f.next(messages).Ack()
	must(t, f.client.FlushAll(t.Context()).Err())
	began := time.Now()
	eventually(t, "the group is there again", func() bool {
		groups, err := f.client.XInfoGroups(t.Context(), f.key()).Result()
		return err == nil && len(groups) == 1
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestRedisThatDoesNotAnswerDoesNotHangClose(t *testing.T) {
	subscriber, err := NewSubscriber(silentServer(t), SubscriberConfig{Group: "group", Logger: quiet(), ShutdownTimeout: time.Second})
	must(t, err)
	messages, err := subscriber.Subscribe(t.Context(), "topic")
	must(t, err)
	began := time.Now()
	must(t, subscriber.Close())
	if _, open := <-messages; open {
		t.Error("a message came from nowhere")
	}
	if took := time.Since(began); took > patience {
		t.Errorf("it took %s", took)
	}
}
