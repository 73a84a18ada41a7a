package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// answerCache remembers what was found under a name, and that nothing was, so
// that a request costs no statement. Callers who ask for the same at once
// share one look.
type answerCache[K comparable, V any] struct {
	now func() time.Time
	// ttl is how long an answer is believed; bound, how many are remembered.
	ttl   time.Duration
	bound int

	mu      sync.Mutex
	answers map[K]*answer[V]
}

type answer[V any] struct {
	ready chan struct{} // closed when found and err are set
	until time.Time
	found V
	err   error
	// before is the good answer that this one replaces.
	before *answer[V]
}

func newAnswerCache[K comparable, V any](ttl time.Duration, bound int) *answerCache[K, V] {
	return &answerCache[K, V]{now: time.Now, ttl: ttl, bound: bound, answers: map[K]*answer[V]{}}
}

// lookPatience bounds a look for what was there before: a store that is away,
// or silent, must not stop those who were let in a moment ago.
const lookPatience = time.Second

// find answers from memory, or looks and remembers the answer. A store that
// is away is not remembered; while it is, what was there stays there.
func (c *answerCache[K, V]) find(ctx context.Context, name K, look func(ctx context.Context) (V, error)) (V, error) {
	for {
		a, mine := c.claim(name)
		if mine {
			a.look(ctx, look)
			c.settle(name, a)
			return a.found, a.err
		}
		select {
		case <-a.ready:
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
		// Whoever looked may have left before the answer came.
		if !errors.Is(a.err, context.Canceled) {
			return a.found, a.err
		}
	}
}

func (a *answer[V]) look(ctx context.Context, look func(ctx context.Context) (V, error)) {
	if a.before == nil {
		a.found, a.err = look(ctx)
		return
	}
	bounded, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	a.found, a.err = look(bounded)
	if a.err != nil && !refuses(a.err) && ctx.Err() == nil {
		a.found, a.err = a.before.found, nil
	}
	a.before = nil
}

// refuses tells an answer from a store that gave none.
func refuses(err error) bool {
	var refused *millrace.Error
	return errors.As(err, &refused)
}

// claim finds an answer that is still good, or makes the caller the one who
// looks. The time to live begins before the look.
func (c *answerCache[K, V]) claim(name K) (a *answer[V], mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if a = c.answers[name]; a != nil && now.Before(a.until) {
		return a, false
	}
	for other := range c.answers {
		if len(c.answers) < c.bound {
			break
		}
		delete(c.answers, other)
	}
	before := a
	a = &answer[V]{ready: make(chan struct{}), until: now.Add(c.ttl)}
	if before != nil && before.settled() && before.err == nil {
		a.before = before
	}
	c.answers[name] = a
	return a, true
}

func (a *answer[V]) settled() bool {
	select {
	case <-a.ready:
		return true
	default:
		return false
	}
}

func (c *answerCache[K, V]) settle(name K, a *answer[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.err != nil && !refuses(a.err) && c.answers[name] == a {
		delete(c.answers, name)
	}
	close(a.ready)
}

// forget drops all answers: something about them was changed here.
func (c *answerCache[K, V]) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.answers)
}
