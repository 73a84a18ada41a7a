package sources

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	millrace "github.com/millrace-dev/millrace"
)

// kafkaMember is one membership in a consumer group.
//
//	poll ─▶ assignment ─▶ dispatch ─▶ the pipeline ─▶ assignment ─▶ commit
type kafkaMember struct {
	of      *kafkaBroker
	client  *kgo.Client
	admin   *kadm.Client
	conns   *kafkaConns
	topicID kadm.TopicID
	has     *assignment
	joined  atomic.Bool

	committing sync.Mutex
	// uncommitting says that the last commit failed, which was said.
	uncommitting bool

	// ends are the offsets of the next messages when the lag was asked for
	// last, and lagging whether there was any.
	ends    map[int32]int64
	lagging bool

	mu sync.Mutex
	// broken is why a partition is not read, and since when.
	broken error
	since  time.Time
}

func newKafkaMember(b *kafkaBroker) *kafkaMember {
	return &kafkaMember{of: b, conns: &kafkaConns{reach: b.config.dial, open: map[*kafkaConn]struct{}{}}, has: newAssignment(b.workers)}
}

// use gives the member its client, which has not joined yet.
func (m *kafkaMember) use(client *kgo.Client) {
	m.client, m.admin = client, kadm.NewClient(client)
	m.has.pause = func(n int32) { client.PauseFetchPartitions(map[string][]int32{m.of.topic.Topic: {n}}) }
	m.has.resume = func(n int32) { client.ResumeFetchPartitions(map[string][]int32{m.of.topic.Topic: {n}}) }
}

// run reads until ctx ends and what is in flight is settled, or until an
// error that only another membership may mend.
func (m *kafkaMember) run(ctx context.Context, e *emitter) error {
	m.client.AddConsumeTopics(m.of.topic.Topic)
	reading, stop := context.WithCancelCause(ctx)
	beside, end := context.WithCancel(context.Background())
	var readers, others sync.WaitGroup
	readers.Go(func() { m.poll(reading) })
	readers.Go(func() { m.dispatch(reading, e) })
	others.Go(func() { every(beside, kafkaCommitEvery, func() { m.commit(nil) }) })
	others.Go(func() {
		every(beside, kafkaLookEvery, func() {
			if err := m.watch(beside); err != nil {
				stop(err)
			}
		})
	})
	readers.Wait()
	until := time.Now().Add(kafkaFarewell + promptly)
	if ctx.Err() != nil {
		e.inFlight.Wait()
		until = time.Now().Add(m.of.parting)
		defer time.AfterFunc(m.of.parting, m.conns.cut).Stop()
	}
	end()
	others.Wait()
	m.leave(until)
	err := context.Cause(reading)
	stop(nil)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// poll fetches what there is room for.
func (m *kafkaMember) poll(ctx context.Context) {
	defer m.client.AllowRebalance()
	for m.has.hungry(ctx) {
		fetches := m.client.PollRecords(ctx, -1)
		fetches.EachError(func(_ string, number int32, err error) { m.failed(number, err) })
		fetches.EachTopic(func(t kgo.FetchTopic) {
			topic := m.name(t.TopicID)
			t.EachPartition(func(p kgo.FetchPartition) {
				if len(p.Records) > 0 {
					m.has.put(topic, p.Partition, p.Records)
				}
			})
		})
		m.client.AllowRebalance()
	}
}

// name is what stands for the topic in its messages' coordinates: its id,
// which another topic of the same name does not have.
func (m *kafkaMember) name(fetched [16]byte) string {
	for _, id := range [][16]byte{fetched, m.topicID} {
		if id != [16]byte{} {
			return uuid.UUID(id).String()
		}
	}
	return m.of.topic.Topic
}

// failed notes what the client says of its reading.
func (m *kafkaMember) failed(number int32, err error) {
	var (
		lost  *kgo.ErrDataLoss
		group *kgo.ErrGroupSession
	)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed):
	case errors.As(err, &lost):
		m.of.config.Logger.Warn("the broker lost messages", "error", err)
	case errors.As(err, &group):
		m.joined.Store(false)
		m.unhealthy(err)
	default:
		m.mu.Lock()
		if m.broken == nil {
			m.since = time.Now()
		}
		m.broken = fmt.Errorf("read partition %d: %w", number, err)
		m.mu.Unlock()
		m.unhealthy(err)
	}
}

