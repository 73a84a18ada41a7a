package sinks

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/ThreeDotsLabs/watermill-googlecloud/v2/pkg/googlecloud"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/millrace-dev/millrace"
)

type pubSubRig struct{ server, refusing *pstest.Server }

func newPubSubRig(t testing.TB) rig {
	t.Helper()
	r := &pubSubRig{pstest.NewServer(), pstest.NewServer(pstest.WithErrorInjection("Publish", codes.Unauthenticated, "no such account"))}
	for _, s := range []*pstest.Server{r.server, r.refusing} {
		t.Cleanup(func() { s.Close() })
		if _, err := s.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: "projects/shop/topics/orders"}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *pubSubRig) endpoint() millrace.Endpoint {
	return millrace.Endpoint{Kind: millrace.SinkPubSub, Sink: millrace.Sink{PubSub: &millrace.PubSubSink{
		ProjectID: "shop", Topic: "orders", Endpoint: r.server.Addr, OrderingKey: "order",
	}}}
}

func (r *pubSubRig) at(e *millrace.Endpoint, address string) { e.Sink.PubSub.Endpoint = address }

func (r *pubSubRig) missing(e *millrace.Endpoint) {
	e.Sink.PubSub.Topic = "returns"
	*e = e.WithDefaults()
}

func (r *pubSubRig) wrong(e *millrace.Endpoint) { e.Sink.PubSub.Endpoint = r.refusing.Addr }

func (r *pubSubRig) arrived(t *testing.T, n int) []arrival {
	t.Helper()
	var all []arrival
	for _, m := range r.server.Messages() {
		read, err := googlecloud.DefaultMarshalerUnmarshaler{}.Unmarshal(&pubsub.Message{Data: m.Data, Attributes: m.Attributes})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, arrival{id: read.UUID, headers: read.Metadata, body: read.Payload})
	}
	return all
}

func TestAPubSubMessageHasItsOrderingKey(t *testing.T) {
	r := newPubSubRig(t).(*pubSubRig)
	s := allSinks(t, newProxy(t))
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
	got := r.server.Messages()
	if len(got) != 1 || got[0].OrderingKey != "7" {
		t.Fatalf("arrived: %+v", got)
	}
	if _, shown := got[0].Attributes[orderingKey]; shown {
		t.Error("the ordering key is an attribute")
	}
}

// googleServer is Pub/Sub itself, as far as a publisher sees it.
type googleServer struct {
	pubsubpb.UnimplementedPublisherServer
	authorization chan string
}

// Publish implements pubsubpb.PublisherServer.
func (g *googleServer) Publish(ctx context.Context, r *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	head, _ := metadata.FromIncomingContext(ctx)
	g.authorization <- strings.Join(head.Get("authorization"), ",")
	return &pubsubpb.PublishResponse{MessageIds: []string{"1"}}, nil
}

// startGoogle serves it under Google's name, by an authority of the test's own.
func startGoogle(t *testing.T, ca authority) (*googleServer, string) {
	t.Helper()
	serving, err := tls.X509KeyPair(pair(ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"pubsub.googleapis.com"} })))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &googleServer{authorization: make(chan string, 10)}
	server := grpc.NewServer(grpc.Creds(grpccredentials.NewServerTLSFromCert(&serving)))
	pubsubpb.RegisterPublisherServer(server, g)
	var serve sync.WaitGroup
	serve.Go(func() {
		if err := server.Serve(l); err != nil {
			t.Errorf("serve Pub/Sub: %v", err)
		}
	})
	t.Cleanup(func() {
		server.Stop()
		serve.Wait()
	})
	return g, l.Addr().String()
}

func serviceAccountOf(t *testing.T) millrace.Sensitive {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "millrace@shop.example", "private_key_id": "1", "private_key": pemOf("PRIVATE KEY", encoded),
		"token_uri": "http://169.254.169.254/", // is never asked
	})
	if err != nil {
		t.Fatal(err)
	}
	return millrace.Sensitive(base64.StdEncoding.EncodeToString(account))
}

func TestGoogleItselfIsReachedThroughTheEgressAndShownAToken(t *testing.T) {
	ca := newAuthority(t)
	google, address := startGoogle(t, ca)
	p := newProxy(t)
	p.to.Store(&address)
	s := allSinks(t, p)
	d := deliveryOn(millrace.Endpoint{Kind: millrace.SinkPubSub, CACert: ca.pem(), Sink: millrace.Sink{PubSub: &millrace.PubSubSink{
		ProjectID: "shop", Topic: "orders", ServiceAccount: serviceAccountOf(t),
	}}})
	if err := d.Endpoint.Validate(); err != nil {
		t.Fatal(err)
	}
	want(t, sent(t, s, d), millrace.OutcomeSuccess)
	if asked := p.seen.Load().Host; asked != "pubsub.googleapis.com:443" {
		t.Errorf("the egress was asked for %s", asked)
	}
	if token := <-google.authorization; !strings.HasPrefix(token, "Bearer ey") {
		t.Errorf("it was shown %q", token)
	}
	if n := p.tunnels.Load(); n != 1 {
		t.Errorf("%d tunnels were made: a token was asked for somewhere", n)
	}

	d.Endpoint.CACert = newAuthority(t).pem()
	a := sent(t, s, d)
	want(t, a, millrace.OutcomeTLS)
	if len(google.authorization) != 0 {
		t.Error("a server that does not prove itself was shown the token")
	}
	d.Endpoint.Sink.PubSub.ServiceAccount = ""
	want(t, sent(t, s, d), millrace.OutcomeAuthentication)
}

func TestWhatPubSubDoesNotTakeIsTold(t *testing.T) {
	r := newPubSubRig(t).(*pubSubRig)
	s := allSinks(t, newProxy(t))
	for rule, c := range map[string]struct {
		change func(*millrace.Delivery)
		want   millrace.Outcome
	}{
		"a header that is too long": {func(d *millrace.Delivery) { d.Headers = map[string]string{"x": strings.Repeat("a", 1025)} }, millrace.OutcomeUnsendable},
		"a header that is Google's": {func(d *millrace.Delivery) { d.Headers = map[string]string{"goog-x": "y"} }, millrace.OutcomeUnsendable},
		"a message too large":       {func(d *millrace.Delivery) { d.Payload = make([]byte, 10_000_001) }, millrace.OutcomeTooLarge},
	} {
		t.Run(rule, func(t *testing.T) {
			d := deliveryOn(r.endpoint())
			c.change(&d.Delivery)
			want(t, sent(t, s, d), c.want)
		})
	}
}

func TestPubSubsOwnFailuresAreTold(t *testing.T) {
	for code, outcome := range map[codes.Code]millrace.Outcome{
		codes.PermissionDenied: millrace.OutcomeAuthentication, codes.ResourceExhausted: millrace.OutcomeTooMany, codes.InvalidArgument: millrace.OutcomeClientError,
		codes.Internal: millrace.OutcomeServerError, codes.Unavailable: millrace.OutcomeServerError,
	} {
		t.Run(code.String(), func(t *testing.T) {
			server := pstest.NewServer(pstest.WithErrorInjection("Publish", code, "no"))
			t.Cleanup(func() { server.Close() })
			s := allSinks(t, newProxy(t))
			d := deliveryOn((&pubSubRig{server: server}).endpoint())
			want(t, sent(t, s, d), outcome)
			want(t, sent(t, s, d), outcome) // an ordering key is not stopped by it
		})
	}
}
