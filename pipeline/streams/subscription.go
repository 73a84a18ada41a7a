package streams

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// flushTime is how long the last acks, and what is given back, may take once the messages in flight are done.
const flushTime = 2 * time.Second

// subscription is one topic being read: a reader, workers as there is work, a keeper of leases, and a sender of acks.
type subscription struct {
	cfg      SubscriberConfig
	control  redis.UniversalClient
	count    *counters
	now      func() time.Time
	topic    string
	consumer string
	keys     [laneCount]string
	log      *slog.Logger
	out      chan *message.Message
	acks     chan *entry
	window   *window
	began    time.Time

	reading   redis.UniversalClient // its one connection is the one that waits in XREADGROUP
	readingID atomic.Int64          // its CLIENT ID, 0 if unknown
	workers   sync.WaitGroup
	trimmable atomic.Bool       // something was acked since the streams were trimmed
	claimFrom [laneCount]string // where the keeper goes on to look for entries of dead consumers

	drainCtx context.Context // ends when the subscription is to end
	end      context.CancelFunc
	life     context.Context // of the messages: ends when they are out of time
	kill     context.CancelFunc
	flushing context.Context // of the acks: ends a while after the last message
	stopAcks context.CancelFunc
}

func newSubscription(ctx context.Context, s *Subscriber, topic string) (*subscription, error) {
	sub := &subscription{
		cfg: s.cfg, control: s.control, count: &s.count, now: s.now, topic: topic, consumer: consumerName(s.cfg.Consumer),
		log: s.cfg.Logger.With("topic", topic, "group", s.cfg.Group),
		out: make(chan *message.Message), acks: make(chan *entry, 2*s.cfg.Concurrency), began: s.now(),
	}
	for lane := range Lane(laneCount) {
		sub.keys[lane] = Key(s.cfg.Prefix, topic, lane)
		sub.claimFrom[lane] = claimStart
	}
	sub.window = newWindow(s.cfg, func() { sub.workers.Go(sub.work) })
	var err error
	if sub.reading, err = derive(s.client, own{pool: 1, timeout: s.cfg.Block + 10*time.Second, id: &sub.readingID}); err != nil {
		return nil, err
	}
	sub.drainCtx, sub.end = context.WithCancel(ctx)
	sub.life, sub.kill = context.WithCancel(context.WithoutCancel(ctx))
	sub.flushing, sub.stopAcks = context.WithCancel(context.Background())
	return sub, nil
}

// run reads until the subscription is to end, and then drains.
func (s *subscription) run() {
	defer close(s.out)
	defer s.end()
	defer s.kill()
	defer s.stopAcks()
	var keeper, acker sync.WaitGroup
	keeping, stopKeeping := context.WithCancel(context.Background())
	defer stopKeeping()
	acker.Go(s.sendAcks)
	if s.connect() {
		keeper.Go(func() { s.keep(keeping) })
		s.readUntilEnd()
	}
	s.window.close()
	s.finishWork()
	outOfTime := time.AfterFunc(flushTime, s.stopAcks)
	defer outOfTime.Stop()
	close(s.acks)
	acker.Wait()
	stopKeeping()
	keeper.Wait()
	s.giveBack()
	_ = s.reading.Close() // already closed if it had to be cut
}

// connect makes the groups, for as long as it takes. It reports false if the subscription ended first.
func (s *subscription) connect() bool {
	trouble := s.newTrouble("connect")
	for s.drainCtx.Err() == nil {
		err := s.createGroups(s.drainCtx)
		if err == nil {
			trouble.over()
			return true
		}
		trouble.wait(s.drainCtx, err)
	}
	return false
}

// readUntilEnd runs the reader and ends it promptly: XREADGROUP does not heed a context, so it is unblocked from outside, and cut if that does not help.
func (s *subscription) readUntilEnd() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.read()
	}()
	select {
	case <-done:
		return
	case <-s.drainCtx.Done():
	}
	s.window.close()
	cut := time.NewTimer(s.cfg.Block + time.Second)
	defer cut.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if id := s.readingID.Load(); id != 0 {
			ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Block)
			_ = s.control.ClientUnblock(ctx, id).Err() // the next tick tries again
			cancel()
		}
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

// finishWork waits for what is in flight, and ends its contexts when its time is over.
func (s *subscription) finishWork() {
	timeout := time.AfterFunc(s.cfg.ShutdownTimeout, s.kill)
	defer timeout.Stop()
	s.workers.Wait()
}

// since returns the time since the subscription began, by its clock.
func (s *subscription) since() time.Duration { return s.now().Sub(s.began) }

// trouble paces and reports the repetition of what fails.
type trouble struct {
	log      *slog.Logger
	what     string
	failures int
}

func (s *subscription) newTrouble(what string) *trouble { return &trouble{log: s.log, what: what} }

// wait lets a moment pass, up to half a second, and logs the first failure of a row.
func (t *trouble) wait(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if t.failures == 0 {
		t.log.Warn("streams: cannot "+t.what+", trying again", "error", err)
	}
	t.failures++
	wait(ctx, min(20*time.Millisecond<<min(t.failures, 6), 500*time.Millisecond))
}

func (t *trouble) over() {
	if t.failures > 0 {
		t.log.Info("streams: can "+t.what+" again", "failures", t.failures)
	}
	t.failures = 0
}
