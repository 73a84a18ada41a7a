package streams

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// between is a go-redis hook that does something once, after the nth command that was answered.
type between struct {
	nth, answered int
	do            func()
}

func (b *between) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *between) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil {
			if b.answered++; b.answered == b.nth {
				b.do()
			}
		}
		return err
	}
}

// trimWhile trims while something else is done, after the nth command that it takes, and reports whether it takes so many.
func (f *fixture) trimWhile(nth int, do func()) (done bool) {
	client := shared.client(f)
	client.AddHook(&between{nth: nth, do: func() { done = true; do() }})
	if err := trim(f.Context(), client, f.key()); err != nil && !groupIsGone(err) {
		f.Fatal(err)
	}
	return done
}

// TestTrimKeepsWhatIsDeliveredMeanwhile delivers an entry after each of the commands that it takes to trim.
func TestTrimKeepsWhatIsDeliveredMeanwhile(t *testing.T) {
	for nth, done := 1, true; done; nth++ {
		f := newFixture(t, shared)
		f.publish(Live, "m", 2)
		must(t, createGroup(t.Context(), f.client, f.key(), "group"))
		done = f.trimWhile(nth, func() { f.read("reader", 1) })
		if got := f.length(); got != 2 {
			t.Errorf("after command %d: %d entries are left, want both: one is pending, one unread", nth, got)
		}
	}
}

// remake destroys the group and makes it again, as a reader does that found it gone.
func (f *fixture) remake() {
	must(f, f.client.XGroupDestroy(f.Context(), f.key(), "group").Err())
	must(f, createGroup(f.Context(), f.client, f.key(), "group"))
}

// TestTrimKeepsWhatAGroupThatIsMadeAgainHadPending makes the group again after each of the commands that it takes to trim.
func TestTrimKeepsWhatAGroupThatIsMadeAgainHadPending(t *testing.T) {
	for nth, done := 1, true; done; nth++ {
		f := newFixture(t, shared)
		f.publish(Live, "m", 3)
		read := f.read("reader", 3)
		must(t, f.client.XAck(t.Context(), f.key(), "group", read[0].ID).Err())
		done = f.trimWhile(nth, f.remake)
		if got := f.client.XRange(t.Context(), f.key(), read[1].ID, read[2].ID).Val(); len(got) != 2 {
			t.Errorf("after command %d: %d entries are left of the 2 that were not acked", nth, len(got))
		}
	}
}

// TestTrimKeepsAStreamThatIsMadeAgain has a younger stream in the place of the one that was read, whose ids are lower: Redis was emptied, and its clock set back.
func TestTrimKeepsAStreamThatIsMadeAgain(t *testing.T) {
	for nth, done := 1, true; done; nth++ {
		f := newFixture(t, shared)
		f.publish(Live, "m", 1)
		must(t, f.client.XAck(t.Context(), f.key(), "group", f.read("reader", 1)[0].ID).Err())
		done = f.trimWhile(nth, func() {
			must(t, f.client.Del(t.Context(), f.key()).Err())
			must(t, f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: f.key(), ID: "1-1", Values: []string{"a", "b"}}).Err())
		})
		if got := f.length(); done && got != 1 {
			t.Errorf("after command %d: %d entries are left, want the one that was added since", nth, got)
		}
	}
}

// TestTheLowWaterMarkIsTheFirstIDThatIsNeeded has ids that a number of Lua cannot hold.
func TestTheLowWaterMarkIsTheFirstIDThatIsNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		delivered, pending, want string
	}{
		"after what was delivered":                 {delivered: "1732000000000-7", want: "1732000000000-8"},
		"what is pending":                          {delivered: "1732000000000-7", pending: "1732000000000-3", want: "1732000000000-3"},
		"what is pending, with fewer digits":       {delivered: "1732000000000-10", pending: "1732000000000-9", want: "1732000000000-9"},
		"what is pending, of an earlier time":      {delivered: "1732000000000-0", pending: "999-5", want: "999-5"},
		"beyond what a number holds, not rounded":  {delivered: "1732000000000-9007199254740993", pending: "1732000000000-9007199254740992", want: "1732000000000-9007199254740992"},
		"beyond what a number holds, one too many": {delivered: "1732000000000-18446744073709551615", want: "1732000000000-18446744073709551615"},
	} {
		f := newFixture(t, shared)
		must(t, createGroup(t.Context(), f.client, f.key(), "group"))
		if c.pending != "" {
			must(t, f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: f.key(), ID: c.pending, Values: []string{"a", "b"}}).Err())
			f.read("reader", 1)
		}
		must(t, f.client.XGroupSetID(t.Context(), f.key(), "group", c.delivered).Err())
		low, known, err := lowWater(t.Context(), f.client, f.key(), "group")
		if err != nil || !known || low.String() != c.want {
			t.Errorf("%s: %s, %v, %v; want %s", name, low, known, err, c.want)
		}
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
