package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// keyTTL is how long an answer about an API key is believed: a revoked key is
// refused by every process within this time.
const keyTTL = 2 * time.Second

// cachedKeys bounds how many answers are remembered.
const cachedKeys = 10_000

// keyCache remembers who API keys belong to, and which ones are refused, so
// that a request costs no statement. Callers who ask for the same key at once
// share one look. Keys are remembered by their hash alone. It also owns the
// notes of use that are written behind requests.
type keyCache struct {
	now func() time.Time

	mu      sync.Mutex
	answers map[[sha256.Size]byte]*keyAnswer
	closed  bool

	notes sync.WaitGroup
	slots chan struct{}
}

type keyAnswer struct {
	ready chan struct{} // closed when key and err are set
	until time.Time
	key   millrace.APIKey
	err   error
	// before is the good answer that this one replaces.
	before *keyAnswer
}

func newKeyCache() *keyCache {
	return &keyCache{now: time.Now, answers: map[[sha256.Size]byte]*keyAnswer{}, slots: make(chan struct{}, 2)}
}

// lookPatience bounds a look for a key that was good before: a store that is
// away, or silent, must not stop those who were let in a moment ago.
const lookPatience = time.Second

// find answers from memory, or looks and remembers the answer. A store that
// is away is not remembered; while it is, a key that was good stays good.
func (c *keyCache) find(ctx context.Context, clear string, look func(ctx context.Context) (millrace.APIKey, error)) (millrace.APIKey, error) {
	id := sha256.Sum256([]byte(clear))
	for {
		answer, mine := c.claim(id)
		if mine {
			answer.look(ctx, look)
			c.settle(id, answer)
			return answer.key, answer.err
		}
		select {
		case <-answer.ready:
		case <-ctx.Done():
			return millrace.APIKey{}, ctx.Err()
		}
		// Whoever looked may have left before the answer came.
		if !errors.Is(answer.err, context.Canceled) {
			return answer.key, answer.err
		}
	}
}

func (a *keyAnswer) look(ctx context.Context, look func(ctx context.Context) (millrace.APIKey, error)) {
	if a.before == nil {
		a.key, a.err = look(ctx)
		return
	}
	bounded, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	a.key, a.err = look(bounded)
	if a.err != nil && !refuses(a.err) && ctx.Err() == nil {
		a.key, a.err = a.before.key, nil
	}
	a.before = nil
}

// refuses tells an answer about the key from a store that gave none.
func refuses(err error) bool {
	var refused *millrace.Error
	return errors.As(err, &refused)
}

// claim finds an answer that is still good, or makes the caller the one who
// looks. The time to live begins before the look.
func (c *keyCache) claim(id [sha256.Size]byte) (answer *keyAnswer, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if answer = c.answers[id]; answer != nil && now.Before(answer.until) {
		return answer, false
	}
	for other := range c.answers {
		if len(c.answers) < cachedKeys {
			break
		}
		delete(c.answers, other)
	}
	before := answer
	answer = &keyAnswer{ready: make(chan struct{}), until: now.Add(keyTTL)}
	if before != nil && before.settled() && before.err == nil {
		answer.before = before
	}
	c.answers[id] = answer
	return answer, true
}

func (a *keyAnswer) settled() bool {
	select {
	case <-a.ready:
		return true
	default:
		return false
	}
}

func (c *keyCache) settle(id [sha256.Size]byte, answer *keyAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer.err != nil && !refuses(answer.err) && c.answers[id] == answer {
		delete(c.answers, id)
	}
	close(answer.ready)
}

// forget drops all answers: something about keys was changed here.
func (c *keyCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.answers)
}

// note runs a write behind the request. Where too many are under way it is
// left out: the next look makes it up.
func (c *keyCache) note(write func(ctx context.Context)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return
	}
	c.notes.Go(func() {
		defer func() { <-c.slots }()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		write(ctx)
	})
}

// close waits for the notes under way and takes no more.
func (c *keyCache) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.notes.Wait()
}
