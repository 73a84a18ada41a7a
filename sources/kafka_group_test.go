package sources

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	millrace "github.com/millrace-dev/millrace"
)

func TestAMemberThatWaitsStaysInItsGroup(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	k.Produce(t, broadcasts(500)...)
	beats := k.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Observe: true, Count: -1})
	finish := make(chan struct{})
	a := startAgent(t, agentConfig{source: k.Source(), handle: func(context.Context, millrace.Submission) error {
		<-finish
		return nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := beats.Wait(ctx, 2); err != nil {
		t.Error(err)
	}
	close(finish)
	for range 500 {
		a.next()
	}
	a.stop()
	a.wantNothingMore()
	wantLeft(t, k, 0)
}

// leaving is a topic of two partitions, whose 20 messages are in flight at a
// first member when a second takes one of the partitions from it.
func leaving(t *testing.T, grace time.Duration, handle func(context.Context) error) (k *fakeKafka, first, second *agent) {
	t.Helper()
	k = newFakeKafka(t, 2)
	k.Produce(t, broadcasts(20)...)
	began := make(chan struct{}, 10_000)
	syncs := k.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.SyncGroup}, Observe: true, Count: -1})
	first = startAgent(t, agentConfig{source: k.Source(), grace: grace, handle: func(ctx context.Context, _ millrace.Submission) error {
		began <- struct{}{}
		return handle(ctx)
	}})
	for range 20 {
		receive(t, began, "all of it is in flight")
	}
	second = startAgent(t, agentConfig{source: k.Source()})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// The first alone, and then both of them: now a partition has to go.
	if err := syncs.Wait(ctx, 3); err != nil {
		t.Fatal(err)
	}
	return k, first, second
}

func TestWhatIsInFlightOfAPartitionThatGoesIsCommittedFirst(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	release := sync.OnceFunc(func() { close(finish) })
	defer release()
	k, first, second := leaving(t, patience, func(context.Context) error {
		<-finish
		return nil
	})
	select {
	case s := <-second.seen:
		t.Errorf("message %s came while it was in flight", s.Payload)
	case <-time.After(500 * time.Millisecond):
	}
	release()
	for range 20 {
		first.next()
	}
	sent := 20
	eventually(t, func() bool {
		k.Produce(t, numbered(sent, sent+10)...)
		sent += 10
		return len(second.seen) > 0
	}, func() string { return "the second has a share" })
	others := between(t, sent-20, first, second)
	for n := range 20 {
		if others[strconv.Itoa(n)] {
			t.Errorf("message %d came again", n)
		}
	}
	first.stop()
	second.stop()
	wantLeft(t, k, 0)
}

func TestAPartitionThatGoesDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	k, first, second := leaving(t, 100*time.Millisecond, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	ids := map[string]bool{second.next().BrokerMessageID: true}
	first.stop()
	for len(ids) < 20 {
		ids[second.next().BrokerMessageID] = true
	}
	second.stop()
	first.wantNothingMore()
	wantLeft(t, k, 0)
}

func TestASourceEndsInTimeThoughItsBrokerIsGone(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	k.Produce(t, broadcasts(1)...)
	a := startAgent(t, agentConfig{source: k.Source()})
	a.next()
	k.Break(t)
	ended := make(chan struct{})
	began := time.Now()
	go func() {
		a.stop()
		close(ended)
	}()
	receive(t, ended, "it ends")
	if took := time.Since(began); took > kafkaFarewell+2*promptly {
		t.Errorf("it took %s", took)
	}
	k.Mend(t)
}

func TestAPartitionWhoseMessagesFailHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 2)
	source := k.Source()
	source.PubSub.Workers = 8
	client, err := kgo.NewClient(kgo.SeedBrokers(source.PubSub.Kafka.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send := func(partition int32, messages ...produced) {
		for _, m := range messages {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: k.name(), Partition: partition, Value: []byte(m.body)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(0, numbered(1000, 1050)...)
	var tries atomic.Int64
	a := startAgent(t, agentConfig{source: source, grace: 100 * time.Millisecond, handle: func(_ context.Context, s millrace.Submission) error {
		if len(s.Payload) < 4 {
			return nil
		}
		tries.Add(1)
		return errors.New("odd")
	}})
	eventually(t, func() bool { return tries.Load() > 50 }, func() string { return "the one fails" })
	send(1, broadcasts(20)...)
	for range 20 {
		a.next()
	}
}

func TestWhatATransactionTookBackWasNeverSent(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.source.PubSub.Kafka.Brokers...), kgo.DefaultProduceTopic(k.name()), kgo.TransactionalID(k.name()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for n, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		sent := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte(broadcast(n).body)}).FirstErr()
		if err := errors.Join(sent, client.EndTransaction(t.Context(), end)); err != nil {
			t.Fatal(err)
		}
	}
	a := startAgent(t, agentConfig{source: k.Source()})
	if got := a.next(); string(got.Payload) != "1" {
		t.Errorf("message %s came", got.Payload)
	}
	k.wantCommitted(t, 6) // three messages, and where each transaction ended
	a.stop()
	a.wantNothingMore()
}
