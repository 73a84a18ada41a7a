package sources

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

// Broker feeds the ingest stage with the messages of a topic, a queue or a
// subscription. Subscribe returns at once and connects in the background: a
// wrong address is a state and a backoff, not an error. A message is
// acknowledged to the broker once the pipeline has acked it, and never before.
type Broker interface {
	message.Subscriber
	// State is how the connection stands now.
	State() millrace.SourceState
}

// BrokerConfig is what a Broker is made of.
type BrokerConfig struct {
	Source millrace.Source
	// MaxBytes bounds an event's payload.
	MaxBytes int
	// ShutdownTimeout is how long what is in flight may take when it ends.
	ShutdownTimeout time.Duration
	// Dial connects to an address that a tenant gave, or a broker of theirs
	// names, if the operator lets them. What it says otherwise, they read.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger names the source in each line.
	Logger *slog.Logger
}

// NewBroker makes the subscriber of a source that reads a broker.
func NewBroker(c BrokerConfig) (Broker, error) {
	if c.Source.PubSub == nil {
		return nil, fmt.Errorf("source %s reads no broker", c.Source.ID)
	}
	if c.Dial == nil {
		return nil, fmt.Errorf("source %s has no way to its broker", c.Source.ID)
	}
	switch kind := c.Source.PubSub.Kind; kind {
	case millrace.BrokerKafka:
		return newKafka(c), nil
	case millrace.BrokerSQS:
		return newSQS(c), nil
	case millrace.BrokerGoogle:
		return newPubSub(c), nil
	case millrace.BrokerAMQP:
		return newAMQP(c), nil
	default:
		return nil, fmt.Errorf("source %s: there is no broker of kind %q", c.Source.ID, kind)
	}
}

// unreachable is why there is no connection, in the words of who was to make it.
type unreachable struct{ error }

// Unwrap is the error itself.
func (u *unreachable) Unwrap() error { return u.error }

// dial connects to host:port.
func (c BrokerConfig) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.Dial(ctx, network, address)
	if err != nil {
		return nil, &unreachable{err}
	}
	return conn, nil
}

// secured speaks TLS on a connection to host:port, or closes it.
func secured(ctx context.Context, conn net.Conn, conf *tls.Config, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err == nil {
		conf = conf.Clone()
		conf.ServerName = host
		secure := tls.Client(conn, conf)
		if err = secure.HandshakeContext(ctx); err == nil {
			return secure, nil
		}
	}
	_ = conn.Close() // it is of no use
	return nil, err
}

// aroundPayload is how much a message may have beside the payload, as in the
// API's calls.
const aroundPayload = 64 << 10

// mostBytes bounds a message, where the broker does not.
func (c BrokerConfig) mostBytes() int { return c.MaxBytes + aroundPayload }

// workers is how many messages a source has in flight.
func (c BrokerConfig) workers(otherwise int) int {
	if n := c.Source.PubSub.Workers; n > 0 {
		return n
	}
	return otherwise
}

// health keeps how a source's connection stands.
type health struct {
	mu    sync.Mutex
	state millrace.SourceState
}

func newHealth(source millrace.ID) *health {
	return &health{state: millrace.SourceState{SourceID: source, Health: millrace.SourceConnecting, Lag: -1, At: time.Now()}}
}

// State is how the connection stands now.
func (h *health) State() millrace.SourceState {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// healthy notes that the broker answers.
func (h *health) healthy() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Health, h.state.Error, h.state.At = millrace.SourceHealthy, "", time.Now()
}

// unhealthy notes what is wrong, in plain words.
func (h *health) unhealthy(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Health, h.state.Error, h.state.At = millrace.SourceUnhealthy, fault(err), time.Now()
}

// longestFault bounds what is said of a broker.
const longestFault = 1000

// fault is an error as the store can keep it and an operator read it. A broker
// may have written it, and all sources' faults are kept together.
func fault(err error) string {
	text := err.Error()
	text = strings.ToValidUTF8(text[:min(len(text), longestFault)], "")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}

// lag notes how many messages wait at the broker.
func (h *health) lag(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Lag = n
}

// Backoff of a connection that fails, and of a message that the pipeline
// could not pass on.
const (
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 5 * time.Second
)

// pause waits for the duration or the context's end.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
