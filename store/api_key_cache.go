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
}

func newKeyCache() *keyCache {
	return &keyCache{now: time.Now, answers: map[[sha256.Size]byte]*keyAnswer{}, slots: make(chan struct{}, 2)}
}

// find answers from memory, or looks and remembers the answer. A store that
// is away is not remembered.
func (c *keyCache) find(ctx context.Context, clear string, look func() (millrace.APIKey, error)) (millrace.APIKey, error) {
	id := sha256.Sum256([]byte(clear))
	for {
		answer, mine := c.claim(id)
		if mine {
			answer.key, answer.err = look()
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
	answer = &keyAnswer{ready: make(chan struct{}), until: now.Add(keyTTL)}
	c.answers[id] = answer
	return answer, true
}

func (c *keyCache) settle(id [sha256.Size]byte, answer *keyAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var refused *millrace.Error
	if answer.err != nil && !errors.As(answer.err, &refused) && c.answers[id] == answer {
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
