package sources

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/ThreeDotsLabs/watermill/message"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	millrace "github.com/millrace-dev/millrace"
)

func TestPubSub(t *testing.T) {
	t.Parallel()
	testBroker(t, func(t *testing.T) brokerHarness {
		h := newPubSubHarness(t)
		h.subscribe(&pubsubpb.Subscription{})
		return h
	})
}

const (
	pubSubTopic        = "projects/shop/topics/orders"
	pubSubSubscription = "projects/shop/subscriptions/millrace"
)

// pubSubHarness is Google's fake of its broker, with a topic, behind a relay.
type pubSubHarness struct {
	*relay
	t      testing.TB
	server *pstest.Server
	source millrace.Source
}

// newPubSubHarness has no subscription yet.
func newPubSubHarness(t testing.TB) *pubSubHarness {
	t.Helper()
	h := &pubSubHarness{t: t, server: pstest.NewServer()}
	t.Cleanup(func() { _ = h.server.Close() }) // nothing to lose
	if _, err := h.server.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: pubSubTopic}); err != nil {
		t.Fatal(err)
	}
	h.relay = newRelay(t, h.server.Addr, nil)
	h.source = pubSubSource(h.addr)
	return h
}

func pubSubSource(endpoint string) millrace.Source {
	return millrace.Source{
		ID: millrace.NewID(time.Now()), ProjectID: millrace.NewID(time.Now()), Name: "orders", Type: millrace.SourcePubSub, Revision: 1,
		PubSub: &millrace.PubSub{Kind: millrace.BrokerGoogle, Google: &millrace.GoogleSource{ProjectID: "shop", SubscriptionID: "millrace", Endpoint: endpoint}},
	}
}

func (h *pubSubHarness) subscribe(s *pubsubpb.Subscription) {
	h.t.Helper()
	s.Name, s.Topic, s.AckDeadlineSeconds = pubSubSubscription, pubSubTopic, 10
	if _, err := h.server.GServer.CreateSubscription(h.t.Context(), s); err != nil {
		h.t.Fatal(err)
	}
}

// Source reads the subscription.
func (h *pubSubHarness) Source() millrace.Source {
	s := h.source
	pubsub, subscription := *s.PubSub, *s.PubSub.Google
	pubsub.Google, s.PubSub = &subscription, &pubsub
	return s
}

// Produce publishes messages.
func (h *pubSubHarness) Produce(t testing.TB, messages ...produced) {
	for _, m := range messages {
		h.server.Publish(pubSubTopic, []byte(m.body), m.headers)
	}
}

// Left are the messages that were never acknowledged.
func (h *pubSubHarness) Left(t testing.TB) int {
	left := 0
	for _, m := range h.server.Messages() {
		if m.Acks == 0 {
			left++
		}
	}
	return left
}

// Break cuts all connections.
func (h *pubSubHarness) Break(testing.TB) { h.cut() }

// Mend lets clients in again.
func (h *pubSubHarness) Mend(t testing.TB) { h.mend(t) }

func TestPubSubMessageHasItsAttributesItsTimeAndItsOrderingKey(t *testing.T) {
	h := newPubSubHarness(t)
	h.subscribe(&pubsubpb.Subscription{EnableMessageOrdering: true})
	id := h.server.PublishOrdered(pubSubTopic, []byte("{}"), map[string]string{"kind": "x"}, "customer-1")
	got := brokerMessages(t, newPubSub(configOf(h.Source())))
	m := receive(t, got, "the message is read")
	if want := map[string]string{"kind": "x", "goog-ordering-key": "customer-1"}; !maps.Equal(m.headers, want) {
		t.Errorf("headers %v, want %v", m.headers, want)
	}
	if want := fmt.Sprintf("google:%s:1:%s", h.source.ID, id); m.id != want || !m.at.Equal(h.server.Message(id).PublishTime) || string(m.body) != "{}" {
		t.Errorf("%q at %s is %s, want %s", m.body, m.at, m.id, want)
	}
	h.server.PublishOrdered(pubSubTopic, []byte("{}"), nil, "customer-1")
	if m := receive(t, got, "a message without attributes is read"); m.headers["goog-ordering-key"] != "customer-1" {
		t.Errorf("headers %v", m.headers)
	}
}

