package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	convoy "github.com/frain-dev/convoy-go/v2"
	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	millrace "github.com/millrace-dev/millrace"
)

// committed is what the group has committed of partition 0; -1: nothing.
func (k *fakeKafka) committed() int64 {
	if group := k.cluster.GroupInfo(k.source.PubSub.Kafka.GroupID); group != nil {
		if commit, known := group.Commits[k.name()][0]; known {
			return commit.Offset
		}
	}
	return -1
}

func (k *fakeKafka) wantCommitted(t *testing.T, want int64) {
	t.Helper()
	eventually(t, func() bool { return k.committed() == want }, func() string { return fmt.Sprintf("offset %d is committed, not %d", want, k.committed()) })
}

func TestNothingIsCommittedPastAMessageThatIsNotSettled(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	k.Produce(t, broadcasts(10)...)
	finish := make(chan struct{})
	a := startAgent(t, agentConfig{source: k.Source(), handle: func(ctx context.Context, s millrace.Submission) error {
		if string(s.Payload) == "3" {
			<-finish
		}
		return nil
	}})
	defer sync.OnceFunc(func() { close(finish) })()
	for range 9 {
		a.next()
	}
	k.wantCommitted(t, 3)
	k.Produce(t, numbered(10, 20)...)
	for range 10 {
		a.next()
	}
	finish <- struct{}{}
	a.next()
	k.wantCommitted(t, 20) // without a stop: commits are made while it runs
}

func TestAMessageIsNamedByTheTopicsID(t *testing.T) {
	t.Parallel()
	for rule, options := range map[string][]kfake.Opt{
		"which comes with what is fetched":       nil,
		"which the broker tells who asks for it": {kfake.MaxVersions(kversion.V3_0_0())},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			k := newFakeKafka(t, 1, options...)
			a := startAgent(t, agentConfig{source: k.Source()})
			k.Produce(t, broadcasts(2)...)
			for range 2 {
				if got := a.next(); got.BrokerMessageID != k.id(string(got.Payload)) {
					t.Errorf("message %s is %q, want %q", got.Payload, got.BrokerMessageID, k.id(string(got.Payload)))
				}
			}
			k.wantCommitted(t, 2)
			before := k.id("0")
			k.recreate(t)
			// Those that the client fetched before it was told are the old topic's.
			offset := 0
			eventually(t, func() bool {
				k.Produce(t, broadcast(offset))
				got := a.next()
				offset++
				return got.BrokerMessageID == k.id(string(got.Payload))
			}, func() string { return "messages bear the new topic's id, not that of " + before })
			if options == nil && offset != 1 {
				t.Errorf("%d messages of the new topic were the old one's", offset-1)
			}
			a.stop()
			if options == nil { // else what came under the old id is read again, and nobody takes it here
				wantLeft(t, k, 0)
			}
		})
	}
}

// id is the coordinates of a message of partition 0.
func (k *fakeKafka) id(offset string) string {
	return fmt.Sprintf("kafka:%s:1:%s:0:%s", k.source.ID, uuid.UUID(k.cluster.TopicInfo(k.name()).TopicID), offset)
}

// recreate makes another topic of the same name.
func (k *fakeKafka) recreate(t *testing.T) {
	t.Helper()
	before := k.id("0")
	if err := errors.Join(k.cluster.DeleteTopic(k.name()), k.cluster.CreateTopic(k.name(), 1, nil)); err != nil {
		t.Fatal(err)
	}
	if k.id("0") == before {
		t.Fatal("the new topic has the old one's id")
	}
	k.producer.PurgeTopicsFromClient(k.name()) // it looks for the old one
}

func TestABrokerThatKnowsNoTopicIDsNamesTheTopic(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1, kfake.MaxVersions(kversion.V2_7_0()))
	k.Produce(t, broadcasts(1)...)
	a := startAgent(t, agentConfig{source: k.Source()})
	if got, want := a.next().BrokerMessageID, fmt.Sprintf("kafka:%s:1:%s:0:0", k.source.ID, k.name()); got != want {
		t.Errorf("the message is %q, want %q", got, want)
	}
}

