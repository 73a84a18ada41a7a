package streams

import (
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
