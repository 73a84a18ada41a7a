package streams

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// flushTime is how long the last acks, and what is given back, may take once the messages in flight are done.
const flushTime = 2 * time.Second

// subscription is one topic being read: its shards, and workers as there is work.
type subscription struct {
	cfg      SubscriberConfig
	control  redis.UniversalClient
	count    *counters
	now      func() time.Time
	topic    string
	consumer string
	log      *slog.Logger
	out      chan *message.Message
	window   *window
	began    time.Time

	reading redis.UniversalClient // each of its connections is one that waits in XREADGROUP
	waiting clientIDs             // of those connections
	workers sync.WaitGroup

	shards     []*shard // what the topic is spread over now
	leftovers  []*shard // what it was spread over before, and is not empty yet; the finder of leftovers has them while the subscription runs
	candidates []keys   // where leftovers may be
	dropAfter  time.Duration
	readers    sync.WaitGroup
	keepers    sync.WaitGroup
	ackers     sync.WaitGroup

	drainCtx    context.Context // ends when the subscription is to end
	end         context.CancelFunc
	life        context.Context // of the messages: ends when they are out of time
	kill        context.CancelFunc
	flushing    context.Context // of the acks: ends a while after the last message
	stopAcks    context.CancelFunc
	keeping     context.Context // of the leases: ends when there is nothing to hold any more
	stopKeeping context.CancelFunc
}

func newSubscription(ctx context.Context, s *Subscriber, topic string) (*subscription, error) {
	sub := &subscription{
		cfg: s.cfg, control: s.control, count: &s.count, now: s.now, topic: topic, consumer: consumerName(s.cfg.Consumer),
		log: s.cfg.Logger.With("topic", topic, "group", s.cfg.Group), out: make(chan *message.Message), began: s.now(), dropAfter: s.dropAfter,
	}
	sub.window = newWindow(s.cfg, func() { sub.workers.Go(sub.work) })
	for _, keys := range spread(s.cfg.Prefix, topic, s.cfg.Shards) {
		sub.shards = append(sub.shards, newShard(sub, keys))
	}
	for _, keys := range everyShard(s.cfg.Prefix, topic) {
		if !slices.ContainsFunc(sub.shards, func(own *shard) bool { return own.keys == keys }) && readable(s.client, keys) == nil {
			sub.candidates = append(sub.candidates, keys)
		}
	}
	var err error
	if sub.reading, err = derive(s.client, own{pool: MaxShards + 1, timeout: s.cfg.Block + 10*time.Second, ids: &sub.waiting}); err != nil {
		return nil, err
	}
	sub.drainCtx, sub.end = context.WithCancel(ctx)
	sub.life, sub.kill = context.WithCancel(context.WithoutCancel(ctx))
	sub.flushing, sub.stopAcks = context.WithCancel(context.Background())
	sub.keeping, sub.stopKeeping = context.WithCancel(context.Background())
	return sub, nil
}

// run reads until the subscription is to end, and then drains.
func (s *subscription) run() {
	defer close(s.out)
	defer s.end()
	defer s.kill()
	defer s.stopAcks()
	defer s.stopKeeping()
	s.readUntilEnd()
	s.window.close()
	s.finishWork()
	outOfTime := time.AfterFunc(flushTime, s.stopAcks)
	defer outOfTime.Stop()
	for shard := range s.each() {
		close(shard.acks)
	}
	s.ackers.Wait()
	s.stopKeeping()
	s.keepers.Wait()
	s.giveBack()
	_ = s.reading.Close() // already closed if it had to be cut
}

// each passes the shards, and what is left over of others. It is for when the readers have ended.
func (s *subscription) each() iter.Seq[*shard] {
	return func(yield func(*shard) bool) {
		for _, shard := range slices.Concat(s.shards, s.leftovers) {
			if !yield(shard) {
				return
			}
		}
	}
}

// readUntilEnd runs the readers and ends them promptly: XREADGROUP does not heed a context, so it is unblocked from outside, and cut if that does not help.
func (s *subscription) readUntilEnd() {
	for _, shard := range s.shards {
		s.ackers.Go(shard.sendAcks)
		s.readers.Go(shard.run)
	}
	s.readers.Go(s.findLeftovers)
	<-s.drainCtx.Done()
	s.window.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.readers.Wait()
	}()
	cut := time.NewTimer(s.cfg.Block + time.Second)
	defer cut.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		s.unblock()
		select {
		case <-done:
			return
		case <-again.C:
		case <-cut.C:
			_ = s.reading.Close()
			<-done
			return
		}
	}
}

func (s *subscription) unblock() {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Block)
	defer cancel()
	s.waiting.unblock(ctx, s.control)
}

// finishWork waits for what is in flight, and ends its contexts when its time is over.
func (s *subscription) finishWork() {
	timeout := time.AfterFunc(s.cfg.ShutdownTimeout, s.kill)
	defer timeout.Stop()
	s.workers.Wait()
}

// since returns the time since the subscription began, by its clock.
func (s *subscription) since() time.Duration { return s.now().Sub(s.began) }
