package sinks

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/millrace-dev/millrace"
)

// behindTLS is an address where a broker's plain port is served over TLS.
func behindTLS(t *testing.T, conf *tls.Config, plain string) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		secure := tls.Server(conn, conf)
		to, err := net.Dial("tcp", plain)
		if err != nil || secure.Handshake() != nil {
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(secure, to)
			secure.Close()
		}()
		io.Copy(to, secure)
		to.Close()
		<-done
	}).addr()
}

func TestABrokersCertificateIsVerified(t *testing.T) {
	ca := newAuthority(t)
	serving, err := tls.X509KeyPair(pair(ca.issue(t, nil)))
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{serving}}
	for kind, secured := range map[string]func(*testing.T) millrace.Endpoint{
		"kafka": func(t *testing.T) millrace.Endpoint {
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.TLS(conf))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			return millrace.Endpoint{Kind: millrace.SinkKafka, Sink: millrace.Sink{Kafka: &millrace.KafkaSink{
				Brokers: c.ListenAddrs(), Topic: "orders", Auth: millrace.KafkaAuth{TLS: true},
			}}}
		},
		"sqs": func(t *testing.T) millrace.Endpoint {
			r := newSQSRig(t).(*sqsRig)
			e := r.endpoint()
			e.Sink.SQS.Endpoint = "https://" + behindTLS(t, conf, strings.TrimPrefix(r.server.URL(), "http://"))
			return e
		},
		"amqp": func(t *testing.T) millrace.Endpoint {
			r := newAMQPRig(t).(*amqpRig)
			e := r.endpoint()
			r.at(&e, behindTLS(t, conf, r.server.Addr()))
			e.Sink.AMQP.Schema = "amqps"
			return e
		},
	} {
		t.Run(kind, func(t *testing.T) {
			s := allSinks(t, newProxy(t))
			d := deliveryOn(secured(t))
			want(t, sent(t, s, d), millrace.OutcomeTLS) // the system does not know the authority
			d.Endpoint.CACert = ca.pem()
			want(t, sent(t, s, d), millrace.OutcomeSuccess)
			d.Endpoint.CACert = newAuthority(t).pem()
			a := sent(t, s, d)
			want(t, a, millrace.OutcomeTLS)
			if !strings.Contains(a.Error, "certificate") {
				t.Errorf("the sentence is %q", a.Error)
			}
		})
	}
}
