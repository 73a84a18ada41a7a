package streams

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// reconfigured is a config whose leases pass soon, so that what is left over is dropped soon.
func (f *fixture) reconfigured() SubscriberConfig {
	cfg := f.config()
	cfg.Lease = 200 * time.Millisecond
	return cfg
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
			messages := now.subscribe(now.subscriber(now.reconfigured()))
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
	first := old.subscriber(old.reconfigured())
	messages := old.subscribe(first)
	for _, name := range []string{"a", "b"} {
		both(name)
		old.brings(messages, all(name)...)
	}
	must(t, first.Close())
	both("between")
	messages = now.subscribe(now.subscriber(now.reconfigured()))
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
	messages := now.subscribe(now.subscriber(now.reconfigured()))
	for _, name := range []string{"once", "again", "and-again"} {
		old.publish(Live, name, 10)
		now.brings(messages, numbered(name, 10)...)
		eventually(t, "they are dropped", func() bool { return now.streams() == 2 })
	}
}

// TestALeftoverThatIsInUseIsNotDropped has a consumer of the old number, or of someone else, that lives and has nothing to do.
func TestALeftoverThatIsInUseIsNotDropped(t *testing.T) {
	for name, use := range map[string]func(old *fixture){
		"by a process of the old number": func(old *fixture) { old.subscribe(old.subscriber(old.reconfigured())) },
		"by another group": func(old *fixture) {
			cfg := old.reconfigured()
			cfg.Group = "another"
			old.subscribe(old.subscriber(cfg))
		},
		"by another group that has not read all": func(old *fixture) {
			must(old, createGroup(old.Context(), old.client, old.key(), "another"))
			old.publish(Live, "m", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old := newShardedFixture(t, shared.client(t), 1)
			use(old)
			eventually(t, "it is there", func() bool { return old.streams() > 0 })
			now := old.sharded(4)
			cfg := now.reconfigured()
			messages := now.subscribe(now.subscriber(cfg))
			ends := time.After(3 * deadLeases * cfg.Lease)
			for open := true; open; {
				select {
				case msg := <-messages:
					msg.Ack()
				case <-ends:
					open = false
				}
			}
			if n, err := now.client.Exists(t.Context(), old.key()).Result(); n != 1 || err != nil {
				t.Errorf("it was dropped: %v", err)
			}
		})
	}
}

// TestALeftoverIsDroppedThoughSeveralReadIt has two processes of the new number, each of which reads what is left over.
func TestALeftoverIsDroppedThoughSeveralReadIt(t *testing.T) {
	t.Parallel()
	old := newShardedFixture(t, shared.client(t), 2)
	now := old.sharded(1)
	one, two := now.subscribe(now.subscriber(now.reconfigured())), now.subscribe(now.subscriber(now.reconfigured()))
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
