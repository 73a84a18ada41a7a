package streams

import (
	"context"
	"errors"
	"time"
)

// work runs entries as long as there are any.
func (s *subscription) work() {
	for e := s.window.take(); e != nil; e = s.window.take() {
		s.handle(e)
	}
}

// current reports whether e is still ours, by our own clock: a process that was stopped must not trust what it thought before.
func (s *subscription) current(e *entry) bool {
	return !e.lost.Load() && s.since()-time.Duration(e.renewed.Load()) < s.cfg.Lease
}

// handle brings e one step on: out to the handler and back, or to the dead letters.
func (s *subscription) handle(e *entry) {
	if !s.current(e) {
		s.count.lost.Add(1)
		s.window.drop(e)
		return
	}
	if e.reason != "" {
		s.bury(e)
		return
	}
	msg, err := decode(e.fields)
	if err != nil {
		e.history = append(e.history, err.Error())
		e.reason = Undecodable
		s.bury(e)
		return
	}
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	e.cause = nil
	msg.SetContext(entryContext{Context: ctx, entry: e})
	select {
	case s.out <- msg:
	case <-s.drainCtx.Done():
		s.window.done(e, ready)
		return
	}
	select {
	case <-msg.Acked():
		s.settle(e)
	case <-msg.Nacked():
		s.nacked(e)
	case <-s.life.Done():
		// Out of time: it stays pending, and is not given back, so that no one begins it before the lease is over.
	}
}

// settle gives e to its shard's sender of acks. It is held, and renewed, until Redis has confirmed.
func (s *subscription) settle(e *entry) {
	s.window.done(e, settled)
	select {
	case e.shard.acks <- e: // even if time is over: what is done should not be done again
		return
	default:
	}
	select {
	case e.shard.acks <- e:
	case <-s.life.Done(): // Redis takes no acks, and there is no time to wait for it
	}
}

// nacked lets e be delivered again after a while, or buries it.
func (s *subscription) nacked(e *entry) {
	e.nacks++
	cause := e.cause
	if cause == nil {
		cause = errors.New("nacked")
	}
	e.remember(cause.Error())
	if s.cfg.Dead != nil && e.nacks > s.cfg.MaxRedeliveries {
		e.reason = Redeliveries
		s.bury(e)
		return
	}
	s.count.redeliveries.Add(1)
	s.window.park(e, time.Now().Add(s.cfg.backoff(e.nacks)))
}
