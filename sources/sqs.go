package sources

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// sqsWorkers is how many messages of a queue are in flight by default. A
// message is in flight from its receive until SQS has deleted it, which is
// some 30 ms in Amazon's network.
const sqsWorkers = 200

// sqsTuning is how a queue is read. Tests read faster.
type sqsTuning struct {
	// visibility is how long SQS hides a message that was received, and so
	// how long those of a dead process wait; it is extended while the message
	// is worked on. Whole seconds.
	visibility time.Duration
	// poll is how long SQS waits for a message: nothing costs less when idle.
	// Whole seconds, at most 20.
	poll time.Duration
	// lag is how often the queue's length is asked for while there is any.
	lag time.Duration
}

func defaultSQSTuning() sqsTuning {
	return sqsTuning{visibility: 15 * time.Second, poll: 20 * time.Second, lag: 10 * time.Second}
}

// sqsSource reads a queue of Amazon SQS.
//
//	             ┌──────── every third of the visibility: hidden for longer
//	receivers ─▶ emit ─▶ the pipeline ─┬─ acked ─▶ DeleteMessageBatch
//	                                   └─ let go ─▶ visible to others at once
//
// A message whose receipt has run out, because SQS was away or the process
// stood still, comes again and is the same event. Of a FIFO queue's message
// group one message is in flight at a time, in order.
type sqsSource struct {
	*link
	tuning sqsTuning
	// undeleted is why messages cannot be deleted, while that is so.
	undeleted atomic.Pointer[error]
}

func newSQS(c BrokerConfig) *sqsSource {
	s := &sqsSource{link: newLink(c, c.workers(sqsWorkers)), tuning: defaultSQSTuning()}
	s.connection = s.read
	return s
}

// read finds the queue and hands on what it has, until ctx ends and all that
// was received is deleted or let go.
func (s *sqsSource) read(ctx context.Context, e *emitter) error {
	q, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer q.close()
	s.healthy()
	// What is out of time at the end is let go in a call that must still be
	// made.
	calls, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	defer context.AfterFunc(e.life, func() { time.AfterFunc(promptly, hangUp) })()
	r := newSQSReader(ctx, calls, s, q)
	r.emitter = e
	var leases sync.WaitGroup
	leases.Go(func() { r.leases.keep(calls) })
	r.receiveAll(ctx)
	close(r.ended)
	r.unsettled.Wait()
	r.deletes.close()
	r.letGos.close()
	hangUp()
	leases.Wait()
	return nil
}

// deleted notes whether messages can be deleted.
func (s *sqsSource) deleted(err error) {
	if err != nil {
		err = fmt.Errorf("messages cannot be deleted: %w", err)
		s.undeleted.Store(&err)
		s.unhealthy(err)
		return
	}
	if s.undeleted.Swap(nil) != nil {
		s.healthy()
	}
}

// received notes that the queue answers.
func (s *sqsSource) received() {
	if err := s.undeleted.Load(); err != nil {
		s.unhealthy(*err)
		return
	}
	s.healthy()
}

// sqsReader reads a queue that was found.
type sqsReader struct {
	*sqsSource
	emitter *emitter
	queue   *sqsQueue
	leases  *sqsLeases
	deletes *sqsBatches
	letGos  *sqsBatches
	// reserving is held by who collects free slots, so that no two wait for
	// each other's.
	reserving sync.Mutex
	// busy wakes one more receiver.
	busy chan struct{}
	// idle: the queue was empty when last looked at.
	idle atomic.Bool
	// unsettled are the messages received.
	unsettled sync.WaitGroup
	// ended closes when nothing is received any more.
	ended chan struct{}
}

func newSQSReader(ctx, calls context.Context, s *sqsSource, q *sqsQueue) *sqsReader {
	return &sqsReader{
		sqsSource: s, queue: q, leases: newSQSLeases(q, s.tuning.visibility),
		deletes: newSQSBatches(ctx, calls, q.delete, s.deleted),
		letGos:  newSQSBatches(ctx, calls, q.show, func(error) {}),
		busy:    make(chan struct{}, sqsReceivers), ended: make(chan struct{}),
	}
}

// handOn hands on messages one after the other: the next once the one before
// was acked. A slot is reserved for each.
func (r *sqsReader) handOn(ctx context.Context, messages []*sqsMessage) {
	m, rest := messages[0], messages[1:]
	r.emitter.emit(ctx, m.message(), func(acked bool) {
		defer r.unsettled.Done()
		if acked && ctx.Err() == nil && len(rest) > 0 {
			r.handOn(ctx, rest)
			rest = nil
		}
		if acked {
			r.deletes.do(m.receipt)
			r.leases.end(m)
		} else {
			r.letGo(m)
		}
		r.letGo(rest...)
		for range rest {
			r.emitter.release()
			r.unsettled.Done()
		}
	})
}

// letGo lets others receive messages at once, but not our own receivers,
// which are ending.
func (r *sqsReader) letGo(messages ...*sqsMessage) {
	if len(messages) == 0 {
		return
	}
	<-r.ended
	receipts := make([]string, len(messages))
	for i, m := range messages {
		r.leases.end(m)
		receipts[i] = m.receipt
	}
	r.letGos.do(receipts...)
}

// inOrder parts messages into those that may be in flight side by side: of a
// FIFO queue, one message group each.
func (q *sqsQueue) inOrder(messages []types.Message, received func(types.Message) *sqsMessage) [][]*sqsMessage {
	var parts [][]*sqsMessage
	groups := map[string]int{}
	for _, m := range messages {
		group := m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
		at, known := groups[group]
		if !q.fifo || !known {
			at = len(parts)
			groups[group] = at
			parts = append(parts, nil)
		}
		parts[at] = append(parts[at], received(m))
	}
	return parts
}
