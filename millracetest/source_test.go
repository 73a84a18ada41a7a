package millracetest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	convoy "github.com/frain-dev/convoy-go/v2"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaBroker is a Kafka in this process, with a topic of three partitions.
type kafkaBroker struct {
	t       testing.TB
	address string
	topic   string
	client  *kgo.Client
}

func newKafka(t testing.TB) *kafkaBroker {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return dialKafka(t, cluster.ListenAddrs()[0], "orders")
}

func dialKafka(t testing.TB, address, topic string) *kafkaBroker {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &kafkaBroker{t: t, address: address, topic: topic, client: client}
}

// send produces messages.
func (k *kafkaBroker) send(bodies ...string) {
	k.t.Helper()
	records := make([]*kgo.Record, len(bodies))
	for i, body := range bodies {
		records[i] = kgo.StringRecord(body)
	}
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	if err := k.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		k.t.Fatal(err)
	}
}

// isReadBy waits until all groups together have so many members.
func (k *kafkaBroker) isReadBy(want int) {
	k.t.Helper()
	eventually(k.t, fmt.Sprintf("Kafka has %d readers", want), func() error {
		groups, err := kadm.NewClient(k.client).DescribeGroups(k.t.Context())
		members := 0
		for _, g := range groups {
			members += len(g.Members)
		}
		if err == nil && members != want {
			err = fmt.Errorf("it has %d", members)
		}
		return err
	})
}

// orders are so many messages, each its own.
func orders(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf(`{"event_type":"order.paid","data":{"n":%d}}`, i)
	}
	return bodies
}

func TestAMessageOfKafkaIsDeliveredWithItsBytes(t *testing.T) {
	t.Parallel()
	gw, k := New(t), newKafka(t)
	r := gw.Receiver()
	gw.Source(Kafka(k.address, k.topic)).Becomes("healthy")
	const data = `{ "n" : 12345678901234567890.10 , "ü":"\u00fc" }`
	k.send(`{"event_type":"order.paid","data":` + data + `}`)
	if got := r.Want(Attempts(1)); string(got[0].Body) != data {
		t.Errorf("got %q, want %q", got[0].Body, data)
	}
}

func TestConvoysSDKWritesToKafkaAndItsEventsArrive(t *testing.T) {
	t.Parallel()
	gw, k := New(t), newKafka(t)
	mine, owned, other := gw.Receiver(), gw.Receiver(Owner("o-1")), gw.Receiver()
	gw.Source(Kafka(k.address, k.topic)).Becomes("healthy")
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	sdk := convoy.New(gw.Access.URL+"/api/v1", gw.Access.APIKey, gw.Access.ProjectID,
		convoy.OptionKafkaOptions(&convoy.KafkaOptions{Client: &kafka.Client{Addr: kafka.TCP(k.address), Transport: transport}, Topic: k.topic}))
	for _, err := range []error{
		sdk.Kafka.WriteEvent(t.Context(), &convoy.CreateEventRequest{EndpointID: mine.EndpointID, EventType: "order.paid", Data: []byte(`{"kind":"single"}`)}),
		sdk.Kafka.WriteFanoutEvent(t.Context(), &convoy.CreateFanoutEventRequest{OwnerID: "o-1", EventType: "order.paid", Data: []byte(`{"kind":"fanout"}`)}),
		sdk.Kafka.WriteBroadcastEvent(t.Context(), &convoy.CreateBroadcastEventRequest{EventType: "order.paid", Data: []byte(`{"kind":"broadcast"}`)}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mine.Want(Attempts(2), says("single"), says("broadcast"))
	owned.Want(Attempts(2), says("fanout"), says("broadcast"))
	for _, q := range other.Want(Attempts(1), says("broadcast")) {
		if q.Header.Get("X-Convoy-Message-Type") != "" {
			t.Error("the kind of the message went out as a header")
		}
	}
}

// says wants a request whose body has a word.
func says(word string) Expectation {
	return func(got []Request) error {
		for _, q := range got {
			if strings.Contains(string(q.Body), word) {
				return nil
			}
		}
		return fmt.Errorf("no request says %q", word)
	}
}

func TestASourceIsCreatedChangedDisabledAndDeletedLive(t *testing.T) {
	t.Parallel()
	gw, k := New(t), newKafka(t)
	s := gw.Source(Kafka("127.0.0.1:1", k.topic))
	s.Becomes("unhealthy", "refused")
	s.Set("pub_sub", map[string]any{"kafka": map[string]any{"brokers": []string{k.address}}})
	s.Becomes("healthy")
	k.send(orders(10)...)
	s.Stored(10)
	s.Set("is_disabled", true)
	s.Becomes("disabled")
	gw.intakesAre(0)
	k.send(orders(10)...)
	s.Set("is_disabled", false)
	s.Stored(20)
	s.Becomes("healthy") // it is told of again
	k.isReadBy(1)
	s.Delete()
	k.isReadBy(0)
	k.send(orders(1)...)
	if n, err := s.stored(); err != nil || n != 20 {
		t.Errorf("%d events, %v: the deleted source still reads", n, err)
	}
}

// intakesAre waits until the agent says that it reads so many sources.
func (g *Gateway) intakesAre(want int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d sources run", want), func() error {
		running, err := g.list(`SELECT source_id FROM source_states`)
		if err == nil && len(running) != want {
			err = fmt.Errorf("%d do", len(running))
		}
		return err
	})
}

