package streams

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// reconfigured is a subscriber whose leases pass soon, and that drops soon what is left over.
func (f *fixture) reconfigured() *Subscriber {
	f.Helper()
	cfg := f.config()
	cfg.Lease = 200 * time.Millisecond
	subscriber := f.subscriber(cfg)
	subscriber.dropAfter = 500 * time.Millisecond
	return subscriber
}

// streams returns how many streams of the topic there are, under any number of shards.
func (f *fixture) streams() int {
	f.Helper()
	n := 0
	for _, k := range everyShard(f.prefix, "topic") {
		for _, key := range k {
			exists, err := f.client.Exists(f.Context(), key).Result()
			must(f, err)
			n += int(exists)
		}
	}
	return n
}

// TestARestartWithAnotherNumberOfShardsLosesNothing leaves entries unread, and others pending with a consumer that is dead.
func TestARestartWithAnotherNumberOfShardsLosesNothing(t *testing.T) {
	for _, c := range []struct{ before, after int }{{1, 4}, {4, 1}, {4, 2}, {2, 5}} {
		t.Run(fmt.Sprintf("%d to %d", c.before, c.after), func(t *testing.T) {
			t.Parallel()
			old := newShardedFixture(t, shared.client(t), c.before)
			old.publish(Live, "pending", 40)
			old.publish(Bulk, "bulk-pending", 40)
			old.readAll("dead")
			old.publish(Live, "unread", 40)
			old.publish(Bulk, "bulk-unread", 40)
			now := old.sharded(c.after)
			now.publish(Live, "new", 40)
			line, err := Position(t.Context(), now.client, now.prefix, "topic")
			must(t, err)
			messages := now.subscribe(now.reconfigured())
			var all []string
			for _, name := range []string{"pending", "bulk-pending", "unread", "bulk-unread", "new"} {
				all = append(all, numbered(name, 40)...)
			}
			held := now.next(messages)
			now.brings(messages, slices.DeleteFunc(all, func(uuid string) bool { return uuid == held.UUID })...)
			if passed, err := Passed(t.Context(), now.client, "group", line); passed || err != nil {
				t.Errorf("passed with %s not acked: %v, %v", Entry(held), passed, err)
			}
			held.Ack()
			now.leavesNothing()
			eventually(t, "the streams of the other number are dropped", func() bool { return now.streams() == 2*c.after })
		})
	}
}

// TestProcessesOfTwoNumbersOfShardsReadEachOthersMessages is a rolling restart: one publisher has the old number, the other the new one, and for a while there are
// consumers of only one of them.
func TestProcessesOfTwoNumbersOfShardsReadEachOthersMessages(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 1)
	now := old.sharded(4)
	both := func(name string) {
		old.publish(Live, name+"old", 20)
		now.publish(Live, name+"new", 20)
	}
	all := func(name string) []string { return append(numbered(name+"old", 20), numbered(name+"new", 20)...) }
	first := old.reconfigured()
	messages := old.subscribe(first)
	for _, name := range []string{"a", "b"} {
		both(name)
		old.brings(messages, all(name)...)
	}
	must(t, first.Close())
	both("between")
	messages = now.subscribe(now.reconfigured())
	now.brings(messages, all("between")...)
	for _, name := range []string{"c", "d"} {
		both(name)
		now.brings(messages, all(name)...)
	}
	now.leavesNothing()
}

// TestALeftoverThatComesBackIsReadAgain has a publisher of the old number add to streams that were dropped already.
func TestALeftoverThatComesBackIsReadAgain(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 2)
	now := old.sharded(1)
	messages := now.subscribe(now.reconfigured())
	for _, name := range []string{"once", "again", "and-again"} {
		old.publish(Live, name, 10)
		now.brings(messages, numbered(name, 10)...)
		eventually(t, "they are dropped", func() bool { return now.streams() == 2 })
	}
}

// TestALeftoverOfAnotherGroupIsNotDropped has somebody else read what is left over, with a consumer that may not be able to make its group again.
func TestALeftoverOfAnotherGroupIsNotDropped(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 1)
	old.publish(Live, "m", 1)
	must(t, createGroup(t.Context(), old.client, old.key(), "another"))
	now := old.sharded(4)
	messages := now.subscribe(now.reconfigured())
	now.brings(messages, "m0")
	must(t, now.client.XGroupSetID(t.Context(), old.key(), "another", "$").Err())
	now.silent(messages, time.Second)
	if groups := now.client.XInfoGroups(t.Context(), old.key()).Val(); len(groups) != 2 {
		t.Errorf("its groups are %+v", groups)
	}
}

