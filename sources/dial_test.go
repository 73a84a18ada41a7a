package sources

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
)

// byPolicy dials as an agent does whose egress is configured so.
func byPolicy(t *testing.T, change func(*egress.Config)) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	c := egress.DefaultConfig()
	change(&c)
	d, err := egress.NewDialer(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d.DialContext
}

// at is a source of each kind whose broker is at an address.
func at(kind millrace.BrokerKind, host string, port int) millrace.Source {
	address := (millrace.AMQPSource{Host: host, Port: port}).HostPort()
	switch kind {
	case millrace.BrokerKafka:
		return kafkaSource("orders", address)
	case millrace.BrokerSQS:
		return sqsSourceOf("http://"+address, "orders")
	}
	s := kafkaSource("orders")
	s.PubSub = &millrace.PubSub{Kind: kind, Google: &millrace.GoogleSource{ProjectID: "p", SubscriptionID: "s", Endpoint: address}}
	if kind == millrace.BrokerAMQP {
		s.PubSub = &millrace.PubSub{Kind: kind, AMQP: &millrace.AMQPSource{Schema: "amqp", Host: host, Port: port, Queue: "orders"}}
	}
	return s
}

var brokerKinds = []millrace.BrokerKind{millrace.BrokerKafka, millrace.BrokerSQS, millrace.BrokerGoogle, millrace.BrokerAMQP}

func TestABrokerAtAForbiddenAddressIsNotDialled(t *testing.T) {
	t.Parallel()
	dial := byPolicy(t, func(*egress.Config) {})
	for _, kind := range brokerKinds {
		for _, host := range []string{"127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "::1"} {
			t.Run(string(kind)+" at "+host, func(t *testing.T) {
				t.Parallel()
				a := startAgent(t, agentConfig{source: at(kind, host, 9092), dial: dial})
				if s := a.wantState(millrace.SourceUnhealthy); !strings.Contains(s.Error, "this server connects to public hosts only") {
					t.Errorf("it says %q", s.Error)
				}
			})
		}
	}
}

// A listener stands for a broker; what would be sent to it must not be.
func TestWhatIsForbiddenIsNotConnectedTo(t *testing.T) {
	t.Parallel()
	for _, kind := range brokerKinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			met := make(chan struct{})
			accepting := make(chan struct{})
			go func() {
				defer close(accepting)
				if conn, err := l.Accept(); err == nil {
					close(met)
					_ = conn.Close() // it is of no use
				}
			}()
			source := at(kind, "127.0.0.1", l.Addr().(*net.TCPAddr).Port)
			startAgent(t, agentConfig{source: source, dial: byPolicy(t, func(*egress.Config) {})}).wantState(millrace.SourceUnhealthy)
			select {
			case <-met:
				t.Error("it was connected to")
			default:
			}
			startAgent(t, agentConfig{source: source, dial: byPolicy(t, func(c *egress.Config) { c.AllowLoopback = true })})
			select {
			case <-met:
			case <-time.After(patience):
				t.Error("it was not connected to though the operator opened it")
			}
			_ = l.Close() // whether it was met or not
			<-accepting
		})
	}
}

// lying is a listener that gives another address as its own.
type lying struct {
	net.Listener
	addr net.Addr
}

// Addr is not where it listens.
func (l lying) Addr() net.Addr { return l.addr }

func TestABrokerThatKafkaNamesIsJudgedToo(t *testing.T) {
	t.Parallel()
	for _, named := range []string{"169.254.169.254", "10.0.0.1"} {
		t.Run(named, func(t *testing.T) {
			t.Parallel()
			seed := ""
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
				l, err := net.Listen(network, address)
				if err == nil {
					seed = l.Addr().String()
				}
				return lying{l, &net.TCPAddr{IP: net.ParseIP(named), Port: 9092}}, err
			}))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Close)
			a := startAgent(t, agentConfig{source: kafkaSource("orders", seed), dial: byPolicy(t, func(c *egress.Config) { c.AllowLoopback = true })})
			if s := a.wantState(millrace.SourceUnhealthy); !strings.Contains(s.Error, named) || !strings.Contains(s.Error, "public hosts only") {
				t.Errorf("it says %q", s.Error)
			}
		})
	}
}

