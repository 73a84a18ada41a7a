package streams

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// claimRounds bounds one look for entries of dead consumers, and claimSoon is when to go on if it found more than there was room for.
	claimRounds = 50
	claimSoon   = 50 * time.Millisecond
	// claimStart is the beginning of what is pending, and where XAUTOCLAIM says that it came to the end.
	claimStart = "0-0"
	// renewBatch keeps one script short.
	renewBatch = 256
	// sweepEvery is how many claim intervals pass between two looks for consumers that are gone, and deadLeases how long those have been silent.
	sweepEvery = 5
	deadLeases = 4
)

// keep renews what is held, takes over what others left, and tidies up, until ctx ends.
func (s *shard) keep(ctx context.Context) {
	renew := time.NewTicker(s.cfg.RenewInterval)
	defer renew.Stop()
	trim := time.NewTicker(s.cfg.TrimInterval)
	defer trim.Stop()
	sweep := time.NewTicker(sweepEvery * s.cfg.ClaimInterval)
	defer sweep.Stop()
	claim := time.NewTimer(0) // what a predecessor left should not wait
	defer claim.Stop()
	trouble := s.newTrouble("keep the leases")
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			err = s.renewAll(ctx)
		case <-claim.C:
			var more bool
			more, err = s.claimAll(ctx)
			claim.Reset(s.nextClaim(more))
		case <-trim.C:
			err = s.trimAll(ctx)
		case <-sweep.C:
			err = s.sweepConsumers(ctx)
		}
		switch {
		case err == nil:
			trouble.over()
		case groupIsGone(err): // the reader makes it again
		default:
			trouble.wait(ctx, err)
		}
	}
}

func (s *shard) nextClaim(more bool) time.Duration {
	if more {
		return min(claimSoon, s.cfg.ClaimInterval)
	}
	return s.cfg.ClaimInterval
}

// renewScript renews those of the given entries that are still the consumer's, in one step, and returns the others. A process that was stopped for longer than
// it knows can thus take nothing back from a new owner.
//
// KEYS[1] stream; ARGV[1] group, [2] consumer, [3…] ids.
const renewScript = `
local lost, claim = {}, {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
for i = 3, #ARGV do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if p[1] and p[1][2] == ARGV[2] then
    claim[#claim + 1] = ARGV[i]
  else
    lost[#lost + 1] = ARGV[i]
  end
end
if #claim > 5 then
  claim[#claim + 1] = 'JUSTID'
  redis.call(unpack(claim))
end
return lost`

func (s *shard) renewAll(ctx context.Context) error {
	var failed error
	for lane := range Lane(laneCount) {
		entries := s.renewable(lane)
		for len(entries) > 0 {
			n := min(renewBatch, len(entries))
			if err := s.renew(ctx, lane, entries[:n]); err != nil {
				failed = errors.Join(failed, err)
				break
			}
			entries = entries[n:]
		}
	}
	return failed
}

// renewable returns the entries whose lease still runs. The others are not renewed any more: by now they may be someone else's.
func (s *shard) renewable(lane Lane) []*entry {
	held := s.window.holding(s, lane)
	entries := held[:0]
	for _, e := range held {
		if s.current(e) {
			entries = append(entries, e)
		} else {
			e.lost.Store(true)
		}
	}
	return entries
}

func (s *shard) renew(ctx context.Context, lane Lane, entries []*entry) error {
	args := make([]any, 2, 2+len(entries))
	args[0], args[1] = s.cfg.Group, s.consumer
	for _, e := range entries {
		args = append(args, e.id)
	}
	asked := s.since()
	reply, err := redis.NewScript(renewScript).Run(ctx, s.control, s.keys[lane:lane+1], args...).Slice()
	if err != nil {
		return err
	}
	lost := make(map[any]bool, len(reply))
	for _, id := range reply {
		lost[id] = true
	}
	for _, e := range entries {
		if lost[e.id] {
			e.lost.Store(true)
		} else {
			e.hold(asked)
		}
	}
	return nil
}

// claimAll takes over what dead consumers hold. It reports whether there is more than there was room for.
func (s *shard) claimAll(ctx context.Context) (more bool, failed error) {
	if s.drainCtx.Err() != nil {
		return false, nil
	}
	for lane := range Lane(laneCount) {
		laneMore, err := s.claim(ctx, lane)
		more = more || laneMore
		failed = errors.Join(failed, err)
	}
	return more, failed
}

// claim goes on where it stopped: what others hold and renew may be more than one look can pass.
func (s *shard) claim(ctx context.Context, lane Lane) (more bool, err error) {
	for range claimRounds {
		room := s.window.claimable()
		if room < 1 {
			return true, nil
		}
		if err := s.claimSome(ctx, lane, room); err != nil {
			return false, err
		}
		if s.claimFrom[lane] == claimStart {
			return false, nil
		}
	}
	return true, nil
}

func (s *shard) claimSome(ctx context.Context, lane Lane, room int) error {
	asked := s.since()
	s.window.beginClaim()
	defer s.window.endClaim()
	reply, err := s.control.Do(ctx, "xautoclaim", s.keys[lane], s.cfg.Group, s.consumer, s.cfg.Lease.Milliseconds(), s.claimFrom[lane], "count", room).Slice()
	if err != nil {
		return err
	}
	var entries []*entry
	var deleted bool
	s.claimFrom[lane], entries, deleted = s.parseClaim(lane, reply, asked)
	if deleted {
		err = s.ackDeleted(ctx, lane)
	}
	err = errors.Join(err, s.countTakeovers(ctx, lane, entries))
	taken := s.window.pushAgain(entries) // ours, counted or not
	s.count.takeovers.Add(int64(taken))
	return err
}

// parseClaim reads an XAUTOCLAIM reply: [cursor, [[id, fields], …], …]. Redis before 7 gives nil for entries that were deleted from the stream.
func (s *shard) parseClaim(lane Lane, reply []any, asked time.Duration) (cursor string, entries []*entry, deleted bool) {
	cursor = claimStart
	if len(reply) < 2 {
		return cursor, nil, false
	}
	if next, ok := reply[0].(string); ok {
		cursor = next
	}
	list, _ := reply[1].([]any)
	for _, item := range list {
		if e := s.newEntry(lane, item, asked); e != nil {
			entries = append(entries, e)
		} else {
			deleted = true
		}
	}
	return cursor, entries, deleted
}

// countTakeovers asks how often each entry was delivered: a message that kills whoever takes it must not do so for ever.
func (s *shard) countTakeovers(ctx context.Context, lane Lane, entries []*entry) error {
	if len(entries) == 0 {
		return nil
	}
	pipe := s.control.Pipeline()
	pending := make([]*redis.XPendingExtCmd, len(entries))
	for i, e := range entries {
		pending[i] = pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: s.keys[lane], Group: s.cfg.Group, Start: e.id, End: e.id, Count: 1})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for i, e := range entries {
		if found := pending[i].Val(); len(found) == 1 {
			s.judgeTakeover(e, int(found[0].RetryCount)-1)
		}
	}
	return nil
}

func (s *shard) judgeTakeover(e *entry, takeovers int) {
	e.takeovers = takeovers
	e.remember("taken over, time " + strconv.Itoa(takeovers))
	if s.cfg.Dead != nil && takeovers > s.cfg.MaxTakeovers {
		e.reason = Takeovers
	}
}