// TestALeftoverInWhichSomethingWaitsIsNotDropped has a message be out for long.
func TestALeftoverInWhichSomethingWaitsIsNotDropped(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 1)
	old.publish(Live, "m", 1)
	now := old.sharded(4)
	messages := now.subscribe(now.reconfigured())
	msg := now.nextIs(messages, "m0")
	now.silent(messages, time.Second)
	if pending := old.pending(); len(pending) != 1 || Entry(msg) != old.key()+"/"+pending[0].ID {
		t.Errorf("pending is %+v, want %s", pending, Entry(msg))
	}
	msg.Ack()
	eventually(t, "it is dropped", func() bool { return now.streams() == 8 })
}

// TestAProcessWhoseStreamsWereDroppedGoesOn has one of the old number that was idle for so long that others dropped what it reads.
func TestAProcessWhoseStreamsWereDroppedGoesOn(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 1)
	messages := old.subscribe(old.reconfigured())
	old.publish(Live, "m", 1)
	old.brings(messages, "m0")
	now := old.sharded(4)
	subscriber := now.reconfigured()
	now.silent(now.subscribe(subscriber), time.Second)
	must(t, subscriber.Close())
	if end, err := lastID(t.Context(), old.client, old.key()); end != (entryID{}) || err != nil {
		t.Errorf("it was not dropped: it ends at %s, %v", end, err)
	}
	old.publish(Live, "after", 10)
	old.brings(messages, numbered("after", 10)...)
}

// TestALeftoverIsDroppedThoughSeveralReadIt has two processes of the new number, each of which reads what is left over.
func TestALeftoverIsDroppedThoughSeveralReadIt(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 2)
	now := old.sharded(1)
	one, two := now.subscribe(now.reconfigured()), now.subscribe(now.reconfigured())
	old.publish(Live, "m", 100)
	seen := map[string]bool{}
	for len(seen) < 100 {
		select {
		case msg := <-one:
			seen[msg.UUID] = true
			msg.Ack()
		case msg := <-two:
			seen[msg.UUID] = true
			msg.Ack()
		case <-time.After(patience):
			t.Fatalf("%d of 100 messages came", len(seen))
		}
	}
	eventually(t, "it is dropped", func() bool { return now.streams() == 2 })
}

// TestALeftoverThatWasAckedAndNotTrimmedIsDropped has a process of the old number end before it could trim.
func TestALeftoverThatWasAckedAndNotTrimmedIsDropped(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 1)
	old.publish(Live, "m", 10)
	for _, m := range old.read("gone", 10) {
		must(t, old.client.XAck(t.Context(), old.key(), "group", m.ID).Err())
	}
	now := old.sharded(2)
	now.subscribe(now.reconfigured())
	eventually(t, "it is found", func() bool { return now.streams() == 6 })
	eventually(t, "it is dropped", func() bool { return now.streams() == 4 })
}

// TestWhatIsHeldOfALeftoverIsNotBegunTwice loses the group of a leftover while one of its messages is out.
func TestWhatIsHeldOfALeftoverIsNotBegunTwice(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 1)
	now := old.sharded(4)
	messages := now.subscribe(now.subscriber(now.config()))
	old.publish(Live, "m", 1)
	msg := now.nextIs(messages, "m0")
	must(t, now.client.XGroupDestroy(t.Context(), old.key(), "group").Err())
	eventually(t, "the group is there again", func() bool { return len(now.client.XInfoGroups(t.Context(), old.key()).Val()) == 1 })
	now.silent(messages, 2*now.config().Lease)
	if !Held(msg) {
		t.Error("it is not held any more")
	}
	msg.Ack()
	now.leavesNothing()
}

// TestWithoutLeftoversOneCommandLooksForThem keeps what looking costs an idle process small.
func TestWithoutLeftoversOneCommandLooksForThem(t *testing.T) {
	t.Parallel()
	f := newShardedFixture(t, ownServer(t).client(t), 1)
	f.subscribe(f.subscriber(f.config()))
	eventually(t, "it has looked several times", func() bool { return commandCount(t, f.client, "exists") > 3 })
	if got := commandCount(t, f.client, "type"); got != 0 {
		t.Errorf("it has asked for %d streams one by one", got)
	}
}
