package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

// numbers is an append of numbers. A test sees each flush, and answers it
// before it ends.
type numbers struct {
	*batcher[int, int, string]
	t       *testing.T
	flushes chan []int
	answers chan error
	callers sync.WaitGroup

	mu      sync.Mutex
	results map[int]error
}

func newNumbers(t *testing.T, l limits) *numbers {
	n := &numbers{t: t, flushes: make(chan []int), answers: make(chan error), results: map[int]error{}}
	n.batcher = newBatcher(appendKind[int, int, string]{
		name: "write numbers", key: func(i int) int { return i % 100 }, compare: func(a, b int) int { return a - b },
		weight: func(i int) int { return i }, write: n.write,
	}, l)
	t.Cleanup(n.close)
	return n
}

func (n *numbers) write(_ context.Context, calls []*call[int, string]) error {
	n.flushes <- rowsOf(calls)
	for _, c := range calls {
		c.result = strconv.Itoa(c.row)
	}
	return <-n.answers
}

// Of two rows that share either of their keys the second waits.
func TestAFlushCarriesOneRowOfEachOfItsKeys(t *testing.T) {
	b := newBatcher(appendKind[int, [2]int, string]{
		key: func(r [2]int) int { return r[0] }, second: func(r [2]int) (int, bool) { return r[1], r[1] != 0 },
		weight: func([2]int) int { return 1 },
	}, limits{rows: 10, weight: 10})
	for _, r := range [][2]int{{1, 2}, {3, 2}, {2, 0}, {4, 1}, {5, 0}, {6, 0}} {
		b.pending = append(b.pending, &call[[2]int, string]{row: r})
	}
	for _, want := range [][][2]int{{{1, 2}, {5, 0}, {6, 0}}, {{3, 2}, {4, 1}}, {{2, 0}}} {
		if got := rowsOf(b.take()); !slices.Equal(got, want) {
			t.Errorf("a flush carries %v, want %v", got, want)
		}
	}
}

// Two flushes that cross lock what they share in one order, and so do not
// deadlock.
func TestKeysAreTakenInOneOrder(t *testing.T) {
	event := func(project byte, client, broker string) eventRow {
		return eventRow{Event: millrace.Event{ProjectID: millrace.ID{project}}, keys: &eventKeys{client: eventKey{text: client}, broker: eventKey{text: broker}}}
	}
	rows := []eventRow{event(2, "client:a", ""), event(1, "client:b", "broker:z"), event(1, "client:a", "broker:y"), event(2, "", "broker:x")}
	want := []keyOf{{millrace.ID{1}, "broker:y"}, {millrace.ID{1}, "broker:z"}, {millrace.ID{1}, "client:a"}, {millrace.ID{1}, "client:b"}, {millrace.ID{2}, "broker:x"}, {millrace.ID{2}, "client:a"}}
	for range rows {
		rows = append(rows[1:], rows[0])
		var got []keyOf
		for _, k := range takings(rows) {
			got = append(got, k.keyOf)
		}
		if !slices.Equal(got, want) {
			t.Errorf("taken in the order %v, want %v", got, want)
		}
	}
}

