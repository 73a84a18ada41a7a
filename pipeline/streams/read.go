package streams

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// readGap is the least time between two reads unless the first found more than it could take: under load, reads bring several entries each. An idle
	// subscription waits inside Redis, where an entry is handed over at once.
	readGap = 2 * time.Millisecond
	// bulkGap is the same while bulk has all the slots that it may have, and only live is looked for.
	bulkGap = 5 * time.Millisecond
)

// reader is the state of the loop that reads.
type reader struct {
	*shard
	seat *seat

	last     time.Time       // when the last read returned
	full     bool            // it brought all that it asked for
	backlog  [laneCount]bool // the lane has more than was asked for
	bulkSeen bool            // bulk had something when it was last read
}

// plan is one round of reading.
type plan struct {
	count [laneCount]int // 0: not this lane
	joint bool           // both lanes in one command, of the same count
	block bool
}

// read hands entries to the window until the subscription ends. A lost group or stream is made again, from its beginning; a leftover is not, and read ends.
func (s *shard) read() {
	r := &reader{shard: s, seat: s.window.sit()}
	defer s.window.stand(r.seat)
	trouble := s.newTrouble("read")
	for s.drainCtx.Err() == nil {
		space, ok := r.await()
		if !ok {
			return
		}
		err := r.fetch(r.plan(space))
		if groupIsGone(err) {
			if s.leftover {
				return
			}
			s.log.Warn("streams: the consumer group is gone, making it again", "error", err)
			err = createGroups(s.drainCtx, s.control, s.keys, s.cfg.Group)
		}
		if err != nil {
			trouble.wait(s.drainCtx, err)
			continue
		}
		trouble.over()
	}
}

// await returns once there is room to read into, and it is time. It reports false if the subscription ended first.
func (r *reader) await() (room, bool) {
	want, gap := room{live: 1, bulk: noBulk}, readGap
	if r.full {
		want.live = max(1, r.cfg.Concurrency/2)
	} else if !wait(r.drainCtx, readGap-time.Since(r.last)) {
		return room{}, false
	}
	if r.bulkSeen {
		want.bulk, gap = 1, bulkGap
	}
	pause := time.NewTimer(gap - time.Since(r.last))
	defer pause.Stop()
	for {
		if space, ok := r.window.ask(r.seat, want); ok {
			return space, true
		}
		select {
		case <-r.seat.freed:
		case <-pause.C:
			want = room{live: 1, bulk: noBulk}
		case <-r.drainCtx.Done():
			return room{}, false
		}
	}
}

// noBulk asks for no room for bulk: its room is negative while it has read ahead.
const noBulk = -1 << 30

func (r *reader) plan(space room) plan {
	switch {
	case !r.bulkSeen:
		return plan{count: [laneCount]int{space.live, space.live}, joint: true, block: true}
	case space.bulk < 1:
		return plan{count: [laneCount]int{Live: space.live}}
	case r.backlog[Live]:
		return plan{count: [laneCount]int{Live: space.live, Bulk: min(space.bulk, max(1, space.live/(r.cfg.BulkWeight+1)))}}
	default:
		return plan{count: [laneCount]int{space.bulk, space.bulk}, joint: true, block: true}
	}
}

// fetch reads once, as planned, and hands on what came.
func (r *reader) fetch(p plan) error {
	issued := r.since() // what comes was ours no earlier
	cmds := r.commands(p)
	ctx := r.drainCtx
	if len(cmds) == 1 {
		_ = r.reading.Process(ctx, cmds[0])
	} else {
		pipe := r.reading.Pipeline()
		for _, cmd := range cmds {
			_ = pipe.Process(ctx, cmd)
		}
		_, _ = pipe.Exec(ctx)
	}
	r.last = time.Now()
	var got [laneCount]int
	var entries []*entry
	var failed error
	for _, cmd := range cmds {
		reply, err := cmd.Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			failed = errors.Join(failed, err)
			continue
		}
		entries = r.parse(entries, reply, issued, &got)
	}
	r.learn(p, got)
	r.window.push(r.seat, entries, r.full, r.backlog[Live])
	if len(entries) > 0 {
		r.brought.Store(int64(r.since()))
		r.count.reads.Add(1)
		r.count.received.Add(int64(len(entries)))
	}
	return failed
}

