package streams

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// between is a go-redis hook that does something once, after the first of the commands that read the state of a group.
type between struct {
	once sync.Once
	do   func()
}

func (b *between) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *between) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if name := strings.ToLower(cmd.Name()); name == "xinfo" || name == "xpending" {
			b.once.Do(b.do)
		}
		return err
	}
}

// TestTrimKeepsWhatIsDeliveredMeanwhile delivers an entry between the two commands that the low-water mark is read by.
func TestTrimKeepsWhatIsDeliveredMeanwhile(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 2)
	must(t, createGroup(t.Context(), f.client, f.key(), "group"))
	hooked := shared.client(t)
	hooked.AddHook(&between{do: func() { f.read("reader", 1) }})
	must(t, trim(t.Context(), hooked, f.key()))
	if got := f.length(); got != 2 {
		t.Errorf("%d entries are left, want both: one is pending, one unread", got)
	}
}

func TestTrimHeedsEveryGroup(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 3)
	for _, m := range f.read("reader", 3) {
		must(t, f.client.XAck(t.Context(), f.key(), "group", m.ID).Err())
	}
	must(t, createGroup(t.Context(), f.client, f.key(), "other"))
	must(t, trim(t.Context(), f.client, f.key()))
	if got := f.length(); got != 3 {
		t.Errorf("%d entries are left, want the 3 that the other group has not read", got)
	}
	must(t, f.client.XGroupSetID(t.Context(), f.key(), "other", "$").Err())
	must(t, trim(t.Context(), f.client, f.key()))
	if got := f.length(); got != 0 {
		t.Errorf("%d entries are left, want none", got)
	}
}

func TestTrimLeavesAStreamWithoutGroups(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 3)
	must(t, trim(t.Context(), f.client, f.key()))
	if got := f.length(); got != 3 {
		t.Errorf("%d entries are left, want 3", got)
	}
}

// TestTrimUnderLoadLosesNothing trims as often as it can while two consumers read what a publisher adds.
func TestTrimUnderLoadLosesNothing(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.TrimInterval = time.Millisecond
	one, two := f.subscribe(f.subscriber(cfg)), f.subscribe(f.subscriber(cfg))
	const batches, size = 40, 50
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for i := range batches {
			f.publish(Live, string(rune('A'+i)), size)
		}
	})
	defer publishing.Wait()
	seen := map[string]bool{}
	deadline := time.After(patience)
	for len(seen) < batches*size {
		select {
		case msg := <-one:
			seen[msg.UUID] = true
			msg.Ack()
		case msg := <-two:
			seen[msg.UUID] = true
			msg.Ack()
		case <-deadline:
			t.Fatalf("%d of %d messages came", len(seen), batches*size)
		}
	}
	eventually(t, "the stream is empty", func() bool { return f.length() == 0 })
}
