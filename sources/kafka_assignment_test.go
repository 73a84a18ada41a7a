package sources

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// newTestAssignment has partitions 0 to n-1, and notes which are paused.
func newTestAssignment(workers, n int) (a *assignment, paused map[int32]bool) {
	paused = map[int32]bool{}
	a = newAssignment(workers)
	a.pause = func(number int32) { paused[number] = true }
	a.resume = func(number int32) { delete(paused, number) }
	for number := range n {
		a.add("topic", []int32{int32(number)})
	}
	return a, paused
}

// records are so many, of so many bytes each.
func records(from, n, size int) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = &kgo.Record{Offset: int64(from + i), LeaderEpoch: 7, Value: make([]byte, size)}
	}
	return rs
}

// beginAll begins what may begin now.
func beginAll(a *assignment) (tasks []task) {
	for {
		t, ok := a.try()
		if !ok {
			return tasks
		}
		tasks = append(tasks, t)
	}
}

func TestTheCommitFollowsTheFirstThatIsNotAcked(t *testing.T) {
	for _, c := range []struct {
		rule   string
		settle []int // in this order; one below zero is let go
		want   int64
	}{
		{"nothing settled commits nothing", nil, 0},
		{"the first alone", []int{0}, 11},
		{"what is behind one in flight is not committed", []int{1, 2, 3}, 0},
		{"a gap that is filled commits all", []int{1, 2, 0}, 13},
		{"what was let go is never passed by", []int{0, -1, 2, 3}, 11},
		{"all of them, in any order", []int{3, 2, 1, 0}, 14},
	} {
		t.Run(c.rule, func(t *testing.T) {
			a, _ := newTestAssignment(10, 1)
			a.put("topic", 0, records(10, 4, 1))
			tasks := beginAll(a)
			for _, i := range c.settle {
				a.settle(tasks[max(i, -i)], i >= 0)
			}
			due, offsets := a.uncommitted(nil)
			if got := offsets[0]; got.Offset != c.want || c.want > 0 && got.Epoch != 7 {
				t.Errorf("commits %+v, want %d", got, c.want)
			}
			for _, p := range due {
				a.committed(p, offsets[p.number])
			}
			if due, _ := a.uncommitted(nil); len(due) != 0 {
				t.Error("it is committed twice")
			}
		})
	}
}

func TestOnePartitionNeverTakesAllWorkers(t *testing.T) {
	a, _ := newTestAssignment(8, 2)
	a.put("topic", 0, records(0, 100, 1))
	if n := len(beginAll(a)); n != 6 {
		t.Errorf("%d of 8 workers have the one partition, want 6", n)
	}
	a.put("topic", 1, records(0, 100, 1))
	if n := len(beginAll(a)); n != 6 {
		t.Errorf("%d of the other may begin, want 6", n)
	}
	alone, _ := newTestAssignment(8, 1)
	alone.put("topic", 0, records(0, 8, 1))
	if n := len(beginAll(alone)); n != 8 {
		t.Errorf("the only partition has %d of 8 workers", n)
	}
	one, _ := newTestAssignment(1, 3)
	one.put("topic", 2, records(0, 1, 1))
	if n := len(beginAll(one)); n != 1 {
		t.Errorf("a worker alone does nothing")
	}
}

func TestPartitionsTakeTurns(t *testing.T) {
	a, _ := newTestAssignment(100, 3)
	for number := range 3 {
		a.put("topic", int32(number), records(0, 2, 1))
	}
	var turns []int32
	for _, task := range beginAll(a) {
		turns = append(turns, task.of.number)
	}
	if !slices.Equal(turns[:3], turns[3:]) || turns[0] == turns[1] || turns[1] == turns[2] {
		t.Errorf("in turn %v", turns)
	}
}

func TestWhatIsInFlightIsBoundedInBytes(t *testing.T) {
	a, _ := newTestAssignment(1000, 1)
	a.put("topic", 0, records(0, 10, runningBytes/4))
	begun := beginAll(a)
	if len(begun) != 4 {
		t.Errorf("%d messages of a quarter of the bound are in flight", len(begun))
	}
	for _, task := range begun {
		a.settle(task, true)
	}
	large, _ := newTestAssignment(1000, 1)
	large.put("topic", 0, records(0, 2, runningBytes+1))
	if n := len(beginAll(large)); n != 1 {
		t.Errorf("%d messages that are larger than the bound are in flight, want 1", n)
	}
}

func TestNoMoreBeginsWhileTheFirstHoldsUpTheCommit(t *testing.T) {
	a, _ := newTestAssignment(2*maxAhead, 1)
	a.put("topic", 0, records(0, maxAhead+10, 1))
	begun := beginAll(a)
	for _, task := range begun[1:] {
		a.settle(task, true)
	}
	if more := beginAll(a); len(begun) != maxAhead || len(more) != 0 {
		t.Errorf("%d began, and then %d", len(begun), len(more))
	}
	a.settle(begun[0], true)
	if more := beginAll(a); len(more) != 10 {
		t.Errorf("then %d begin, want 10", len(more))
	}
}