// learn keeps what the next plan needs to know.
func (r *reader) learn(p plan, got [laneCount]int) {
	r.full = false
	for lane, n := range p.count {
		if n > 0 {
			r.backlog[lane] = got[lane] >= n
			r.full = r.full || r.backlog[lane]
		}
	}
	if p.count[Bulk] > 0 {
		r.bulkSeen = got[Bulk] > 0
	}
}

func (r *reader) commands(p plan) []*redis.SliceCmd {
	if p.joint {
		return []*redis.SliceCmd{r.readGroup(p.count[Live], p.block, r.keys[:]...)}
	}
	var cmds []*redis.SliceCmd
	for lane, n := range p.count {
		if n > 0 {
			cmds = append(cmds, r.readGroup(n, p.block, r.keys[lane]))
		}
	}
	return cmds
}

func (r *reader) readGroup(count int, block bool, keys ...string) *redis.SliceCmd {
	args := make([]any, 0, 13)
	args = append(args, "xreadgroup", "group", r.cfg.Group, r.consumer, "count", count)
	if block {
		args = append(args, "block", r.cfg.Block.Milliseconds())
	}
	args = append(args, "streams")
	for _, key := range keys {
		args = append(args, key)
	}
	for range keys {
		args = append(args, ">")
	}
	return redis.NewSliceCmd(r.drainCtx, args...)
}

// parse appends the entries of an XREADGROUP reply (RESP2): [[key, [[id, [field, value, …]], …]], …].
func (r *reader) parse(entries []*entry, reply []any, issued time.Duration, got *[laneCount]int) []*entry {
	for _, stream := range reply {
		pair, _ := stream.([]any)
		if len(pair) != 2 {
			continue
		}
		lane := Live
		if pair[0] == r.keys[Bulk] {
			lane = Bulk
		}
		list, _ := pair[1].([]any)
		for _, item := range list {
			if e := r.newEntry(lane, item, issued); e != nil {
				entries = append(entries, e)
				got[lane]++
			}
		}
	}
	return entries
}

// newEntry makes an entry of [id, [field, value, …]]. It returns nil for one that was deleted while pending, which Redis before 7 gives as nil.
func (s *shard) newEntry(lane Lane, item any, issued time.Duration) *entry {
	pair, _ := item.([]any)
	if len(pair) != 2 {
		return nil
	}
	id, _ := pair[0].(string)
	fields, _ := pair[1].([]any)
	e := &entry{shard: s, lane: lane, key: s.keys[lane], id: id, fields: fields}
	e.hold(issued)
	return e
}

// createGroups makes the group on both lanes, from the beginning of each stream.
func createGroups(ctx context.Context, client redis.UniversalClient, keys keys, group string) error {
	for _, key := range keys {
		if err := createGroup(ctx, client, key, group); err != nil {
			return err
		}
	}
	return nil
}

func createGroup(ctx context.Context, client redis.UniversalClient, key, group string) error {
	err := client.XGroupCreateMkStream(ctx, key, group, "0").Err()
	switch {
	case err == nil, strings.HasPrefix(err.Error(), "BUSYGROUP"):
		return nil
	case strings.HasPrefix(err.Error(), "OOM"):
		return createGroupWhenFull(ctx, client, key, group, err)
	}
	return err
}

// createWhenFullScript needs Redis 7.
//
// KEYS[1] stream; ARGV[1] group.
const createWhenFullScript = `#!lua flags=allow-oom
return redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')`

// createGroupWhenFull is for a Redis at maxmemory: it refuses to make a group even where there is one, and if consumers did not begin, it would stay full for ever.
func createGroupWhenFull(ctx context.Context, client redis.UniversalClient, key, group string, full error) error {
	info, err := groupInfo(ctx, client, key, group)
	if err != nil || info != nil {
		return err
	}
	if err := redis.NewScript(createWhenFullScript).Run(ctx, client, []string{key}, group).Err(); err != nil {
		return errors.Join(full, err)
	}
	return nil
}

// groupIsGone recognizes the answers of a Redis that has lost the group or the stream; UNBLOCKED is what a blocked read gets when the key is deleted under it.
func groupIsGone(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "NOGROUP") || strings.Contains(text, "UNBLOCKED") || strings.Contains(text, "no such key")
}
