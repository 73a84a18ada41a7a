package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestAnAnswerIsBelievedForItsTimeToLiveFromBeforeTheLook(t *testing.T) {
	now := time.Now()
	c := newKeyCache()
	c.now = func() time.Time { return now }
	looks := 0
	ask := func() (millrace.APIKey, error) {
		return c.find(t.Context(), "key", func(context.Context) (millrace.APIKey, error) {
			looks++
			now = now.Add(keyTTL / 2) // a slow look
			return millrace.APIKey{Name: fmt.Sprint(looks)}, nil
		})
	}
	for _, c := range []struct {
		later time.Duration
		want  int
	}{{0, 1}, {keyTTL/2 - 1, 1}, {1, 2}, {keyTTL / 2, 3}} {
		now = now.Add(c.later)
		if _, err := ask(); err != nil || looks != c.want {
			t.Errorf("after %s more there were %d looks, want %d (%v)", c.later, looks, c.want, err)
		}
	}
}

func TestARefusalIsBelievedAndAFailureIsNot(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		looks int
	}{
		"a refusal": {errKey("is not valid"), 1},
		"a failure": {millrace.Unavailable(errors.New("away")), 2},
	} {
		t.Run(name, func(t *testing.T) {
			cache, looks := newKeyCache(), 0
			for range 2 {
				_, err := cache.find(t.Context(), "key", func(context.Context) (millrace.APIKey, error) { looks++; return millrace.APIKey{}, c.err })
				if !errors.Is(err, c.err) {
					t.Errorf("got %v, want %v", err, c.err)
				}
			}
			if looks != c.looks {
				t.Errorf("%d looks, want %d", looks, c.looks)
			}
		})
	}
}

func TestCallersAtOnceShareALookAndOutliveTheOneWhoLooks(t *testing.T) {
	c := newKeyCache()
	looking, leave := make(chan struct{}), make(chan struct{})
	var looks atomic.Int32
	first := make(chan error, 1)
	go func() {
		_, err := c.find(t.Context(), "key", func(context.Context) (millrace.APIKey, error) {
			looks.Add(1)
			close(looking)
			<-leave
			return millrace.APIKey{}, context.Canceled
		})
		first <- err
	}()
	<-looking
	const others = 20
	answers := make(chan error, others)
	for range others {
		go func() {
			_, err := c.find(t.Context(), "key", func(context.Context) (millrace.APIKey, error) { looks.Add(1); return millrace.APIKey{}, nil })
			answers <- err
		}()
	}
	close(leave)
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	for range others {
		if err := <-answers; err != nil {
			t.Errorf("who stayed got %v", err)
		}
	}
	if n := looks.Load(); n != 2 {
		t.Errorf("there were %d looks, want the first and one more", n)
	}
}

func TestAWaiterLeavesWhenItsContextEnds(t *testing.T) {
	c := newKeyCache()
	looking, leave, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		_, _ = c.find(context.Background(), "key", func(context.Context) (millrace.APIKey, error) {
			close(looking)
			<-leave
			return millrace.APIKey{}, nil
		})
	}()
	<-looking
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.find(gone, "key", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(leave)
	<-left
}

func TestTheCacheIsBounded(t *testing.T) {
	c := newKeyCache()
	for n := range cachedKeys + 100 {
		_, _ = c.find(t.Context(), fmt.Sprint(n), func(context.Context) (millrace.APIKey, error) { return millrace.APIKey{}, errKey("is not valid") })
	}
	if len(c.answers) != cachedKeys {
		t.Errorf("it remembers %d answers, want %d", len(c.answers), cachedKeys)
	}
}

func TestForgettingDuringALookIsNotUndoneByIt(t *testing.T) {
	c := newKeyCache()
	looks := 0
	for range 2 {
		_, _ = c.find(t.Context(), "key", func(context.Context) (millrace.APIKey, error) { looks++; c.forget(); return millrace.APIKey{}, nil })
	}
	if looks != 2 {
		t.Errorf("%d looks, want 2: the first answer was older than the change", looks)
	}
}

func TestAKeyThatWasGoodStaysGoodWhileTheStoreIsAway(t *testing.T) {
	now := time.Now()
	c := newKeyCache()
	c.now = func() time.Time { return now }
	ask := func(key millrace.APIKey, err error) (millrace.APIKey, error) {
		now = now.Add(keyTTL)
		return c.find(t.Context(), "key", func(context.Context) (millrace.APIKey, error) { return key, err })
	}
	away := millrace.Unavailable(errors.New("away"))
	if _, err := ask(millrace.APIKey{}, away); !errors.Is(err, away) {
		t.Fatalf("a key nobody knows got %v", err)
	}
	good := millrace.APIKey{Name: "good"}
	for step, answer := range []error{nil, away, context.DeadlineExceeded} {
		if key, err := ask(good, answer); err != nil || key.Name != good.Name {
			t.Fatalf("step %d: got %v, %v", step, key, err)
		}
	}
	revoked := errKey("was revoked")
	if _, err := ask(millrace.APIKey{}, revoked); !errors.Is(err, revoked) {
		t.Fatalf("a revoked key got %v", err)
	}
	if _, err := ask(millrace.APIKey{}, away); !errors.Is(err, away) {
		t.Fatalf("a key that was revoked before the store went got %v", err)
	}
}
