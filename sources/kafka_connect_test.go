package sources

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"

	millrace "github.com/millrace-dev/millrace"
)

// lockedKafka is a cluster that asks who one is.
func lockedKafka(t *testing.T) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "me", "secret"), kfake.Superuser("SCRAM-SHA-256", "me", "secret"), kfake.Superuser("SCRAM-SHA-512", "me", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.SASL(saslplain.Auth{User: "me", Pass: "secret"}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte(broadcast(1).body)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return cluster
}

func TestKafkaIsToldWhoReads(t *testing.T) {
	t.Parallel()
	cluster := lockedKafka(t)
	for _, c := range []struct {
		rule string
		auth *millrace.KafkaAuth
		says string // empty: it reads
	}{
		{"plain", &millrace.KafkaAuth{Type: "plain", Username: "me", Password: "secret"}, ""},
		{"scram by SHA-256", &millrace.KafkaAuth{Type: "scram", Hash: "SHA256", Username: "me", Password: "secret"}, ""},
		{"scram by SHA-512", &millrace.KafkaAuth{Type: "scram", Hash: "SHA512", Username: "me", Password: "secret"}, ""},
		{"a wrong password by plain", &millrace.KafkaAuth{Type: "plain", Username: "me", Password: "guess"}, "SASL: authentication failed"},
		{"a wrong password by scram", &millrace.KafkaAuth{Type: "scram", Hash: "SHA512", Username: "me", Password: "guess"}, "SASL: authentication failed"},
		{"nobody", nil, "does it want SASL"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			source := kafkaSource("orders", cluster.ListenAddrs()...)
			source.PubSub.Kafka.Auth, source.PubSub.Kafka.GroupID = c.auth, c.rule
			a := startAgent(t, agentConfig{source: source})
			if c.says == "" {
				a.next()
				a.wantState(millrace.SourceHealthy)
			} else if s := a.wantState(millrace.SourceUnhealthy); !strings.Contains(s.Error, c.says) || strings.Contains(s.Error, "guess") {
				t.Errorf("it says %q, want %q", s.Error, c.says)
			}
		})
	}
}

func TestATopicThatIsMissingIsSaid(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	source := k.Source()
	source.PubSub.Kafka.Topic = "later"
	a := startAgent(t, agentConfig{source: source})
	if s := a.wantState(millrace.SourceUnhealthy); s.Error != "topic later does not exist" {
		t.Errorf("it says %q", s.Error)
	}
	if k.cluster.TopicInfo("later") != nil {
		t.Error("it was made by asking for it")
	}
	if err := k.cluster.CreateTopic("later", 1, nil); err != nil {
		t.Fatal(err)
	}
	a.wantState(millrace.SourceHealthy)
	k.produce(t, &kgo.Record{Topic: "later", Value: []byte(broadcast(1).body)})
	a.next()
	if err := k.cluster.DeleteTopic("later"); err != nil {
		t.Fatal(err)
	}
	if s := a.wantState(millrace.SourceUnhealthy); s.Error != "topic later does not exist" {
		t.Errorf("then it says %q", s.Error)
	}
}

func TestAGroupThatRefusesIsSaidAndHealsByItself(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	refusal := k.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, TopLevel: true, Err: kerr.GroupAuthorizationFailed, Count: -1})
	a := startAgent(t, agentConfig{source: k.Source()})
	if s := a.wantState(millrace.SourceUnhealthy); s.Error != "not authorized to use consumer group "+k.source.PubSub.Kafka.GroupID {
		t.Errorf("it says %q", s.Error)
	}
	refusal.Remove()
	a.wantState(millrace.SourceHealthy)
	k.Produce(t, broadcast(1))
	a.next()
}

func TestAPartitionThatRefusesIsSaidAndHealsByItself(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 1)
	refusal := k.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	a := startAgent(t, agentConfig{source: k.Source()})
	if s := a.wantState(millrace.SourceUnhealthy); s.Error != "not authorized to read topic "+k.name() {
		t.Errorf("it says %q", s.Error)
	}
	refusal.Remove()
	k.Produce(t, broadcast(1))
	a.next()
	a.wantState(millrace.SourceHealthy)
}

