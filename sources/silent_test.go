package sources

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

// soon is how long a source may take to end that nothing is in flight of, on a
// machine that is busy.
const soon = 4 * goodbye

// silent is a broker that can fall silent.
type silent struct {
	brokerHarness
	relay  *relay
	source millrace.Source
}

var silentBrokers = map[millrace.BrokerKind]func(t *testing.T) silent{
	millrace.BrokerAMQP: func(t *testing.T) silent {
		h := newAMQPHarness(t)
		return silent{h, h.relay, h.Source()}
	},
	millrace.BrokerGoogle: func(t *testing.T) silent {
		h := newPubSubHarness(t)
		h.subscribe(&pubsubpb.Subscription{})
		return silent{h, h.relay, h.Source()}
	},
	millrace.BrokerSQS: func(t *testing.T) silent {
		h := newSQSHarness(t, "", nil)
		source := h.Source()
		r := newRelay(t, strings.TrimPrefix(source.PubSub.SQS.Endpoint, "http://"), nil)
		source.PubSub.SQS.Endpoint = "http://" + r.addr
		return silent{h, r, source}
	},
}

// A change of a source waits for the end of what it was.
func TestASourceWhoseBrokerFellSilentEndsSoon(t *testing.T) {
	t.Parallel()
	for kind, open := range silentBrokers {
		t.Run(string(kind)+", while nothing is in flight", func(t *testing.T) {
			t.Parallel()
			s := open(t)
			a := startAgent(t, agentConfig{source: s.source})
			a.wantState(millrace.SourceHealthy)
			s.relay.silence()
			a.endsSoon(t)
		})
		t.Run(string(kind)+", while what was taken is acknowledged", func(t *testing.T) {
			t.Parallel()
			s := open(t)
			const messages = 60
			s.Produce(t, broadcasts(messages)...)
			taken, goOn := make(chan struct{}, messages), make(chan struct{})
			a := startAgent(t, agentConfig{source: s.source, handle: func(context.Context, millrace.Submission) error {
				taken <- struct{}{}
				<-goOn
				return nil
			}})
			for range messages {
				receive(t, taken, "a message is taken")
			}
			s.relay.silence()
			close(goOn)
			a.endsSoon(t)
		})
	}
}

func (a *agent) endsSoon(t *testing.T) {
	t.Helper()
	began := time.Now()
	a.stop()
	if took := time.Since(began); took > soon {
		t.Errorf("it took %s to end", took)
	}
}

// afterLogin falls silent when the first channel is asked for.
type afterLogin struct {
	net.Conn
	asked atomic.Bool
}

// Write keeps what is written from then on to itself.
func (c *afterLogin) Write(b []byte) (int, error) {
	if channelOpen := []byte{0, 20, 0, 10}; bytes.Contains(b, channelOpen) {
		c.asked.Store(true)
	}
	if c.asked.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func TestASourceWhoseAMQPFallsSilentBeforeItsQueueIsThereEndsSoon(t *testing.T) {
	t.Parallel()
	h := newAMQPHarness(t)
	c := configOf(h.Source())
	conns := make(chan *afterLogin, 10)
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := anywhere(ctx, network, address)
		made := &afterLogin{Conn: conn}
		conns <- made
		return made, err
	}
	stop := readBroker(t, newAMQP(c), func(m *message.Message) { m.Ack() })
	conn := receive(t, conns, "the broker is dialled")
	eventually(t, conn.asked.Load, func() string { return "a channel is asked for" })
	began := time.Now()
	stop()
	if took := time.Since(began); took > soon {
		t.Errorf("it took %s to end", took)
	}
}