func TestFetchingWaitsForRoom(t *testing.T) {
	a, paused := newTestAssignment(1000, 2)
	now := time.Now()
	if !a.feed(now) {
		t.Error("nothing waits, and nothing is fetched")
	}
	a.put("topic", 0, records(0, 10, fullBytes/8))
	if a.feed(now) || a.feed(now.Add(restAfter-1)) {
		t.Error("one is full, and had no time to have room again")
	}
	if now = now.Add(restAfter); !a.feed(now) || !paused[0] || paused[1] {
		t.Errorf("one waits for messages: paused are %v", paused)
	}
	if !a.feed(now) {
		t.Error("the one that rests holds up the other")
	}
	a.put("topic", 1, records(0, 10, 1))
	if a.feed(now) {
		t.Error("something waits of both, and more is fetched")
	}
	for range 2 {
		a.try() // of each in turn
		a.try()
	}
	if !paused[0] {
		t.Error("it is fetched again while it is full")
	}
	a.try()
	a.try()
	if paused[0] {
		t.Error("it rests though it has room")
	}
	beginAll(a)
	if len(paused) != 0 || !a.feed(now) {
		t.Errorf("nothing waits: paused are %v", paused)
	}
	a.put("topic", 0, records(10, 1, heldBytes+1))
	if a.feed(now) || a.feed(now.Add(restAfter)) {
		t.Error("so much waits, and more is fetched")
	}
}

func TestAPartitionThatHasRoomSoonDoesNotRest(t *testing.T) {
	a, paused := newTestAssignment(1000, 2)
	a.put("topic", 0, records(0, 8, fullBytes/8))
	now := time.Now()
	a.feed(now)
	for len(a.fetch) > 0 {
		<-a.fetch
	}
	a.try()
	if len(a.fetch) == 0 {
		t.Error("who waits to fetch is not told")
	}
	if !a.feed(now) || len(paused) != 0 {
		t.Errorf("it is not fetched; paused are %v", paused)
	}
	a.put("topic", 0, records(8, 1, fullBytes/8))
	if a.feed(now.Add(restAfter)) {
		t.Error("it rests for how long it was full before")
	}
}

func TestAPartitionThatIsGivenUp(t *testing.T) {
	a, paused := newTestAssignment(10, 2)
	a.put("topic", 0, records(0, 3, fullBytes))
	a.feed(time.Now())
	if a.feed(time.Now().Add(restAfter)); !paused[0] {
		t.Fatal("it does not rest")
	}
	first, ok := a.try()
	if !ok {
		t.Fatal("nothing begins")
	}
	removed := a.remove([]int32{0, 5})
	if len(removed) != 1 || len(a.partitions) != 1 {
		t.Fatalf("given up are %d, and %d are left", len(removed), len(a.partitions))
	}
	if _, ok := a.try(); ok {
		t.Error("more of it begins")
	}
	a.put("topic", 0, records(3, 3, 1))
	if _, ok := a.try(); ok {
		t.Error("what came late begins")
	}
	select {
	case <-removed[0].idle:
		t.Error("it is idle while something is in flight")
	default:
	}
	a.settle(first, true)
	receive(t, removed[0].idle, "it is idle")
	if due, offsets := a.uncommitted(removed); len(due) != 1 || offsets[0].Offset != 1 {
		t.Errorf("what was acked is not committed: %v", offsets)
	}
	if due, _ := a.uncommitted(nil); len(due) != 0 {
		t.Error("it is committed when it is another's")
	}
	a.add("topic", []int32{0})
	if len(paused) != 0 {
		t.Error("it comes back paused")
	}
}

func TestAnotherTopicOfTheSameNameIsAnotherPartition(t *testing.T) {
	a, _ := newTestAssignment(10, 1)
	a.put("topic", 0, records(100, 2, 1))
	old := beginAll(a)
	a.put("another", 0, records(0, 1, 1))
	a.settle(old[0], true)
	if _, offsets := a.uncommitted(nil); len(offsets) != 0 {
		t.Errorf("the old one's offset is committed: %v", offsets)
	}
	if old[1].of.life.Err() == nil {
		t.Error("what is in flight of the old one goes on")
	}
	fresh := beginAll(a)
	if len(fresh) != 1 || fresh[0].of.topic != "another" {
		t.Fatalf("began %+v", fresh)
	}
	a.settle(fresh[0], true)
	if _, offsets := a.uncommitted(nil); offsets[0].Offset != 1 {
		t.Errorf("commits %v", offsets)
	}
}

func TestWaitingForAPartitionEndsWithItsContext(t *testing.T) {
	a, _ := newTestAssignment(1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool, 2)
	go func() {
		_, ok := a.next(ctx)
		done <- ok
	}()
	a.put("topic", 0, records(0, 1, 1))
	if !receive(t, done, "a message begins") {
		t.Error("nothing begins")
	}
	a.put("topic", 0, records(1, 1, fullBytes))
	go func() { done <- a.hungry(ctx) }()
	go func() {
		_, ok := a.next(ctx)
		if ok {
			_, ok = a.next(ctx)
		}
		done <- ok
	}()
	cancel()
	for range 2 {
		receive(t, done, "the wait ends")
	}
}

func BenchmarkAssignment(b *testing.B) {
	a, _ := newTestAssignment(256, 12)
	for i := range b.N {
		number := int32(i % 12)
		a.put("topic", number, []*kgo.Record{{Offset: int64(i)}})
		t, ok := a.try()
		if !ok {
			b.Fatalf("nothing begins at %d", i)
		}
		a.settle(t, true)
	}
}
