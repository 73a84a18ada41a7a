package millracetest

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

func TestASourceWhoseBrokerIsAtAForbiddenAddressIsRefused(t *testing.T) {
	t.Parallel()
	gw := New(t, Set("egress.allow_loopback=false"))
	for kind, open := range brokers {
		refused := Refused(gw.Call(http.MethodPost, "/sources", map[string]any{"name": "n", "type": "pub_sub", "pub_sub": open(t).pubSub}, nil))
		if refused.Status != http.StatusUnprocessableEntity || !strings.Contains(refused.Body, `"field":"pub_sub.`+kind+".") {
			t.Errorf("%s: %d %s", kind, refused.Status, refused.Body)
		}
	}
	public := gw.Source(Kafka("kafka.example.com:9092", "orders"), "is_disabled", true)
	err := gw.Call(http.MethodPut, "/sources/"+public.UID, map[string]any{"pub_sub": map[string]any{"kafka": map[string]any{"brokers": []string{"169.254.169.254:80"}}}}, nil)
	if refused := Refused(err); refused.Status != http.StatusUnprocessableEntity || !strings.Contains(refused.Body, "pub_sub.kafka.brokers") {
		t.Errorf("a change to the platform's metadata: %v", err)
	}
	public.Set("name", "other") // what does not change where it reads is taken
}

func TestEveryKindOfBrokerIsReadInANetworkThatTheOperatorOpened(t *testing.T) {
	t.Parallel()
	gw := New(t, Set("egress.allow_loopback=false", "egress.allow_cidrs=127.0.0.1/32"))
	for _, open := range brokers {
		b := open(t)
		s := gw.Source(b.pubSub)
		s.Becomes("healthy")
		b.send(orders(1)[0])
		s.Stored(1)
	}
}

// elsewhere is a listener that gives an address of a private network as its own.
type elsewhere struct{ net.Listener }

// Addr is not where it listens.
func (elsewhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 9092} }

func TestABrokerThatAClusterNamesIsJudgedWhenItIsDialled(t *testing.T) {
	t.Parallel()
	gw := New(t)
	seed := ""
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		if err == nil {
			seed = l.Addr().String()
		}
		return elsewhere{l}, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	gw.Source(Kafka(seed, "orders")).Becomes("unhealthy", "10.0.0.1", "public hosts only")
}