func TestEveryBrokerIsReadWhereTheOperatorOpenedItsAddress(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	k.Produce(t, broadcast(1))
	a := startAgent(t, agentConfig{source: k.Source(), dial: byPolicy(t, func(c *egress.Config) { c.AllowCIDRs = []string{"127.0.0.1/32"} })})
	a.next()
}

func TestASourceWithoutAWayToItsBrokerIsNotMade(t *testing.T) {
	t.Parallel()
	if _, err := NewBroker(BrokerConfig{Source: kafkaSource("orders", "a:1")}); err == nil {
		t.Error("it is made")
	}
}

// dialled notes what is dialled, and refuses it.
type dialled struct {
	mu        sync.Mutex
	addresses []string
}

func (d *dialled) dial(_ context.Context, _, address string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addresses = append(d.addresses, address)
	return nil, errors.New("closed by the test")
}

func (d *dialled) wait(t *testing.T) string {
	t.Helper()
	first := ""
	eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.addresses) > 0 {
			first = d.addresses[0]
		}
		return first != ""
	}, func() string { return "nothing was dialled" })
	return first
}

func TestAmazonAndGoogleAreDialledByName(t *testing.T) {
	t.Parallel()
	asked := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the URL that the account names was asked for a token")
	}))
	t.Cleanup(asked.Close)
	sqs, google := sqsSourceOf("", "orders"), at(millrace.BrokerGoogle, "", 0)
	google.PubSub.Google.Endpoint, google.PubSub.Google.ServiceAccount = "", serviceAccount(t, asked.URL)
	for want, source := range map[string]millrace.Source{"sqs.eu-west-1.amazonaws.com:443": sqs, "pubsub.googleapis.com:443": google} {
		d := &dialled{}
		a := startAgent(t, agentConfig{source: source, dial: d.dial})
		if got := d.wait(t); got != want {
			t.Errorf("dialled is %s, want %s", got, want)
		}
		if s := a.wantState(millrace.SourceUnhealthy); !strings.Contains(s.Error, "closed by the test") {
			t.Errorf("it says %q", s.Error)
		}
	}
}

// serviceAccount is one whose JSON names where tokens are to be asked for.
func serviceAccount(t *testing.T, tokens string) millrace.Sensitive {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": string(text),
		"client_email": "reader@p.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokens,
	})
	if err != nil {
		t.Fatal(err)
	}
	return millrace.Sensitive(base64.StdEncoding.EncodeToString(account))
}

// The role of the machine is the operator's: the SDK asks for it wherever that
// is, which is never a public address.
func TestTheRoleOfTheMachineIsFoundWhereNoSourceMayGo(t *testing.T) {
	asked := make(chan struct{}, 100)
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		_, _ = w.Write([]byte(`{"AccessKeyId": "key", "SecretAccessKey": "secret", "Token": "t", "Expiration": "2100-01-01T00:00:00Z"}`))
	}))
	t.Cleanup(role.Close)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
		if value, set := os.LookupEnv(name); set {
			t.Setenv(name, value) // so that it is put back
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.URL)
	source := sqsSourceOf("", "orders")
	source.PubSub.SQS.AccessKeyID, source.PubSub.SQS.SecretKey = "", ""
	d := &dialled{}
	startAgent(t, agentConfig{source: source, dial: d.dial})
	if got := d.wait(t); got != "sqs.eu-west-1.amazonaws.com:443" {
		t.Errorf("dialled is %s", got)
	}
	select {
	case <-asked:
	default:
		t.Error("the role was not asked for")
	}
}

func TestNoProxyOfTheEnvironmentIsAskedForAQueue(t *testing.T) {
	t.Parallel()
	h := newSQSHarness(t, "", nil)
	q, err := sqsBroker(h.Source()).open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	if q.transport.Proxy != nil {
		t.Error("a proxy would look the names up that sources give")
	}
}