func TestABadSourceDoesNotTouchTheOthers(t *testing.T) {
	t.Parallel()
	gw, k := New(t), newKafka(t)
	bad := gw.Source(Kafka("127.0.0.1:1", "nothing"))
	good := gw.Source(Kafka(k.address, k.topic))
	good.Becomes("healthy")
	bad.Becomes("unhealthy")
	k.send(orders(50)...)
	good.Stored(50)
}

// deadLetter is one as the API shows it.
type deadLetter struct {
	UID    string
	Stage  string
	Reason string
	Raw    []byte
}

// deadLetters waits until there are so many.
func (g *Gateway) deadLetters(want int) []deadLetter {
	g.t.Helper()
	var page struct{ Content []deadLetter }
	eventually(g.t, fmt.Sprintf("%d dead letters", want), func() error {
		page.Content = nil
		err := g.Call(http.MethodGet, "/dead-letters", nil, &page)
		if err == nil && len(page.Content) != want {
			err = fmt.Errorf("there are %d", len(page.Content))
		}
		return err
	})
	return page.Content
}

func TestAMessageThatCannotBeReadIsADeadLetterAndTheTopicGoesOn(t *testing.T) {
	t.Parallel()
	gw, k := New(t), newKafka(t)
	s := gw.Source(Kafka(k.address, k.topic))
	poison := []string{"not JSON", "", "\xff\xfe", `{"data":{}}`, `{"event_type":"x","endpoint_id":"no-such","data":{}}`}
	k.send(append(poison, orders(20)...)...)
	s.Stored(20)
	for _, d := range gw.deadLetters(len(poison)) {
		if d.Stage != "ingest" || d.Reason == "" {
			t.Errorf("dead letter %+v", d)
		}
	}
	gw.Agent.Restart() // what was buried was acknowledged
	k.send(orders(1)...)
	s.Stored(21)
	gw.deadLetters(len(poison))
}

func TestADeadLetterOfABrokerIsDrivenAgainAsTheSourceIsThen(t *testing.T) {
	t.Parallel()
	gw, k := New(t), newKafka(t)
	r := gw.Receiver()
	s := gw.Source(Kafka(k.address, k.topic))
	k.send("plain words")
	dead := gw.deadLetters(1)[0]
	s.Set("pub_sub", map[string]any{"raw": true})
	gw.Must(http.MethodPost, "/dead-letters/"+dead.UID+"/redrive", nil, nil)
	if got := r.Want(Attempts(1)); string(got[0].Body) != "plain words" {
		t.Errorf("got %q", got[0].Body)
	}
}

func TestAnAgentIsKilledWhileItReadsATopicAndEachMessageIsOneEvent(t *testing.T) {
	t.Parallel()
	gw, k := New(t, Apart(), quickTakeover()), newKafka(t)
	const messages = 3000
	s := gw.Source(Kafka(k.address, k.topic, "workers", 50))
	k.send(orders(messages)...)
	for _, at := range []int{1, messages / 3, 2 * messages / 3} {
		eventually(t, fmt.Sprintf("%d events are stored", at), func() error {
			if n, err := s.stored(); err != nil || n < at {
				return fmt.Errorf("%d are: %w", n, err)
			}
			return nil
		})
		gw.Agent.Revive()
	}
	s.Stored(messages)
	s.eachOnce(messages)
}

// eachOnce wants each of the orders to be one event.
func (s *Source) eachOnce(n int) {
	s.gateway.t.Helper()
	twice, err := s.gateway.list(`SELECT encode(payload, 'escape') FROM events WHERE source_id = $1 GROUP BY payload HAVING count(*) > 1`, s.UID)
	if err != nil || len(twice) > 0 {
		s.gateway.t.Errorf("%d orders are several events, such as %v: %v", len(twice), twice[:min(len(twice), 3)], err)
	}
	var distinct int
	if err := s.gateway.db.QueryRow(`SELECT count(DISTINCT payload) FROM events WHERE source_id = $1`, s.UID).Scan(&distinct); err != nil || distinct != n {
		s.gateway.t.Errorf("%d orders were stored, want %d: %v", distinct, n, err)
	}
}

func TestWhilePostgreSQLIsAwayNothingIsAcknowledgedToTheBroker(t *testing.T) {
	t.Parallel()
	gw, k := New(t, OwnPostgres(), Apart()), newKafka(t)
	s := gw.Source(Kafka(k.address, k.topic))
	k.send(orders(10)...)
	s.Stored(10)
	gw.Postgres.Stop()
	k.send(orders(200)[10:]...)
	gw.Agent.waits("ingest")
	gw.Agent.Kill() // what was read and not stored is nobody's now
	gw.Postgres.Start()
	gw.Agent.Start()
	s.Stored(200)
	s.eachOnce(200)
}

// waits waits until a stage of the role has found a store away.
func (r *Role) waits(stage string) {
	r.gateway.t.Helper()
	eventually(r.gateway.t, stage+" waits", func() error {
		if n, _ := r.metric(fmt.Sprintf(`millrace_stage_waits_total{stage=%q}`, stage)); n == 0 {
			return errNotYet
		}
		return nil
	})
}

func TestSourcesShareTheStoreOfTheirProject(t *testing.T) {
	t.Parallel()
	gw, a, b := New(t), newKafka(t), newKafka(t)
	one, two := gw.Source(Kafka(a.address, a.topic)), gw.Source(Kafka(b.address, b.topic))
	a.send(orders(5)...) // the same offsets of the same topic's name are other messages
	b.send(orders(5)...)
	one.Stored(5)
	two.Stored(5)
}
