package sources

import (
	"fmt"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

// brokerHarness is a broker, in process or a real one, with a topic, a queue
// or a subscription of one test's own.
type brokerHarness interface {
	// Source reads it. Each call answers the same source, whose PubSub is the
	// caller's own to change.
	Source() millrace.Source
	// Produce adds messages, and returns once the broker has them.
	Produce(t testing.TB, messages ...produced)
	// Left is how many messages were never acknowledged, so that the next
	// subscriber would get them. It is asked while nobody reads, and asked
	// again until the answer is right or the test out of patience.
	Left(t testing.TB) int
}

// breakable is a harness whose broker can be taken away, so that its address
// refuses or does not answer, and brought back there with what it kept.
type breakable interface {
	brokerHarness
	Break(t testing.TB)
	Mend(t testing.TB)
}

// produced is a message as a producer makes it.
type produced struct {
	headers map[string]string
	body    string
}

// testBroker is the conformance suite that every source passes which reads a
// broker: each rule on a harness of its own.
func testBroker(t *testing.T, open func(t *testing.T) brokerHarness) {
	for _, c := range brokerRules() {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
	t.Run("breaks", func(t *testing.T) {
		t.Parallel()
		for _, c := range breakRules() {
			h, can := open(t).(breakable)
			if !can {
				t.Log("this broker is not ours to break")
				return
			}
			t.Run(c.rule, func(t *testing.T) { c.test(t, h) })
		}
	})
}

// brokerRule is one promise that every source keeps.
type brokerRule struct {
	rule string
	test func(*testing.T, brokerHarness)
}

func brokerRules() []brokerRule {
	return []brokerRule{
		{"every message arrives once, and then none is left", everyMessageOnce},
		{"as many messages are in flight as there are workers", asManyAsWorkers},
		{"what was not settled goes to the next subscriber, as the same message", sameMessageAgain},
		{"a message that fails holds up no other, and is not acknowledged", failureStaysAlone},
		{"while the store is away nothing is acknowledged, and then it goes on by itself", storeAway},
		{"a message that cannot be read is buried with its bytes, and acknowledged", poisonIsBuried},
		{"headers arrive", headersArrive},
		{"a message is for whom its kind says", kindsOfMessages},
		{"numbers and bytes of the data survive", dataSurvives},
		{"a raw message is the data, and its type and key stand where the source says", rawMessages},
		{"two subscribers share the work", sharedWork},
		{"a subscriber that ends loses nothing, and nothing that it acknowledged comes again", drained},
	}
}

// breakRule is one promise of a source whose broker fails.
type breakRule struct {
	rule string
	test func(*testing.T, breakable)
}

func breakRules() []breakRule {
	return []breakRule{
		{"a broker that is not there is said in plain words, and then read", brokerNotThere},
		{"a broker that restarts is read again, and every message arrives", brokerRestarts},
	}
}

// broadcast is a message for all that subscribe, whose data is n.
func broadcast(n int) produced {
	return produced{body: fmt.Sprintf(`{"event_type": "number", "data": %d}`, n)}
}

// broadcasts are the messages 0 to n-1.
func broadcasts(n int) []produced { return numbered(0, n) }

// numbered are the messages from one number to before another.
func numbered(from, to int) []produced {
	var messages []produced
	for n := from; n < to; n++ {
		messages = append(messages, broadcast(n))
	}
	return messages
}

func headersArrive(t *testing.T, h brokerHarness) {
	source := h.Source()
	source.ForwardHeaders = []string{"X-Tenant"}
	source.EventTypeLocation = "request.header.Kind"
	h.Produce(t, produced{headers: map[string]string{"X-Tenant": "acmé", "Kind": "order.paid", "X-Other": "o"}, body: `{"data": 1}`})
	a := startAgent(t, agentConfig{source: source})
	got := a.next()
	if got.Type != "order.paid" || len(got.Headers) != 1 || got.Headers["X-Tenant"] != "acmé" {
		t.Errorf("arrived as %+v", got)
	}
	if got.ProjectID != source.ProjectID || got.SourceID != source.ID || got.Ack != millrace.AckPersisted {
		t.Errorf("of source %s, project %s, at %q", got.SourceID, got.ProjectID, got.Ack)
	}
	kind := string(source.PubSub.Kind)
	if want := fmt.Sprintf("%s:%s:%d:", kind, source.ID, source.Revision); !strings.HasPrefix(got.BrokerMessageID, want) || len(got.BrokerMessageID) > longestID {
		t.Errorf("its id is %q, which should begin with %q", got.BrokerMessageID, want)
	}
}

func kindsOfMessages(t *testing.T, h brokerHarness) {
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	endpoint, err := millrace.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	one, owner, all := millrace.Audience{EndpointID: endpoint}, millrace.Audience{OwnerID: "acme"}, millrace.Audience{}
	cases := []struct {
		rule, header, members string
		want                  millrace.Audience
	}{
		{"single by header", "single", `"endpoint_id": "` + id + `"`, one},
		{"fanout by header", "fanout", `"owner_id": "acme", "endpoint_id": "` + id + `"`, owner},
		{"broadcast by header", "broadcast", `"endpoint_id": "` + id + `"`, all},
		{"single among the custom headers", "", `"custom_headers": {"x-convoy-message-type": "single", "A": "b"}, "endpoint_id": "` + id + `"`, one},
		{"fanout among the custom headers", "", `"custom_headers": {"X-Convoy-Message-Type": "fanout", "A": "b"}, "owner_id": "acme"`, owner},
		{"broadcast among the custom headers", "", `"custom_headers": {"x-convoy-message-type": "broadcast", "A": "b"}`, all},
		{"none with an endpoint", "", `"endpoint_id": "` + id + `"`, one},
		{"none without an endpoint", "", `"idempotency_key": "k"`, all},
	}
	for i, c := range cases {
		m := produced{body: fmt.Sprintf(`{"event_type": "%d", %s, "data": %d}`, i, c.members, i)}
		if c.header != "" {
			m.headers = map[string]string{"x-convoy-message-type": c.header}
		}
		h.Produce(t, m)
	}
	a := startAgent(t, agentConfig{source: h.Source()})
	got := map[string]millrace.Submission{}
	for range cases {
		s := a.next()
		got[s.Type] = s
	}
	for i, c := range cases {
		s := got[fmt.Sprint(i)]
		if string(s.Payload) != fmt.Sprint(i) || s.Audience != c.want {
			t.Errorf("%s: for %+v, want %+v; data %s", c.rule, s.Audience, c.want, s.Payload)
		}
		if custom := strings.Contains(c.members, "custom_headers"); custom && (len(s.Headers) != 1 || s.Headers["A"] != "b") || !custom && len(s.Headers) != 0 {
			t.Errorf("%s: headers %v", c.rule, s.Headers)
		}
	}
	if got["7"].IdempotencyKey != "k" || got["7"].KeyScope != millrace.KeyOfClient {
		t.Errorf("the key is %q of %q", got["7"].IdempotencyKey, got["7"].KeyScope)
	}
}

func dataSurvives(t *testing.T, h brokerHarness) {
	const data = `{ "n": 9007199254740993.10,"big":123456789012345678901234567890,	"é":"\u00e9 <&> é", "n": -0.0 }`
	h.Produce(t, produced{body: `{"event_type": "a", "data":  ` + data + ` }`})
	if got := startAgent(t, agentConfig{source: h.Source()}).next(); string(got.Payload) != data {
		t.Errorf("the data is\n%s, want\n%s", got.Payload, data)
	}
}

func rawMessages(t *testing.T, h brokerHarness) {
	source := h.Source()
	source.PubSub.Raw = true
	source.EventTypeLocation = "request.body.meta.kind"
	source.IdempotencyKeys = []millrace.Location{"request.header.Delivery", "request.body.id"}
	h.Produce(t, produced{headers: map[string]string{"Delivery": "d1"}, body: ` {"meta":{"kind":"order.paid"}, "id":42, "endpoint_id": "x"}`})
	a := startAgent(t, agentConfig{source: source})
	got := a.next()
	if string(got.Payload) != ` {"meta":{"kind":"order.paid"}, "id":42, "endpoint_id": "x"}` || got.Type != "order.paid" || got.Audience != (millrace.Audience{}) {
		t.Errorf("arrived as %+v with %s", got, got.Payload)
	}
	if got.IdempotencyKey != "d1,42" || got.KeyScope != millrace.KeyOfSource {
		t.Errorf("the key is %q of %q", got.IdempotencyKey, got.KeyScope)
	}
}
