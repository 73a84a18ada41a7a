package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// trimAll removes from the streams what every group has acked. It does nothing if nothing was acked since.
func (s *shard) trimAll(ctx context.Context) error {
	if !s.trimmable.Swap(false) {
		return nil
	}
	var failed error
	for _, key := range s.keys {
		failed = errors.Join(failed, trim(ctx, s.control, key))
	}
	if failed != nil {
		s.trimmable.Store(true)
	}
	return failed
}

// lowWaterScript defines lowWater, the first id that a group still needs: its oldest pending one, or what follows the last delivered. Ids are compared as digits,
// because numbers would be rounded.
const lowWaterScript = `
local function parts(id)
  local ms, seq = id:match('^(%d+)%-?(%d*)$')
  return ms, seq == '' and '0' or seq
end
local function less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end
local function before(a, b)
  local ams, aseq = parts(a)
  local bms, bseq = parts(b)
  if ams ~= bms then return less(ams, bms) end
  return less(aseq, bseq)
end
local function after(id)
  local ms, seq = parts(id)
  if #seq > 15 then return id end -- one entry more is kept, which no clock ever makes
  return string.format('%s-%.0f', ms, tonumber(seq) + 1)
end
local function groups()
  local all = {}
  for i, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    all[i] = {}
    for j = 1, #info, 2 do all[i][info[j]] = info[j + 1] end
  end
  return all
end
local function lowWater(group)
  local low = after(group['last-delivered-id'])
  if group.pending == 0 then return low end
  local oldest = redis.call('XPENDING', KEYS[1], group.name)[2]
  return before(oldest, low) and oldest or low
end
`

// trimScript removes the entries below the low-water mark of the stream's groups, in one step: between two, a group could be destroyed and made again, and what
// it had pending would be taken for acked. A stream without a group keeps everything: no one has read it.
//
// KEYS[1] stream.
const trimScript = lowWaterScript + `
local mark
for _, group in ipairs(groups()) do
  local low = lowWater(group)
  if not mark or before(low, mark) then mark = low end
end
return mark and redis.call('XTRIM', KEYS[1], 'MINID', mark) or 0`

func trim(ctx context.Context, client redis.UniversalClient, key string) error {
	if err := redis.NewScript(trimScript).Run(ctx, client, []string{key}).Err(); err != nil {
		return fmt.Errorf("trim %s: %w", key, err)
	}
	return nil
}

// groupLowWaterScript returns a group's low-water mark, or nil if there is no such group.
//
// KEYS[1] stream; ARGV[1] group.
const groupLowWaterScript = lowWaterScript + `
for _, group in ipairs(groups()) do
  if group.name == ARGV[1] then return lowWater(group) end
end
return false`

// lowWater returns the first id that the group still needs, and false if there is no such group or stream.
func lowWater(ctx context.Context, client redis.UniversalClient, key, group string) (low entryID, known bool, err error) {
	text, err := redis.NewScript(groupLowWaterScript).Run(ctx, client, []string{key}, group).Text()
	if errors.Is(err, redis.Nil) || isNoKey(err) {
		return entryID{}, false, nil
	}
	if err != nil {
		return entryID{}, false, err
	}
	low, err = parseID(text)
	return low, err == nil, err
}

// entryID is a stream entry id: milliseconds, and a sequence within them.
type entryID struct{ ms, seq uint64 }

func parseID(s string) (entryID, error) {
	left, right, _ := strings.Cut(s, "-")
	ms, err := strconv.ParseUint(left, 10, 64)
	if err != nil {
		return entryID{}, fmt.Errorf("parse entry id %q: %w", s, err)
	}
	if right == "" {
		return entryID{ms: ms}, nil
	}
	seq, err := strconv.ParseUint(right, 10, 64)
	if err != nil {
		return entryID{}, fmt.Errorf("parse entry id %q: %w", s, err)
	}
	return entryID{ms, seq}, nil
}

// String returns the id as Redis writes it.
func (id entryID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.seq, 10)
}

func (id entryID) before(other entryID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.seq < other.seq
}
