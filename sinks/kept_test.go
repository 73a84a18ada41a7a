package sinks

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// keptLog is a kept of numbers that notes what it closes.
type keptLog struct {
	*kept[string, int]
	mu     sync.Mutex
	made   int
	closed []int
}

func newKeptLog(most int, idle time.Duration) *keptLog {
	l := &keptLog{}
	l.kept = newKept[string](keptLimits{most: most, idle: idle, age: time.Hour}, func(n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closed = append(l.closed, n)
	})
	return l
}

func (l *keptLog) use(t *testing.T, key string) (int, func(bool)) {
	t.Helper()
	n, back, err := l.kept.use(key, func() (int, error) { l.made++; return l.made, nil })
	if err != nil {
		t.Fatal(err)
	}
	return n, back
}

// gone waits until these were closed, in any order.
func (l *keptLog) gone(t *testing.T, want ...int) {
	t.Helper()
	eventually(t, "they are closed", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		got := slices.Sorted(slices.Values(l.closed))
		return slices.Equal(got, want)
	})
}

// eventually waits for what must come true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestWhatIsKeptIsShared(t *testing.T) {
	l := newKeptLog(10, time.Hour)
	a, backA := l.use(t, "a")
	again, backAgain := l.use(t, "a")
	b, backB := l.use(t, "b")
	if a != again || a == b {
		t.Errorf("they are %d, %d and %d", a, again, b)
	}
	backA(false)
	backAgain(false)
	backB(false)
	if later, back := l.use(t, "a"); later != a {
		t.Errorf("later it is %d, was %d", later, a)
	} else {
		back(false)
	}
	l.clear()
	l.gone(t, 1, 2)
}

func TestWhatIsKeptIsClosedAfterAWhile(t *testing.T) {
	l := newKeptLog(10, time.Millisecond)
	_, busy := l.use(t, "busy")
	_, back := l.use(t, "idle")
	back(false)
	l.gone(t, 2)
	if again, back := l.use(t, "busy"); again != 1 {
		t.Error("what was in use is another")
	} else {
		back(false)
	}
	busy(false)
	l.gone(t, 1, 2)
	l.clear()
}

func TestOfTooManyTheOneUsedLongestAgoIsClosed(t *testing.T) {
	l := newKeptLog(2, time.Hour)
	for _, key := range []string{"a", "b", "a"} {
		_, back := l.use(t, key)
		back(false)
	}
	_, back := l.use(t, "c")
	l.gone(t, 2)
	_, backB := l.use(t, "b")
	_, backD := l.use(t, "d") // all are in use: there are more for a while
	for _, b := range []func(bool){back, backB, backD} {
		b(false)
	}
	eventually(t, "only two are left", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.made-len(l.closed) == 2
	})
	l.clear()
}

func TestWhatIsBrokenIsUsedByNobodyElse(t *testing.T) {
	l := newKeptLog(10, time.Hour)
	first, back := l.use(t, "a")
	_, backToo := l.use(t, "a")
	back(true)
	second, backSecond := l.use(t, "a")
	if second == first {
		t.Error("it is given away again")
	}
	if l.mu.Lock(); len(l.closed) != 0 {
		t.Error("it is closed while somebody uses it")
	}
	l.mu.Unlock()
	backToo(false)
	l.gone(t, 1)
	backSecond(false)
	l.clear()
	l.gone(t, 1, 2)
}

func TestClearingWaitsForTheLastUser(t *testing.T) {
	l := newKeptLog(10, time.Hour)
	_, back := l.use(t, "a")
	cleared := make(chan struct{})
	go func() {
		defer close(cleared)
		l.clear()
	}()
	eventually(t, "nothing is given away", func() bool {
		_, back, err := l.kept.use("b", func() (int, error) { l.made++; return l.made, nil })
		if err == nil {
			back(false)
		}
		return errors.Is(err, errClosing)
	})
	select {
	case <-cleared:
		t.Error("it did not wait")
	default:
	}
	back(false)
	<-cleared
}

func TestWhatIsTooOldIsReplaced(t *testing.T) {
	l := newKeptLog(10, time.Hour)
	l.limits.age = 0
	_, busy := l.use(t, "busy")
	_, back := l.use(t, "idle")
	back(false)
	for _, key := range []string{"busy", "idle"} {
		_, back := l.use(t, key)
		back(false)
	}
	l.gone(t, 2)
	busy(false)
	l.gone(t, 1, 2)
	l.clear()
	l.gone(t, 1, 2, 3, 4)
}

func TestWhatCannotBeMadeIsNotKept(t *testing.T) {
	l := newKeptLog(10, time.Hour)
	why := errors.New("no")
	if _, _, err := l.kept.use("a", func() (int, error) { return 0, why }); !errors.Is(err, why) {
		t.Errorf("answered %v", err)
	}
	_, back := l.use(t, "a")
	back(false)
	l.clear()
	l.gone(t, 1)
}
