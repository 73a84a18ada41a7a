package sources

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

const (
	// kafkaLookEvery is how often the broker is asked for topic and lag.
	kafkaLookEvery = 5 * time.Second
	// kafkaBrokenFor is how long a partition may not be read before another
	// membership is tried.
	kafkaBrokenFor = 6 * time.Second
)

// errRecreated: the topic is another by now, of the same name.
var errRecreated = errors.New("the topic was deleted and created again")

// watch looks whether the broker answers and how much waits there. An error
// is one that only another membership may mend.
func (m *kafkaMember) watch(ctx context.Context) error {
	id, err := m.look(ctx)
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return err
	case err == nil && id != m.topicID:
		return errRecreated
	}
	var waiting int64
	if err == nil {
		waiting, err = m.lag(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		m.of.lag(-1)
		m.unhealthy(err)
		return nil
	}
	m.of.lag(waiting)
	m.mu.Lock()
	broken, since := m.broken, m.since
	m.mu.Unlock()
	switch {
	case broken != nil && time.Since(since) > kafkaBrokenFor:
		return broken
	case broken == nil && m.joined.Load():
		m.of.cautious.Store(false)
		m.of.healthy()
	}
	return nil
}

// every does something again and again, until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// look asks for the topic's id; the zero id: the broker knows of none.
func (m *kafkaMember) look(ctx context.Context) (kadm.TopicID, error) {
	ctx, cancel := context.WithTimeout(ctx, promptly)
	defer cancel()
	topics, err := m.admin.ListTopics(ctx, m.of.topic.Topic)
	if err != nil {
		return kadm.TopicID{}, err
	}
	topic := topics[m.of.topic.Topic]
	return topic.ID, topic.Err
}

// lag is how many messages of the topic the group has not committed. Where it
// had all, it has all until another comes: no more is asked then.
func (m *kafkaMember) lag(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, promptly)
	defer cancel()
	topic := m.of.topic.Topic
	ends, err := m.admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return 0, err
	}
	if now := endsOf(ends); m.lagging || !maps.Equal(now, m.ends) {
		m.ends, m.lagging = now, true
	} else {
		return 0, nil
	}
	starts, err := m.admin.ListStartOffsets(ctx, topic)
	if err = errors.Join(err, starts.Error()); err != nil {
		return 0, err
	}
	commits, err := m.admin.FetchOffsetsForTopics(ctx, m.of.topic.GroupID, topic)
	if err != nil {
		return 0, err
	}
	var lag int64
	ends.Each(func(end kadm.ListedOffset) {
		from := int64(-1)
		if commit, known := commits.Lookup(topic, end.Partition); known {
			from = commit.At
		}
		if start, known := starts.Lookup(topic, end.Partition); known {
			from = max(from, start.Offset)
		}
		lag += max(0, end.Offset-from)
	})
	m.lagging = lag > 0
	return lag, nil
}

// endsOf are the offsets of the next messages, by partition.
func endsOf(listed kadm.ListedOffsets) map[int32]int64 {
	ends := map[int32]int64{}
	listed.Each(func(end kadm.ListedOffset) { ends[end.Partition] = end.Offset })
	return ends
}
