package streams

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// dropAfter is how long nothing has come in a leftover before it is dropped: longer than a rolling restart has processes of both numbers.
const dropAfter = 5 * time.Minute

// findLeftovers reads what waits in streams of another number of shards: what was left there before a restart, and what processes that have the other number still
// add. What is empty and no longer in use is dropped.
func (s *subscription) findLeftovers() {
	look := time.NewTimer(0)
	defer look.Stop()
	trouble := s.newTrouble("look for the streams of other shards")
	for {
		select {
		case <-s.drainCtx.Done():
			return
		case <-look.C:
		}
		found, err := s.findStreams(s.drainCtx)
		for _, keys := range found {
			s.readLeftover(keys)
		}
		for _, left := range s.leftovers {
			if err == nil {
				err = left.drop(s.drainCtx)
			}
		}
		if err != nil {
			trouble.wait(s.drainCtx, err)
		} else {
			trouble.over()
		}
		look.Reset(s.cfg.ClaimInterval)
	}
}

// findStreams returns the candidates that are there. Mostly there are none, which one command tells where there is one server.
func (s *subscription) findStreams(ctx context.Context) ([]keys, error) {
	if _, single := s.control.(*redis.Client); single {
		var all []string
		for _, k := range s.candidates {
			all = append(all, k[:]...)
		}
		if n, err := s.control.Exists(ctx, all...).Result(); err != nil || n == 0 {
			return nil, err
		}
	}
	return existing(ctx, s.control, s.candidates)
}

// readLeftover begins to read the streams if they are not read yet. One that was read before is taken up again, with what is held of it.
func (s *subscription) readLeftover(k keys) {
	i := slices.IndexFunc(s.leftovers, func(left *shard) bool { return left.keys == k })
	if i < 0 {
		left := newShard(s, k)
		left.leftover = true
		s.ackers.Go(left.sendAcks)
		s.leftovers, i = append(s.leftovers, left), len(s.leftovers)
	}
	left := s.leftovers[i]
	if left.active.Swap(true) {
		return
	}
	s.log.Info("streams: reading what is left of another number of shards", "stream", k[Live])
	left.brought.Store(int64(s.since()))
	left.trimmable.Store(true) // what was acked may not be trimmed
	s.readers.Go(func() {
		defer left.active.Store(false)
		left.run()
	})
}

// dropScript deletes the streams of a shard if they are empty, what is pending included, and no other group reads them. In one step, so that nothing can be added in
// between. Consumers of the group make them again, and publishers too.
//
// KEYS streams; ARGV[1] group.
const dropScript = `
local there = {}
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then
    there[#there + 1] = key
    if redis.call('XLEN', key) > 0 then return 0 end
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      for i = 1, #group, 2 do
        if group[i] == 'name' and group[i + 1] ~= ARGV[1] then return 0 end
      end
    end
  end
end
if #there == 0 then return 0 end
return redis.call('DEL', unpack(there))`

// drop deletes a leftover that is empty, once nothing has come for a while. Its reader ends with it.
func (s *shard) drop(ctx context.Context) error {
	if !s.active.Load() || s.since()-time.Duration(s.brought.Load()) < s.dropAfter {
		return nil
	}
	n, err := redis.NewScript(dropScript).Run(ctx, s.control, s.keys[:], s.cfg.Group).Int()
	if err == nil && n > 0 {
		s.log.Info("streams: dropped what was left of another number of shards", "stream", s.keys[Live])
	}
	return err
}
