package streams

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

// sweepScript deletes the group's consumers that are silent and hold nothing, in one step, so that none can be given an entry in between.
//
// KEYS[1] stream; ARGV[1] group, [2] silent for how many milliseconds.
const sweepScript = `
local deleted = 0
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local c = {}
  for i = 1, #info, 2 do c[info[i]] = info[i + 1] end
  if c.pending == 0 and c.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c.name)
    deleted = deleted + 1
  end
end
return deleted`

func (s *shard) sweepConsumers(ctx context.Context) error {
	var failed error
	silent := (deadLeases * s.cfg.Lease).Milliseconds()
	for lane := range Lane(laneCount) {
		err := redis.NewScript(sweepScript).Run(ctx, s.control, s.keys[lane:lane+1], s.cfg.Group, silent).Err()
		failed = errors.Join(failed, err)
	}
	return failed
}

// giveBackScript makes all that the consumer holds, but what is excepted, free to be taken over at once, and not counted as a takeover; a consumer that then
// holds nothing is deleted. It goes by what Redis knows, so it includes what a read brought that we never saw.
//
// KEYS[1] stream; ARGV[1] group, [2] consumer, [3] lease in milliseconds, [4…] ids to leave alone.
const giveBackScript = `
local keep = {}
for i = 4, #ARGV do keep[ARGV[i]] = true end
local from, left = '-', false
while true do
  local page = redis.call('XPENDING', KEYS[1], ARGV[1], from, '+', 500, ARGV[2])
  for _, p in ipairs(page) do
    left = true
    if not keep[p[1]] then
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, p[1], 'IDLE', ARGV[3], 'RETRYCOUNT', math.max(p[4] - 1, 0), 'JUSTID')
    end
  end
  if #page < 500 then break end
  from = '(' .. page[#page][1]
end
if not left then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return left and 1 or 0`

// giveBack leaves what was read but not finished to the other consumers. Messages that are still out are left to their lease.
func (s *subscription) giveBack() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	var all sync.WaitGroup
	for shard := range s.each() {
		all.Go(func() { shard.giveBack(ctx) })
	}
	all.Wait()
}

func (s *shard) giveBack(ctx context.Context) {
	for lane := range Lane(laneCount) {
		args := append([]any{s.cfg.Group, s.consumer, s.cfg.Lease.Milliseconds()}, s.window.abandoned(s, lane)...)
		err := redis.NewScript(giveBackScript).Run(ctx, s.control, s.keys[lane:lane+1], args...).Err()
		if err != nil && !groupIsGone(err) {
			s.log.Warn("streams: what was held stays so until its lease is over", "error", err)
			return
		}
	}
}

// ackDeletedScript acks what the consumer holds and the stream no longer has: no one could ever work on it, but trimming would wait for it. Redis does so itself
// from version 7.
//
// KEYS[1] stream; ARGV[1] group, [2] consumer.
const ackDeletedScript = `
for _, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])) do
  if #redis.call('XRANGE', KEYS[1], p[1], p[1]) == 0 then
    redis.call('XACK', KEYS[1], ARGV[1], p[1])
  end
end
return 0`

func (s *shard) ackDeleted(ctx context.Context, lane Lane) error {
	return redis.NewScript(ackDeletedScript).Run(ctx, s.control, s.keys[lane:lane+1], s.cfg.Group, s.consumer).Err()
}
