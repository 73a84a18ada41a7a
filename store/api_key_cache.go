package store

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// keyTTL is how long an answer about an API key is believed: a revoked key is
// refused by every process within this time.
const keyTTL = 2 * time.Second

// cachedKeys bounds how many answers are remembered.
const cachedKeys = 10_000

// keyCache remembers who API keys belong to, and which ones are refused. Keys
// are remembered by their hash alone. It also owns the notes of use that are
// written behind requests.
type keyCache struct {
	*answerCache[[sha256.Size]byte, millrace.APIKey]

	noting sync.Mutex
	closed bool
	notes  sync.WaitGroup
	slots  chan struct{}
}

func newKeyCache() *keyCache {
	return &keyCache{
		answerCache: newAnswerCache[[sha256.Size]byte, millrace.APIKey](keyTTL, cachedKeys),
		slots:       make(chan struct{}, 2),
	}
}

// find answers whose a key is, see answerCache.
func (c *keyCache) find(ctx context.Context, clear string, look func(ctx context.Context) (millrace.APIKey, error)) (millrace.APIKey, error) {
	return c.answerCache.find(ctx, sha256.Sum256([]byte(clear)), look)
}

// note runs a write behind the request. Where too many are under way it is
// left out: the next look makes it up.
func (c *keyCache) note(write func(ctx context.Context)) {
	c.noting.Lock()
	defer c.noting.Unlock()
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
	c.noting.Lock()
	c.closed = true
	c.noting.Unlock()
	c.notes.Wait()
}
