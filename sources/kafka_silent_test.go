package sources

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	millrace "github.com/millrace-dev/millrace"
)

// mute is a listener whose connections hear nothing any more once it is
// silent, as those of a process that is stopped.
type mute struct {
	net.Listener
	mu       sync.RWMutex // held for writing while it is silent
	accepted atomic.Int32
}

// Accept counts.
func (m *mute) Accept() (net.Conn, error) {
	conn, err := m.Listener.Accept()
	m.accepted.Add(1)
	return &muteConn{Conn: conn, of: m}, err
}

type muteConn struct {
	net.Conn
	of *mute
}

// Read holds back what came while it is silent.
func (c *muteConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.of.mu.RLock()
	defer c.of.mu.RUnlock()
	return n, err
}

func TestASourceWhoseKafkaIsSilentEndsAllTheSame(t *testing.T) {
	t.Parallel()
	m := &mute{}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "orders"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		var err error
		m.Listener, err = net.Listen(network, address)
		return m, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	read, never := kafkaSource("orders", cluster.ListenAddrs()...), kafkaSource("orders", cluster.ListenAddrs()...)
	a := startAgent(t, agentConfig{source: read})
	a.wantState(millrace.SourceHealthy)
	m.mu.Lock()
	t.Cleanup(m.mu.Unlock) // before the cluster closes
	before := m.accepted.Load()
	b := startAgent(t, agentConfig{source: never})
	eventually(t, func() bool { return m.accepted.Load() > before }, func() string { return "the broker is dialled" })
	b.endsSoon(t) // it never answered
	a.endsSoon(t) // it did before
}
