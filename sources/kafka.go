package sources

import (
	"context"
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	millrace "github.com/millrace-dev/millrace"
)

const (
	// kafkaWorkers is how many messages a topic has in flight unless its source
	// says so: what a few group commits of the store take at a time.
	kafkaWorkers = 256
	// kafkaDial bounds connecting.
	kafkaDial = 5 * time.Second
	// kafkaSession is how long a member may be silent before its partitions go
	// to others; brokers take no less than 6s by default.
	kafkaSession = 10 * time.Second
	// kafkaRebalance is how long members may take to give up partitions.
	kafkaRebalance = 30 * time.Second
	// kafkaFarewell is how long what is in flight of a partition may take when
	// it goes to another member.
	kafkaFarewell = 10 * time.Second
	// kafkaCommitEvery is how often is committed what was acked: what a crash
	// delivers again at most, beside what was in flight.
	kafkaCommitEvery = 500 * time.Millisecond
	// kafkaFetchWait is how long a broker may wait for something new, which it
	// answers with at once. An idle topic costs a request so often. It also
	// bounds how late a partition that rested is fetched again.
	kafkaFetchWait = 5 * time.Second
	// kafkaFetchBytes and kafkaPartitionBytes are what a broker answers at
	// once. A message that is larger comes alone.
	kafkaFetchBytes     = 8 << 20
	kafkaPartitionBytes = 1 << 20
)

// kafkaBroker reads a topic of Kafka as a member of a consumer group.
type kafkaBroker struct {
	*link
	source millrace.Source
	topic  millrace.KafkaSource
	// tls is how TLS is spoken where it is.
	tls *tls.Config
	// cautious is set where reading failed: joining the group proves nothing
	// then.
	cautious atomic.Bool
}

func newKafka(c BrokerConfig) *kafkaBroker {
	b := &kafkaBroker{link: newLink(c, c.workers(kafkaWorkers)), source: c.Source, topic: *c.Source.PubSub.Kafka}
	b.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	b.connection = b.read
	return b
}

// read is one membership in the group.
func (b *kafkaBroker) read(ctx context.Context, e *emitter) error {
	m := newKafkaMember(b)
	client, err := kgo.NewClient(b.options(m)...)
	if err != nil {
		return errors.New(b.plainly(err))
	}
	m.use(client)
	hurry := context.AfterFunc(ctx, m.conns.cut)
	m.topicID, err = m.look(ctx)
	hurry()
	if err != nil {
		client.CloseAllowingRebalance()
		return errors.New(b.plainly(err))
	}
	if err := m.run(ctx, e); err != nil {
		b.cautious.Store(true)
		return errors.New(b.plainly(err))
	}
	return nil
}

func (b *kafkaBroker) options(m *kafkaMember) []kgo.Opt {
	options := []kgo.Opt{
		kgo.ClientID("millrace"), kgo.DisableClientMetrics(), kgo.SeedBrokers(b.topic.Brokers...), kgo.Dialer(m.conns.dial),
		kgo.ConsumerGroup(b.topic.GroupID), kgo.SessionTimeout(kafkaSession), kgo.RebalanceTimeout(kafkaRebalance),
		// What was never read begins at the oldest, and what was lost is looked
		// for there: read again is found by its coordinates, skipped is gone.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// Between a poll and the noting of what came, no partition may go.
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.lost),
		// What a transaction took back was never sent. Where one ended is a record
		// too, for the commit to follow.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(kafkaFetchWait), kgo.FetchMaxBytes(kafkaFetchBytes), kgo.FetchMaxPartitionBytes(kafkaPartitionBytes),
		kgo.MetadataMaxAge(time.Minute), // new partitions are found within it
	}
	if auth := b.topic.Auth; auth != nil {
		if auth.TLS {
			m.conns.tls = b.tls
		}
		if auth.Type != "" {
			options = append(options, kgo.SASL(mechanism(*auth)))
		}
	}
	return options
}

func mechanism(a millrace.KafkaAuth) sasl.Mechanism {
	password := a.Password.Reveal()
	switch {
	case a.Type == "plain":
		return saslplain.Auth{User: a.Username, Pass: password}.AsMechanism()
	case a.Hash == "SHA512":
		return scram.Auth{User: a.Username, Pass: password}.AsSha512Mechanism()
	}
	return scram.Auth{User: a.Username, Pass: password}.AsSha256Mechanism()
}
