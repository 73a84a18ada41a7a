package sources

import (
	"fmt"
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
}

// brokerRule is one promise that every source keeps.
type brokerRule struct {
	rule string
	test func(*testing.T, brokerHarness)
}

func brokerRules() []brokerRule {
	return []brokerRule{
		{"every message arrives once, and then none is left", everyMessageOnce},
	}
}

// broadcast is a message for all that subscribe, whose data is n.
func broadcast(n int) produced {
	return produced{body: fmt.Sprintf(`{"event_type": "number", "data": {"n": %d}}`, n)}
}

// broadcasts are the messages 0 to n-1.
func broadcasts(n int) []produced {
	messages := make([]produced, n)
	for i := range messages {
		messages[i] = broadcast(i)
	}
	return messages
}

func everyMessageOnce(t *testing.T, h brokerHarness) {
	h.Produce(t, broadcasts(50)...)
	a := startAgent(t, agentConfig{source: h.Source()})
	h.Produce(t, broadcasts(50)...)
	ids := map[string]int{}
	for range 100 {
		ids[a.next().BrokerMessageID]++
	}
	if len(ids) != 100 {
		t.Errorf("100 messages have %d ids", len(ids))
	}
	a.stop()
	a.wantNothingMore()
	wantLeft(t, h, 0)
}