func TestPubSubKeepsTheOrderOfAKey(t *testing.T) {
	h := newPubSubHarness(t)
	h.subscribe(&pubsubpb.Subscription{EnableMessageOrdering: true})
	const keys, each = 4, 10
	for i := range keys * each {
		h.server.PublishOrdered(pubSubTopic, []byte(strconv.Itoa(i)), nil, strconv.Itoa(i%keys))
	}
	began := make(chan int, keys*each)
	var most, inFlight atomic.Int64
	readBroker(t, newPubSub(configOf(h.Source())), func(m *message.Message) {
		n, err := strconv.Atoi(string(m.Payload))
		if err != nil {
			t.Error(err)
		}
		most.Store(max(most.Load(), inFlight.Add(1)))
		began <- n
		pause(m.Context(), 20*time.Millisecond)
		inFlight.Add(-1)
		m.Ack()
	})
	last := map[int]int{}
	for range keys * each {
		n := receive(t, began, "a message is read")
		if before, seen := last[n%keys]; seen && n != before+keys {
			t.Errorf("%d came behind %d", n, before)
		}
		last[n%keys] = n
	}
	if most.Load() < 2 {
		t.Error("one key waits for another")
	}
}

func TestPubSubSaysWhatIsWrong(t *testing.T) {
	t.Run("a subscription that does not exist, until it does", func(t *testing.T) {
		t.Parallel()
		h := newPubSubHarness(t)
		b := newPubSub(configOf(h.Source()))
		got := brokerMessages(t, b)
		stated(t, b, millrace.SourceUnhealthy, `there is no subscription "millrace" in the project "shop"`)
		h.subscribe(&pubsubpb.Subscription{})
		stated(t, b, millrace.SourceHealthy)
		h.Produce(t, broadcast(1))
		receive(t, got, "the message is read")
		_, err := h.server.GServer.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: pubSubSubscription})
		if err != nil {
			t.Fatal(err)
		}
		h.cut() // Google ends the stream of a subscription that is deleted
		h.mend(t)
		stated(t, b, millrace.SourceUnhealthy, "there is no subscription")
	})
	for code, words := range map[codes.Code]string{
		codes.PermissionDenied: `the account may not read the subscription "millrace": because`,
		codes.Unauthenticated:  "the account is refused: because",
		codes.Internal:         "the subscription cannot be read: because",
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			google := &fakeGoogle{pull: func(pubsubpb.Subscriber_StreamingPullServer) error { return status.Error(code, "because") }}
			b := newPubSub(configOf(pubSubSource(google.serve(t))))
			brokerMessages(t, b)
			stated(t, b, millrace.SourceUnhealthy, words)
		})
	}
	t.Run("an account that is none", func(t *testing.T) {
		t.Parallel()
		source := pubSubSource("")
		source.PubSub.Google.ServiceAccount = millrace.Sensitive(base64.StdEncoding.EncodeToString([]byte(`{"type": "external_account", "private_key": "hidden"}`)))
		b := newPubSub(configOf(source))
		brokerMessages(t, b)
		stated(t, b, millrace.SourceUnhealthy, "no connection to Google can be made")
		if strings.Contains(b.State().Error, "hidden") {
			t.Errorf("it says %s", b.State().Error)
		}
	})
}

func TestPubSubWithoutAnAccountTakesTheDefaultCredentials(t *testing.T) {
	t.Setenv("PUBSUB_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/account.json")
	b := newPubSub(configOf(pubSubSource("")))
	brokerMessages(t, b)
	stated(t, b, millrace.SourceUnhealthy, "no connection to Google can be made", "/nowhere/account.json")
}

