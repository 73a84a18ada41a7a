package sinks

import (
	"container/list"
	"errors"
	"sync"
	"time"
)

// kept keeps what is dear to make, one for each key, shared by whoever uses
// it. What nobody has used for a while is closed, and so is what is too old,
// and what was used longest ago where there are too many; what is in use is
// closed by its last user.
type kept[K comparable, V any] struct {
	limits keptLimits
	close  func(V)

	mu      sync.Mutex
	entries map[K]*keptEntry[K, V]
	unused  *list.List // of *keptEntry; the one used last is in front
	ended   bool
	closing sync.WaitGroup
}

// keptLimits bounds how many are kept, how long unused, and to what age.
type keptLimits struct {
	most      int
	idle, age time.Duration
}

func (c Config) clients() keptLimits {
	return keptLimits{most: c.MaxTransports, idle: c.IdleTimeout, age: c.TunnelLifetime}
}

type keptEntry[K comparable, V any] struct {
	key   K
	value V
	made  time.Time
	users int
	// dropped is set where the next user shall have another.
	dropped bool
	place   *list.Element // in unused; nil: in use
	timer   *time.Timer
}

var errClosing = errors.New("the sink is closed")

func newKept[K comparable, V any](limits keptLimits, close func(V)) *kept[K, V] {
	return &kept[K, V]{limits: limits, close: close, entries: map[K]*keptEntry[K, V]{}, unused: list.New()}
}

// use gives the value of a key, made on first use, until it is given back.
// Make must not wait for anything. A value that is given back as broken is
// used by nobody else.
func (k *kept[K, V]) use(key K, make func() (V, error)) (value V, back func(broken bool), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return value, nil, errClosing
	}
	e, known := k.entries[key]
	if known && time.Since(e.made) > k.limits.age {
		k.retire(e)
		known = false
	}
	if !known {
		e = &keptEntry[K, V]{key: key, made: time.Now()}
		if e.value, err = make(); err != nil {
			return value, nil, err
		}
		k.entries[key] = e
		k.closing.Add(1)
	}
	e.users++
	if e.place != nil {
		k.unused.Remove(e.place)
		e.place = nil
		e.timer.Stop()
	}
	k.crowd()
	return e.value, func(broken bool) { k.back(e, broken) }, nil
}

func (k *kept[K, V]) back(e *keptEntry[K, V], broken bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e.users--
	if broken {
		k.drop(e)
	}
	switch {
	case e.users > 0:
	case e.dropped:
		go k.end(e)
	default:
		e.place = k.unused.PushFront(e)
		e.timer = time.AfterFunc(k.limits.idle, func() { k.expire(e) })
		k.crowd()
	}
}

// drop gives the next user another; the caller holds the lock.
func (k *kept[K, V]) drop(e *keptEntry[K, V]) {
	e.dropped = true
	if k.entries[e.key] == e {
		delete(k.entries, e.key)
	}
}

// retire is drop, where it may be unused; the caller holds the lock.
func (k *kept[K, V]) retire(e *keptEntry[K, V]) {
	if e.place != nil {
		k.evict(e)
		return
	}
	k.drop(e)
}

// crowd closes what was used longest ago where there are too many.
func (k *kept[K, V]) crowd() {
	for len(k.entries) > k.limits.most && k.unused.Len() > 0 {
		k.evict(k.unused.Back().Value.(*keptEntry[K, V]))
	}
}

// evict closes one that is unused; the caller holds the lock.
func (k *kept[K, V]) evict(e *keptEntry[K, V]) {
	k.unused.Remove(e.place)
	e.place = nil
	e.timer.Stop()
	k.drop(e)
	go k.end(e)
}

func (k *kept[K, V]) end(e *keptEntry[K, V]) {
	defer k.closing.Done()
	k.close(e.value)
}

func (k *kept[K, V]) expire(e *keptEntry[K, V]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.place != nil {
		k.evict(e)
	}
}

// clear closes all and waits until that is done: for those in use, until they
// are given back.
func (k *kept[K, V]) clear() {
	k.mu.Lock()
	k.ended = true
	for _, e := range k.entries {
		k.drop(e)
	}
	for k.unused.Len() > 0 {
		k.evict(k.unused.Back().Value.(*keptEntry[K, V]))
	}
	k.mu.Unlock()
	k.closing.Wait()
}
