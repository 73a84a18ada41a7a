package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

func TestSubscribeKeepsAWindowInFlight(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "m", 20)
	messages := f.subscribe(f.subscriber(f.config())) // 8 at once
	var held []*message.Message
	for range 8 {
		held = append(held, f.next(messages))
	}
	f.silent(messages, 200*time.Millisecond)
	held[0].Ack()
	held = append(held[1:], f.next(messages))
	f.silent(messages, 200*time.Millisecond)
	for _, msg := range held {
		msg.Ack()
	}
}

func TestSubscribeReadsInBatchesAndAcksInGroups(t *testing.T) {
	s := ownServer(t)
	f := newFixture(t, s)
	f.publish(Live, "m", 2000)
	cfg := f.config()
	cfg.Concurrency = 200
	subscriber := f.subscriber(cfg)
	messages := f.subscribe(subscriber)
	for range 2000 {
		f.next(messages).Ack()
	}
	eventually(t, "all is acked", func() bool { return len(f.pending()) == 0 })
	for command, most := range map[string]int{"xreadgroup": 400, "xack": 1000} {
		if got := commandCount(t, f.client, command); got > most {
			t.Errorf("2000 messages took %d %s, want at most %d", got, command, most)
		}
	}
	if got := subscriber.Stats(); got.Acked != 2000 || got.Received != 2000 {
		t.Errorf("stats are %+v", got)
	}
}

func TestSubscribeTakesTwoConnections(t *testing.T) {
	s := ownServer(t)
	f := newFixture(t, s)
	before := connections(t, f)
	cfg := f.config()
	cfg.Concurrency = 64
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "m", 64)
	for range 64 {
		f.next(messages).Ack()
	}
	if got := connections(t, f) - before; got > 3 { // one of the publisher's
		t.Errorf("a subscription of 64 at once has %d connections, want at most 2", got-1)
	}
}

func connections(t *testing.T, f *fixture) int {
	list, err := f.client.ClientList(t.Context()).Result()
	must(t, err)
	return strings.Count(list, "\n")
}

func TestLiveGoesBeforeBulkEightToOne(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Bulk, "bulk", 200)
	f.publish(Live, "live", 200)
	cfg := f.config()
	cfg.Concurrency = 1
	messages := f.subscribe(f.subscriber(cfg))
	bulk := 0
	for range 90 {
		msg := f.next(messages)
		if LaneOf(msg) == Bulk {
			bulk++
		}
		msg.Ack()
	}
	if bulk < 5 || bulk > 15 {
		t.Errorf("of 90 messages %d were bulk, want about 10", bulk)
	}
}

func TestBulkHasAllWhileLiveIsEmpty(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Bulk, "bulk", 50)
	messages := f.subscribe(f.subscriber(f.config()))
	for range 50 {
		f.next(messages).Ack()
	}
}

func TestNackedMessagesComeAgainAfterABackoffThenAreDead(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.MaxRedeliveries, cfg.MinBackoff, cfg.MaxBackoff = 3, 50*time.Millisecond, time.Second
	dead := make(chan Dead, 1)
	cfg.Dead = func(_ context.Context, d Dead) error { dead <- d; return nil }
	messages := f.subscribe(f.subscriber(cfg))
	f.publish(Live, "m", 1)
	began := time.Now()
	entries := map[string]bool{}
	for try := range 4 {
		msg := f.nextIs(messages, "m0")
		entries[Entry(msg)] = true
		Fail(msg, fmt.Errorf("fault %d", try))
		msg.Nack()
	}
	if took := time.Since(began); took < (50+100+200)*time.Millisecond {
		t.Errorf("four tries took %s: no backoff that doubles", took)
	}
	d := receive(t, dead)
	if d.Reason != Redeliveries || d.UUID != "m0" || len(d.History) != 4 || !strings.Contains(d.History[3], "fault 3") {
		t.Errorf("dead is %+v", d)
	}
	if len(entries) != 1 {
		t.Errorf("one entry had the names %v", entries)
	}
	eventually(t, "the dead entry is acked", func() bool { return len(f.pending()) == 0 })
}

func TestUndecodableEntriesAreDeadAtOnceWithTheirBytes(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	dead := make(chan Dead, 1)
	cfg.Dead = func(_ context.Context, d Dead) error { dead <- d; return nil }
	messages := f.subscribe(f.subscriber(cfg))
	must(t, f.client.Do(t.Context(), "xadd", f.key(), "*", "foo", "b\x00r").Err())
	f.publish(Live, "m", 1)
	d := receive(t, dead)
	fields, err := Fields(d.Raw)
	if d.Reason != Undecodable || d.Message != nil || err != nil || len(fields) != 2 || fields[0] != "foo" || fields[1] != "b\x00r" {
		t.Errorf("dead is %+v with %q, %v", d, fields, err)
	}
	f.nextIs(messages, "m0").Ack()
	eventually(t, "all is acked", func() bool { return len(f.pending()) == 0 })
}

func TestADeadMessageStaysPendingUntilTheDeadLettersTakeIt(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	asked := make(chan error, 10)
	answers := []error{errors.New("away"), errors.New("away"), nil}
	cfg.Dead = func(context.Context, Dead) error {
		err := answers[0]
		answers = answers[1:]
		asked <- err
		return err
	}
	f.subscribe(f.subscriber(cfg))
	must(t, f.client.Do(t.Context(), "xadd", f.key(), "*", "foo", "bar").Err())
	receive(t, asked)
	if len(f.pending()) != 1 {
		t.Error("it is acked although the dead letters did not take it")
	}
	receive(t, asked)
	receive(t, asked)
	eventually(t, "it is acked", func() bool { return len(f.pending()) == 0 })
}

func TestIdleSubscriptionsDoNotPollBusily(t *testing.T) {
	s := ownServer(t)
	f := newFixture(t, s)
	cfg := f.config()
	cfg.ClaimInterval, cfg.TrimInterval, cfg.Lease = 0, 0, 0 // the defaults
	f.subscribe(f.subscriber(cfg))
	eventually(t, "it reads", func() bool { return commandCount(t, f.client, "xreadgroup") > 1 })
	before := processed(t, f)
	timer := time.NewTimer(3 * time.Second)
	<-timer.C
	if got := processed(t, f) - before; got > 45 {
		t.Errorf("%d commands in 3 s of idleness, want at most 15 a second", got)
	}
}

func processed(t *testing.T, f *fixture) int {
	total := 0
	for _, command := range []string{"xreadgroup", "xautoclaim", "xpending", "xinfo|groups", "xinfo|consumers", "xinfo|stream", "evalsha", "xtrim", "xclaim", "ping"} {
		total += commandCount(t, f.client, command)
	}
	return total
}