// send has a caller write each row, and returns when all of them wait.
func (n *numbers) send(rows ...int) {
	before := n.waiting()
	for _, row := range rows {
		n.callers.Go(func() {
			result, err := n.do(context.Background(), row)
			if err == nil && result != strconv.Itoa(row) {
				n.t.Errorf("row %d was answered %q", row, result)
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.results[row] = err
		})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n.waiting() < before+len(rows) {
		<-tick.C
	}
}

// first has one caller's row written, and returns while it is.
func (n *numbers) first(row int) {
	n.callers.Go(func() { _, _ = n.do(context.Background(), row) })
	n.want(row)
}

// want takes the next flush and compares it.
func (n *numbers) want(rows ...int) {
	n.t.Helper()
	select {
	case got := <-n.flushes:
		if !slices.Equal(got, rows) {
			n.t.Errorf("flushed %v, want %v", got, rows)
		}
	case <-time.After(time.Minute):
		n.t.Fatal("no flush came")
	}
}

func usual() limits { return limits{rows: 10, weight: 1000, writers: 1} }

func TestRowsThatComeDuringAFlushAreWrittenTogetherInOrder(t *testing.T) {
	n := newNumbers(t, usual())
	n.first(1)
	n.send(7)
	n.send(3, 5, 4)
	n.answers <- nil
	n.want(3, 4, 5, 7)
	n.answers <- nil
	n.callers.Wait()
}

func TestASecondRowOfAKeyWaitsForTheNextFlush(t *testing.T) {
	n := newNumbers(t, usual())
	n.first(1)
	n.send(3)
	n.send(103, 2)
	n.answers <- nil
	n.want(2, 3)
	n.answers <- nil
	n.want(103)
	n.answers <- nil
	n.callers.Wait()
}

func TestAFlushIsBoundedByRowsAndByWeight(t *testing.T) {
	n := newNumbers(t, limits{rows: 2, weight: 1000, writers: 1})
	n.first(1)
	n.send(2)
	n.send(3)
	n.send(4)
	n.answers <- nil
	n.want(2, 3)
	n.send(950) // with 4 they would weigh 954; with 99 too much
	n.send(99)
	n.answers <- nil
	n.want(4, 950)
	n.answers <- nil
	n.want(99)
	n.send(2050) // weighs more than all together may: it goes alone
	n.send(5)
	n.answers <- nil
	n.want(2050)
	n.answers <- nil
	n.want(5)
	n.answers <- nil
	n.callers.Wait()
}

func TestARefusedRowFailsAlone(t *testing.T) {
	n := newNumbers(t, usual())
	refused := &pq.Error{Code: "22021", Message: "no such character"}
	n.first(9)
	n.send(1, 2, 3, 4)
	n.answers <- nil
	n.want(1, 2, 3, 4)
	n.answers <- refused
	n.want(1, 2)
	n.answers <- nil
	n.want(3, 4)
	n.answers <- refused
	n.want(3)
	n.answers <- refused
	n.want(4)
	n.answers <- nil
	n.callers.Wait()
	for row := range 5 {
		if err := n.results[row]; (err != nil) != (row == 3) || row == 3 && millrace.CodeOf(err) != millrace.CodeInvalid {
			t.Errorf("row %d: %v", row, err)
		}
	}
}

func TestAnyOtherFailureIsUnavailableForAll(t *testing.T) {
	n := newNumbers(t, usual())
	n.first(9)
	n.send(1, 2)
	n.answers <- nil
	n.want(1, 2)
	n.answers <- errors.New("a cable is cut")
	n.callers.Wait()
	for row := 1; row < 3; row++ {
		if !millrace.IsUnavailable(n.results[row]) {
			t.Errorf("row %d: %v", row, n.results[row])
		}
	}
	if s := n.snapshot(); s.Failed != 1 || s.Flushes != 2 || s.Rows != 3 || s.Waiting != 0 {
		t.Errorf("the statistics are %+v", s)
	}
}

func TestWhatWasRolledBackForOthersSakeIsTriedAgain(t *testing.T) {
	n := newNumbers(t, usual())
	n.first(9)
	n.send(1, 2)
	n.answers <- nil
	n.want(1, 2)
	n.answers <- &pq.Error{Code: "40P01"} // a deadlock
	n.want(1, 2)
	n.answers <- &pq.Error{Code: "23514"} // a partition was attached meanwhile
	n.want(1, 2)
	n.answers <- nil
	n.callers.Wait()
	if n.results[1] != nil || n.results[2] != nil {
		t.Errorf("the rows failed: %v", n.results)
	}
}

func TestACallerWhoLeavesIsToldThatTheResultIsUnknown(t *testing.T) {
	n := newNumbers(t, usual())
	ctx, leave := context.WithCancel(context.Background())
	n.callers.Go(func() {
		_, err := n.do(ctx, 1)
		n.results[1] = err
	})
	n.want(1)
	leave()
	n.callers.Wait()
	if err := n.results[1]; !millrace.IsUnavailable(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("told %v", err)
	}
	n.answers <- nil // and yet it is written
	n.first(2)       // and its place is free
	n.answers <- nil
	n.callers.Wait()
}

func TestClosingWritesWhatWaitsAndRefusesMore(t *testing.T) {
	n := newNumbers(t, usual())
	n.first(9)
	n.send(1, 2)
	ended := make(chan struct{})
	go func() {
		n.close()
		close(ended)
	}()
	<-n.quit
	if _, err := n.do(context.Background(), 3); !millrace.IsUnavailable(err) || !errors.Is(err, errClosed) {
		t.Errorf("when it was closed a row was answered %v", err)
	}
	n.answers <- nil
	n.want(1, 2)
	n.answers <- nil
	<-ended
	n.callers.Wait()
	if n.results[1] != nil || n.results[2] != nil {
		t.Errorf("the rows failed: %v", n.results)
	}
}

func TestTwoWritersWriteAtTheSameTime(t *testing.T) {
	l := usual()
	l.writers = 2
	n := newNumbers(t, l)
	n.first(1)
	n.first(2) // while 1 is being written
	n.answers <- nil
	n.answers <- nil
	n.callers.Wait()
}

func TestPace(t *testing.T) {
	const interval = 25 * time.Millisecond
	now := time.Now()
	// flushed is the pace after flushes of so many rows, every gap, for a while.
	flushed := func(rows int, gap time.Duration) *pace {
		p := &pace{interval: interval, started: now}
		for at := gap; at < time.Second; at += gap {
			p.start(now.Add(at), rows)
		}
		return p
	}
	cases := []struct {
		rule string
		pace *pace
		wait bool
	}{
		{"nothing came yet: at once", &pace{interval: interval, started: now}, false},
		{"50 rows a second: at once", flushed(1, 20*time.Millisecond), false},
		{"700 rows a second: at once", flushed(1, time.Second/700), false},
		{"1,000 rows a second: wait for company", flushed(1, time.Millisecond), true},
		{"5,000 rows a second in large flushes: wait", flushed(100, 20*time.Millisecond), true},
	}
	for _, c := range cases {
		if wait := c.pace.wait(c.pace.started); (wait > 0) != c.wait || wait > interval {
			t.Errorf("%s: it waits %s", c.rule, wait)
		}
		if wait := c.pace.wait(c.pace.started.Add(interval)); wait > 0 {
			t.Errorf("%s: an interval later it waits %s more", c.rule, wait)
		}
	}
	if quiet := flushed(1, time.Millisecond).quiet(); quiet < 7*time.Millisecond || quiet > 13*time.Millisecond {
		t.Errorf("at 1,000 rows a second it is quiet after %s", quiet)
	}
}