func TestPubSubFindsTheEmulator(t *testing.T) {
	for _, c := range []struct {
		rule                string
		endpoint, inherited func(addr string) string
	}{
		{"in the environment", func(string) string { return "" }, strings.Clone},
		{"in the source, which goes first", strings.Clone, func(string) string { return "127.0.0.1:1" }},
	} {
		t.Run(c.rule, func(t *testing.T) {
			h := newPubSubHarness(t)
			h.subscribe(&pubsubpb.Subscription{})
			h.Produce(t, broadcast(1))
			source := h.Source()
			source.PubSub.Google.Endpoint = c.endpoint(h.addr)
			t.Setenv("PUBSUB_EMULATOR_HOST", c.inherited(h.addr))
			receive(t, brokerMessages(t, newPubSub(configOf(source))), "the message is read")
		})
	}
}

func TestPubSubStaysHealthyThoughGoogleEndsStreamsNowAndThen(t *testing.T) {
	t.Parallel()
	var streams atomic.Int64
	google := &fakeGoogle{pull: func(s pubsubpb.Subscriber_StreamingPullServer) error {
		streams.Add(1)
		if err := s.Send(&pubsubpb.StreamingPullResponse{}); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "the stream is over")
	}}
	b := newPubSub(configOf(pubSubSource(google.serve(t))))
	brokerMessages(t, b)
	stated(t, b, millrace.SourceHealthy)
	eventually(t, func() bool {
		if s := b.State(); s.Health != millrace.SourceHealthy {
			t.Fatalf("it is %+v", s)
		}
		return streams.Load() >= 4
	}, func() string { return "no stream is made again" })
}

func TestPubSubHoldsWhatIsWorkedOn(t *testing.T) {
	t.Parallel()
	google := &fakeGoogle{extended: make(chan *pubsubpb.ModifyAckDeadlineRequest, 10), pull: func(s pubsubpb.Subscriber_StreamingPullServer) error {
		m := &pubsubpb.ReceivedMessage{AckId: "a1", Message: &pubsubpb.PubsubMessage{MessageId: "m1", Data: []byte("{}")}}
		if err := s.Send(&pubsubpb.StreamingPullResponse{ReceivedMessages: []*pubsubpb.ReceivedMessage{m}}); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}}
	goOn := make(chan struct{})
	readBroker(t, newPubSub(configOf(pubSubSource(google.serve(t)))), func(m *message.Message) {
		<-goOn
		m.Ack()
	})
	for _, what := range []string{"the message is noted", "it is held for longer"} {
		r := receive(t, google.extended, what)
		if len(r.AckIds) != 1 || r.AckIds[0] != "a1" || r.AckDeadlineSeconds != 10 {
			t.Errorf("%s: %+v", what, r)
		}
	}
	close(goOn)
	eventually(t, func() bool { return google.acked.Load() == 1 }, func() string { return "it is not acknowledged" })
}

func TestPubSubGivesUpSoonWhatADeadProcessHeld(t *testing.T) {
	asked := make(chan int32, 1)
	google := &fakeGoogle{pull: func(s pubsubpb.Subscriber_StreamingPullServer) error {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		asked <- r.StreamAckDeadlineSeconds
		<-s.Context().Done()
		return nil
	}}
	brokerMessages(t, newPubSub(configOf(pubSubSource(google.serve(t)))))
	if n := receive(t, asked, "a stream is made"); n != 10 {
		t.Errorf("messages are held for %d s", n)
	}
}

func TestPubSubHasAcknowledgedAllOnceItEnded(t *testing.T) {
	h := newPubSubHarness(t)
	h.subscribe(&pubsubpb.Subscription{})
	h.Produce(t, broadcasts(100)...)
	var taken atomic.Int64
	first := make(chan struct{}, 100)
	stop := readBroker(t, newPubSub(configOf(h.Source())), func(m *message.Message) {
		first <- struct{}{}
		pause(m.Context(), 50*time.Millisecond)
		m.Ack()
		taken.Add(1)
	})
	for range 10 {
		receive(t, first, "a message is taken")
	}
	stop()
	if left := h.Left(t); left != 100-int(taken.Load()) {
		t.Errorf("%d are left of 100, of which %d were taken", left, taken.Load())
	}
}