// unhealthy says what is wrong, once to the log and until it is mended to
// whoever asks.
func (m *kafkaMember) unhealthy(err error) {
	plain := m.of.plainly(err)
	if m.of.State().Health == millrace.SourceHealthy {
		m.of.config.Logger.Warn("the source cannot be read", "error", plain)
	}
	m.of.unhealthy(errors.New(plain))
}

// dispatch hands on what may begin, as there are workers.
func (m *kafkaMember) dispatch(ctx context.Context, e *emitter) {
	for e.reserve(ctx) {
		t, ok := m.has.next(ctx)
		if !ok {
			e.release()
			return
		}
		if t.record.Attrs.IsControl() {
			m.has.settle(t, true)
			e.release()
			continue
		}
		e.emit(ctx, m.message(t), func(acked bool) { m.has.settle(t, acked) })
	}
}

// message makes the pipeline's message of a record.
func (m *kafkaMember) message(t task) *message.Message {
	r := t.record
	made := &brokerMessage{
		id: coordinates(m.of.source, t.of.topic, r.Partition, r.Offset), at: r.Timestamp,
		headers: make(map[string]string, len(r.Headers)), body: r.Value,
	}
	for _, h := range r.Headers {
		if _, given := made.headers[h.Key]; !given {
			made.headers[h.Key] = headerText(h.Value)
		}
	}
	return made.messageIn(t.of.life)
}

// commit tells the broker where the group goes on: of some partitions, or of
// all. What fails is committed with the next.
func (m *kafkaMember) commit(of []*partition) {
	m.committing.Lock()
	defer m.committing.Unlock()
	due, offsets := m.has.uncommitted(of)
	if len(due) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), promptly)
	defer cancel()
	var fault error
	m.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{m.of.topic.Topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
			if fault = err; err != nil {
				return
			}
			refused := refusals(answer)
			for _, p := range due {
				if err := refused[p.number]; err != nil {
					fault = fmt.Errorf("of partition %d: %w", p.number, err)
				} else {
					m.has.committed(p, offsets[p.number])
				}
			}
		})
	if fault != nil && !m.uncommitting {
		m.of.config.Logger.Warn("offsets are not committed", "error", m.of.plainly(fault))
	}
	m.uncommitting = fault != nil
}

// refusals are the partitions whose commit was refused.
func refusals(answer *kmsg.OffsetCommitResponse) map[int32]error {
	refused := map[int32]error{}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				refused[p.Partition] = err
			}
		}
	}
	return refused
}

// assigned takes partitions over, as the group says.
func (m *kafkaMember) assigned(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	m.has.add(m.name([16]byte{}), partitions[m.of.topic.Topic])
	m.joined.Store(true)
	if !m.of.cautious.Load() {
		m.of.healthy()
	}
}

// revoked gives partitions to another member: what is in flight of them may
// finish, is committed, and then they are gone.
func (m *kafkaMember) revoked(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	given := m.has.remove(partitions[m.of.topic.Topic])
	late := time.NewTimer(min(kafkaFarewell, m.of.config.ShutdownTimeout))
	defer late.Stop()
	for _, p := range given {
		select {
		case <-p.idle:
		case <-late.C:
			late.Reset(0)
		}
		p.end()
	}
	if len(given) > 0 {
		m.commit(given)
	}
}

// lost notes that partitions went to other members without a word. What is in
// flight of them commits nothing.
func (m *kafkaMember) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	for _, p := range m.has.remove(partitions[m.of.topic.Topic]) {
		p.end()
	}
}

// leave leaves the group, and gives up what the member still has.
func (m *kafkaMember) leave(until time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	_ = m.client.LeaveGroupContext(ctx) // the group finds out by itself if the broker is gone
	m.client.CloseAllowingRebalance()
}