func TestKafkaByTLS(t *testing.T) {
	t.Parallel()
	certificate, roots := selfSigned(t)
	k := newFakeKafka(t, 1)
	secure, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}))
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	for _, c := range []struct {
		rule   string
		topic  string
		broker string
		tls    bool
		roots  *x509.CertPool
		says   string // empty: it is healthy
	}{
		{"a certificate that is known", "orders", secure.ListenAddrs()[0], true, roots, ""},
		{"a certificate that nobody knows", "orders", secure.ListenAddrs()[0], true, nil, "TLS: the broker's certificate is signed by an unknown authority"},
		{"a broker that speaks it, asked in clear", "orders", secure.ListenAddrs()[0], false, nil, "TLS"},
		{"a broker that does not speak it", k.name(), k.source.PubSub.Kafka.Brokers[0], true, nil, "no answer"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			source := kafkaSource(c.topic, c.broker)
			source.PubSub.Kafka.Auth = &millrace.KafkaAuth{TLS: c.tls}
			b := newKafka(BrokerConfig{Source: source, ShutdownTimeout: patience, Dial: anywhere, Logger: slog.New(slog.DiscardHandler)})
			b.tls.RootCAs = c.roots
			if _, err := b.Subscribe(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close() }()
			want := millrace.SourceHealthy
			if c.says != "" {
				want = millrace.SourceUnhealthy
			}
			eventually(t, func() bool { return b.State().Health == want }, func() string { return fmt.Sprintf("%+v", b.State()) })
			if got := b.State().Error; !strings.Contains(got, c.says) {
				t.Errorf("it says %q, want %q", got, c.says)
			}
		})
	}
}

// selfSigned is a certificate for the loopback, and who knows it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func TestFaultsOfKafkaInPlainWords(t *testing.T) {
	b := newKafka(BrokerConfig{Source: kafkaSource("orders", "a:1")})
	secure := newKafka(BrokerConfig{Source: kafkaSource("orders", "a:1")})
	secure.topic.Auth = &millrace.KafkaAuth{Type: "plain"}
	address := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 9092}
	refused := &net.OpError{Op: "dial", Addr: address, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, c := range []struct {
		of   *kafkaBroker
		err  error
		want string
	}{
		{b, fmt.Errorf("unable to dial: %w", refused), "connect to 10.0.0.1:9092: connection refused"},
		{b, &net.OpError{Op: "dial", Addr: address, Err: context.DeadlineExceeded}, "connect to 10.0.0.1:9092: no answer in time"},
		{b, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "kafka", Err: "no such host"}}, "look up kafka: no such host"},
		{b, context.DeadlineExceeded, "the broker does not answer"},
		{b, io.EOF, "the broker closed the connection at once: does it want SASL or TLS?"},
		{secure, io.EOF, "SASL: authentication failed: the broker closed the connection"},
		{b, kerr.SaslAuthenticationFailed, "SASL: authentication failed"},
		{b, kerr.UnsupportedSaslMechanism, "SASL: the broker does not offer this way of authentication"},
		{b, kerr.UnknownTopicOrPartition, "topic orders does not exist"},
		{b, &kgo.ErrGroupSession{Err: kerr.InconsistentGroupProtocol}, "consumer group readers-of-orders is used by another kind of consumer"},
		{b, kerr.CorruptMessage, "the broker answered CORRUPT_MESSAGE: " + kerr.CorruptMessage.Description},
		{b, tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "TLS: the broker does not speak it"},
		{b, &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "kafka"}}, "TLS: the broker's certificate is refused"},
		{b, errors.New("odd\n  thing"), "odd thing"},
	} {
		if got := c.of.plainly(c.err); got != c.want && !(strings.HasSuffix(c.want, "refused") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}
