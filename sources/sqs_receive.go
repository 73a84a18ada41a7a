package sources

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	// sqsReceivers is how many receives are under way at once, at most.
	sqsReceivers = 8
	// sqsBatch is how many messages a call of SQS can be about.
	sqsBatch = 10
	// sqsLinger is how long a call waits for more to be about: calls cost.
	sqsLinger = 5 * time.Millisecond
	// sqsShortPoll is how long a receive waits while anything is in flight,
	// so that it can be waited for at the end: a receive that is hung up may go
	// on at the broker, take what is let go, and hide it.
	sqsShortPoll = time.Second
	// sqsHangUp is how long a receive may go on after the end, beside that.
	sqsHangUp = 100 * time.Millisecond
)

// receiveAll receives until ctx ends: by one receiver that waits for messages,
// and by more while there are many.
func (r *sqsReader) receiveAll(ctx context.Context) {
	var receivers sync.WaitGroup
	defer receivers.Wait()
	for range min(sqsReceivers, r.workers/sqsBatch) - 1 {
		receivers.Go(func() { r.assist(ctx) })
	}
	receivers.Go(func() { r.watchLag(ctx) })
	wait := backoffFirst
	for ctx.Err() == nil {
		poll := r.tuning.poll
		if r.leases.any() {
			poll = min(poll, sqsShortPoll)
		}
		n, err := r.receive(ctx, poll)
		if err == nil {
			wait = backoffFirst
			r.received()
			r.idle.Store(n == 0)
			if n == 0 {
				r.lag(0)
			}
			continue
		}
		if ctx.Err() == nil {
			r.lost(err)
		}
		pause(ctx, wait)
		wait = min(2*wait, backoffLast)
	}
}

// assist receives while there are many messages, and otherwise waits.
func (r *sqsReader) assist(ctx context.Context) {
	for {
		select {
		case <-r.busy:
		case <-ctx.Done():
			return
		}
		for n := 1; n > 0 && ctx.Err() == nil; {
			n, _ = r.receive(ctx, min(r.tuning.poll, sqsShortPoll)) // the first receiver tells of errors
		}
	}
}

// receive receives once, as many messages as slots are free, waiting so long
// for the first, and hands them on.
func (r *sqsReader) receive(ctx context.Context, wait time.Duration) (int, error) {
	slots := r.reserve(ctx)
	if slots == 0 {
		return 0, ctx.Err()
	}
	messages, err := r.poll(ctx, slots, wait)
	for range slots - len(messages) {
		r.emitter.release()
	}
	if err != nil {
		return 0, err
	}
	if len(messages) == sqsBatch {
		select {
		case r.busy <- struct{}{}:
		default: // all are woken already
		}
	}
	at := time.Now()
	for _, part := range r.queue.inOrder(messages, func(m types.Message) *sqsMessage { return r.take(m, at) }) {
		r.handOn(ctx, part)
	}
	return len(messages), nil
}

// reserve waits for a slot, and for more a little, so that one call fetches
// many; 0: ctx ended before there was one.
func (r *sqsReader) reserve(ctx context.Context) int {
	r.reserving.Lock()
	defer r.reserving.Unlock()
	if !r.emitter.reserve(ctx) {
		return 0
	}
	n, most := 1, min(sqsBatch, r.workers)
	more := func() {
		for n < most && r.emitter.free() > 0 && r.emitter.reserve(ctx) {
			n++
		}
	}
	if more(); n < most {
		pause(ctx, sqsLinger)
		more()
	}
	return n
}

func (r *sqsReader) poll(ctx context.Context, most int, wait time.Duration) ([]types.Message, error) {
	call, hangUp := context.WithTimeout(context.WithoutCancel(ctx), wait+sqsCallTimeout)
	defer hangUp()
	defer context.AfterFunc(ctx, func() {
		last := sqsHangUp
		if r.leases.any() {
			last += sqsShortPoll
		}
		time.AfterFunc(last, hangUp)
	})()
	return r.queue.receive(call, most, wait, r.tuning.visibility)
}

// take makes a received message one that is held until it is settled.
func (r *sqsReader) take(m types.Message, at time.Time) *sqsMessage {
	held := newSQSMessage(coordinates(r.config.Source, *m.MessageId), m)
	held.hidden = at
	r.leases.begin(held)
	r.unsettled.Add(1)
	return held
}

// watchLag keeps how many messages wait. An empty queue is not asked: its
// receiver sees what comes.
func (r *sqsReader) watchLag(ctx context.Context) {
	tick := time.NewTicker(r.tuning.lag)
	defer tick.Stop()
	for ctx.Err() == nil {
		if !r.idle.Load() {
			if n, err := r.queue.waiting(ctx); err == nil {
				r.lag(n)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// sqsMessage is a message that was received.
type sqsMessage struct {
	*brokerMessage
	receipt string

	mu     sync.Mutex // held while hidden is being extended
	hidden time.Time  // since when
	ended  bool       // it is not to be hidden any more
}

func newSQSMessage(id string, m types.Message) *sqsMessage {
	b := &brokerMessage{id: id, body: []byte(aws.ToString(m.Body)), headers: map[string]string{}}
	if sent, err := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		b.at = time.UnixMilli(sent)
	}
	for name, value := range m.MessageAttributes {
		b.headers[name] = sqsHeader(value)
	}
	return &sqsMessage{brokerMessage: b, receipt: *m.ReceiptHandle}
}