func TestWhateverAProducerWritesGoesThrough(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	large := `{"event_type": "large", "data": "` + strings.Repeat("x", 2<<20) + `"}`
	k.produce(t,
		&kgo.Record{Value: nil, Key: []byte("tombstone")},
		&kgo.Record{Value: []byte{}},
		&kgo.Record{Value: []byte("{\"event_type\": \"a\", \"data\": \"\xff\"}")},
		&kgo.Record{Value: []byte(`{"event_type": "headers", "data": 1}`), Headers: []kgo.RecordHeader{
			{Key: "first", Value: []byte("1")}, {Key: "first", Value: []byte("2")}, {Key: "bytes", Value: []byte{0xff, 0}}, {Key: "nul\x00", Value: []byte("a\x00b")},
			{Key: "none", Value: nil}, {Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},
		}},
		&kgo.Record{Value: []byte(`{"event_type": "raw`), Headers: []kgo.RecordHeader{{Key: "nul\x00\xff", Value: []byte("a\x00b")}}},
	)
	k.produce(t, &kgo.Record{Value: []byte(large)})
	k.produce(t, &kgo.Record{Value: []byte(`{"event_type": "last", "data": 1}`)})
	source := k.Source()
	source.ForwardHeaders = []string{"first", "bytes", "none"}
	a := startAgent(t, agentConfig{source: source, handle: func(_ context.Context, s millrace.Submission) error {
		if len(s.Payload) > 1<<20 {
			return millrace.Permanent(errors.New("too large")) // as the stage does
		}
		return nil
	}})
	got := map[string]millrace.Submission{}
	for range 2 {
		s := a.next()
		got[s.Type] = s
	}
	if h := got["headers"]; len(h.Headers) != 2 || h.Headers["first"] != "1" || h.Headers["bytes"] != "/wA=" || h.TraceParent == "" {
		t.Errorf("headers arrived as %+v", h)
	}
	want := map[string]string{"empty": "", "UTF-8": "\xff", "ends in the middle": "raw", "too large": "xxx"}
	for range 5 {
		d := a.nextDead()
		for why, what := range want {
			if strings.Contains(d.Error, why) && !bytes.Contains(d.Raw, []byte(what)) {
				t.Errorf("dead for %s: %.40q", d.Error, d.Raw)
			}
		}
		if metadata, err := json.Marshal(d.Metadata); err != nil || bytes.Contains(metadata, []byte(`\u0000`)) || strings.Contains(d.Topic, "\x00") {
			t.Errorf("the store cannot keep %s (%v)", metadata, err)
		}
	}
	k.wantCommitted(t, 7)
}

func TestConvoysSDKWritesToATopic(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	writer := &kafka.Client{Addr: kafka.TCP(k.source.PubSub.Kafka.Brokers[0]), Transport: transport}
	sdk := convoy.New("", "", "", convoy.OptionKafkaOptions(&convoy.KafkaOptions{Client: writer, Topic: k.name()})).Kafka
	data, headers := json.RawMessage(`{"n":9007199254740993}`), map[string]string{"X-Tenant": "acme"}
	if err := errors.Join(
		sdk.WriteEvent(t.Context(), &convoy.CreateEventRequest{EventType: "single", EndpointID: someEndpoint, Data: data, CustomHeaders: maps.Clone(headers)}),
		sdk.WriteFanoutEvent(t.Context(), &convoy.CreateFanoutEventRequest{EventType: "fanout", OwnerID: "o", Data: data, CustomHeaders: maps.Clone(headers)}),
		sdk.WriteBroadcastEvent(t.Context(), &convoy.CreateBroadcastEventRequest{EventType: "broadcast", IdempotencyKey: "k", Data: data, CustomHeaders: maps.Clone(headers)}),
	); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, agentConfig{source: k.Source()})
	want := map[string]millrace.Audience{"single": {EndpointID: uuid.MustParse(someEndpoint)}, "fanout": {OwnerID: "o"}, "broadcast": {}}
	for range want {
		s := a.next()
		if to, known := want[s.Type]; !known || s.Audience != to || string(s.Payload) != string(data) || !maps.Equal(s.Headers, headers) {
			t.Errorf("arrived as %+v with %s", s, s.Payload)
		}
	}
}

func TestLagIsWhatTheGroupHasNotRead(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 3)
	k.Produce(t, broadcasts(30)...)
	finish := make(chan struct{})
	a := startAgent(t, agentConfig{source: k.Source(), handle: func(context.Context, millrace.Submission) error {
		<-finish
		return nil
	}})
	defer sync.OnceFunc(func() { close(finish) })()
	lag := func(want int64) {
		t.Helper()
		eventually(t, func() bool { return a.broker.State().Lag == want }, func() string { return fmt.Sprintf("the lag is %d, not %d", want, a.broker.State().Lag) })
	}
	lag(30)
	for range 30 {
		finish <- struct{}{}
	}
	lag(0)
}
