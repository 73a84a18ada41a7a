package sinks

import (
	"container/list"
	"sync"
)

// lru keeps the most recently used values, up to a bound.
type lru[K comparable, V any] struct {
	mu      sync.Mutex
	most    int
	entries map[K]*list.Element
	order   *list.List // of lruEntry; the most recent first
	evicted func(V)    // may be nil
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](most int, evicted func(V)) *lru[K, V] {
	return &lru[K, V]{most: most, entries: make(map[K]*list.Element), order: list.New(), evicted: evicted}
}

// of returns the value of a key, made on first use. What make refuses is not
// kept.
func (l *lru[K, V]) of(key K, make func() (V, error)) (V, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.entries[key]; ok {
		l.order.MoveToFront(e)
		return e.Value.(*lruEntry[K, V]).value, nil
	}
	value, err := make()
	if err != nil {
		return value, err
	}
	l.entries[key] = l.order.PushFront(&lruEntry[K, V]{key: key, value: value})
	if l.order.Len() > l.most {
		l.drop(l.order.Back())
	}
	return value, nil
}

// clear drops everything.
func (l *lru[K, V]) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.order.Len() > 0 {
		l.drop(l.order.Back())
	}
}

func (l *lru[K, V]) drop(e *list.Element) {
	entry := l.order.Remove(e).(*lruEntry[K, V])
	delete(l.entries, entry.key)
	if l.evicted != nil {
		l.evicted(entry.value)
	}
}