func TestPubSubEndsThoughItsBrokerIsSilent(t *testing.T) {
	h := newPubSubHarness(t)
	h.subscribe(&pubsubpb.Subscription{})
	h.Produce(t, broadcasts(5)...)
	taken, goOn := make(chan struct{}, 5), make(chan struct{})
	b := newPubSub(configOf(h.Source()))
	b.parting = 100 * time.Millisecond
	stop := readBroker(t, b, func(m *message.Message) {
		taken <- struct{}{}
		<-goOn
		m.Ack()
	})
	for range 5 {
		receive(t, taken, "a message is taken")
	}
	h.silence()
	close(goOn)
	began := time.Now()
	stop()
	if took := time.Since(began); took > patience { // of a minute's ShutdownTimeout
		t.Errorf("ended after %s, though nothing was worked on", took)
	}
	if left := h.Left(t); left != 5 {
		t.Errorf("%d are left, want all 5", left)
	}
}

func TestPubSubLetsGoWhatIsOutOfTime(t *testing.T) {
	h := newPubSubHarness(t)
	h.subscribe(&pubsubpb.Subscription{})
	h.Produce(t, broadcasts(5)...)
	c := configOf(h.Source())
	c.ShutdownTimeout = 10 * time.Millisecond
	taken := make(chan struct{}, 5)
	stop := readBroker(t, newPubSub(c), func(*message.Message) { taken <- struct{}{} })
	for range 5 {
		receive(t, taken, "a message is taken")
	}
	stop()
	for _, m := range h.server.Messages() {
		if last := m.Modacks[len(m.Modacks)-1]; last.AckDeadline != 0 || m.Acks != 0 {
			t.Errorf("message %s is not let go: %+v", m.ID, last)
		}
	}
}

// fakeGoogle answers as a test says.
type fakeGoogle struct {
	pubsubpb.UnimplementedSubscriberServer
	pull     func(pubsubpb.Subscriber_StreamingPullServer) error
	acked    atomic.Int64
	extended chan *pubsubpb.ModifyAckDeadlineRequest // nil: nobody looks
}

func (g *fakeGoogle) serve(t testing.TB) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pubsubpb.RegisterSubscriberServer(s, g)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// StreamingPull is what the test says.
func (g *fakeGoogle) StreamingPull(s pubsubpb.Subscriber_StreamingPullServer) error { return g.pull(s) }

// Acknowledge counts.
func (g *fakeGoogle) Acknowledge(_ context.Context, r *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	g.acked.Add(int64(len(r.AckIds)))
	return &emptypb.Empty{}, nil
}

// ModifyAckDeadline is always granted.
func (g *fakeGoogle) ModifyAckDeadline(_ context.Context, r *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	if g.extended != nil {
		g.extended <- r
	}
	return &emptypb.Empty{}, nil
}

// BenchmarkPubSub reads a subscription with a handler that takes 3 ms, as a
// commit does. Google's fake sends too slowly to be measured by.
func BenchmarkPubSub(b *testing.B) {
	const messages, batch = 10_000, 100
	for b.Loop() {
		google := &fakeGoogle{pull: func(s pubsubpb.Subscriber_StreamingPullServer) error {
			for n := 0; n < messages; n += batch {
				out := &pubsubpb.StreamingPullResponse{}
				for i := range batch {
					id := strconv.Itoa(n + i)
					out.ReceivedMessages = append(out.ReceivedMessages, &pubsubpb.ReceivedMessage{
						AckId: id, Message: &pubsubpb.PubsubMessage{MessageId: id, Data: []byte(broadcast(n + i).body)},
					})
				}
				if err := s.Send(out); err != nil {
					return err
				}
			}
			<-s.Context().Done()
			return nil
		}}
		source := pubSubSource(google.serve(b))
		taken := make(chan struct{}, messages)
		stop := readBroker(b, newPubSub(configOf(source)), func(m *message.Message) {
			pause(m.Context(), 3*time.Millisecond)
			m.Ack()
			taken <- struct{}{}
		})
		for range messages {
			<-taken
		}
		stop()
		if n := google.acked.Load(); n != messages {
			b.Errorf("%d were acknowledged", n)
		}
	}
	b.ReportMetric(float64(messages*b.N)/b.Elapsed().Seconds(), "messages/s")
}
