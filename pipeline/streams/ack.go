package streams

import (
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// ackLinger is how long an ack may wait for company while other messages are in flight. No one waits for it: the slot is free already.
	ackLinger = 3 * time.Millisecond
	ackBatch  = 256
)

// sendAcks acks in Redis what was settled, in groups, until the channel is closed and empty.
func (s *shard) sendAcks() {
	batch := make([]*entry, 0, ackBatch)
	trouble := s.newTrouble("ack")
	for e := range s.acks {
		batch = s.gatherAcks(append(batch[:0], e))
		if s.commitAcks(batch, trouble) {
			s.window.forget(batch)
			s.count.acked.Add(int64(len(batch)))
			s.trimmable.Store(true)
		}
		clear(batch)
	}
}

// gatherAcks takes what is there, and waits a moment for more only if more is under way.
func (s *shard) gatherAcks(batch []*entry) []*entry {
	var linger <-chan time.Time
	for len(batch) < ackBatch {
		select {
		case e, ok := <-s.acks:
			if !ok {
				return batch
			}
			batch = append(batch, e)
			continue
		default:
		}
		if s.window.idle() || s.drainCtx.Err() != nil {
			return batch
		}
		if linger == nil {
			timer := time.NewTimer(ackLinger)
			defer timer.Stop()
			linger = timer.C
		}
		select {
		case e, ok := <-s.acks:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		case <-linger:
			return batch
		case <-s.drainCtx.Done():
			return batch
		}
	}
	return batch
}

// commitAcks repeats until Redis has confirmed, or has nothing to confirm any more. It reports false if the time after the end was over first.
func (s *shard) commitAcks(batch []*entry, trouble *trouble) bool {
	for s.flushing.Err() == nil {
		err := s.xack(batch)
		if err == nil || groupIsGone(err) {
			trouble.over()
			return true
		}
		trouble.wait(s.flushing, err)
	}
	return false
}

func (s *shard) xack(batch []*entry) error {
	ctx := s.flushing
	var cmds []redis.Cmder
	for lane := range Lane(laneCount) {
		args := make([]any, 3, 3+len(batch))
		args[0], args[1], args[2] = "xack", s.keys[lane], s.cfg.Group
		for _, e := range batch {
			if e.lane == lane {
				args = append(args, e.id)
			}
		}
		if len(args) > 3 {
			cmds = append(cmds, redis.NewIntCmd(ctx, args...))
		}
	}
	if len(cmds) == 1 {
		return s.control.Process(ctx, cmds[0])
	}
	pipe := s.control.Pipeline()
	for _, cmd := range cmds {
		_ = pipe.Process(ctx, cmd)
	}
	_, err := pipe.Exec(ctx)
	return err
}
