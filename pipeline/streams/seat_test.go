package streams

import "testing"

func TestReadersAreServedInTheOrderInWhichTheyAsked(t *testing.T) {
	w := newWindow(SubscriberConfig{Concurrency: 1, MaxWaiting: 1, BulkWeight: 1}, func() {})
	first, second := w.sit(), w.sit()
	shard := newShard(&subscription{cfg: SubscriberConfig{Concurrency: 1}}, keys{})
	w.push(first, []*entry{{shard: shard, id: "1"}}, true, true)
	running := w.take()
	if _, ok := w.ask(second, room{live: 1, bulk: noBulk}); ok {
		t.Fatal("there is room although the one slot is taken")
	}
	if _, ok := w.ask(first, room{live: 1, bulk: noBulk}); ok {
		t.Fatal("there is room although the one slot is taken")
	}
	w.done(running, settled)
	if _, ok := w.ask(first, room{live: 1, bulk: noBulk}); ok {
		t.Error("the one that asked last is served first")
	}
	select {
	case <-second.freed:
	default:
		t.Error("the one that asked first is not told")
	}
	if r, ok := w.ask(second, room{live: 1, bulk: noBulk}); !ok || r.live != 1 {
		t.Errorf("the one that asked first gets %+v, %v", r, ok)
	}
	select {
	case <-first.freed:
	default:
		t.Error("the next one is not told")
	}
}

func TestReadersDivideTheRoom(t *testing.T) {
	w := newWindow(SubscriberConfig{Concurrency: 64, MaxWaiting: 1, BulkWeight: 8}, func() {})
	seats := make([]*seat, 4)
	for i := range seats {
		seats[i] = w.sit()
	}
	want := room{live: 1, bulk: noBulk}
	if r, _ := w.ask(seats[0], want); r != (room{live: 16, bulk: 14}) {
		t.Errorf("one of four that wait in Redis reads %+v", r)
	}
	w.push(seats[0], nil, true, true)
	if r, _ := w.ask(seats[0], want); r != (room{live: 64, bulk: 56}) {
		t.Errorf("the only one that has a backlog reads %+v", r)
	}
	w.push(seats[1], nil, true, true)
	if r, _ := w.ask(seats[0], want); r != (room{live: 32, bulk: 28}) {
		t.Errorf("one of two that have a backlog reads %+v", r)
	}
	for _, s := range seats[1:] {
		w.stand(s)
	}
	if r, _ := w.ask(seats[0], want); r != (room{live: 64, bulk: 56}) {
		t.Errorf("one that is alone reads %+v", r)
	}
}
