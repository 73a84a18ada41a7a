package sinks

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2"
	vkit "cloud.google.com/go/pubsub/v2/apiv1"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-googlecloud/v2/pkg/googlecloud"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/googleapis/gax-go/v2"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/oauth"
	"google.golang.org/grpc/status"

	"github.com/millrace-dev/millrace"
)

// pubSubTopics publishes to topics of Google Cloud Pub/Sub, by Watermill's
// publisher.
type pubSubTopics struct {
	config  Config
	proxies *proxies
	clients *kept[pubSubKey, *pubSubClient]
}

// pubSubKey is what endpoints share that share a client.
type pubSubKey struct {
	project, account, emulator string
	secure                     credentials
}

type pubSubClient struct {
	line      *line
	conn      *grpc.ClientConn
	publisher *googlecloud.Publisher
}

// What a client dials where there is no emulator, and what it asks leave for.
const (
	pubSubHost  = "pubsub.googleapis.com:443"
	pubSubScope = "https://www.googleapis.com/auth/pubsub"
)

// Bounds of a message of Pub/Sub.
const (
	pubSubLargest = 10_000_000
	pubSubName    = 256
	pubSubValue   = 1024
)

func newPubSub(config Config, p *proxies) *pubSubTopics {
	return &pubSubTopics{config: config, proxies: p, clients: newKept[pubSubKey](config.clients(), (*pubSubClient).close)}
}

func (g *pubSubTopics) close() { g.clients.clear() }

func (g *pubSubTopics) publish(ctx context.Context, p posting) (placed, *dialError) {
	sink := p.endpoint.Sink.PubSub
	if why := g.unsendable(p); why != nil {
		return placed{}, why
	}
	key := pubSubKey{project: sink.ProjectID, account: sink.ServiceAccount.Reveal(), emulator: sink.Endpoint, secure: secureOf(p.endpoint)}
	c, back, err := g.clients.use(key, func() (*pubSubClient, error) { return g.client(key) })
	if err != nil {
		return placed{}, unusable(err)
	}
	p.message.SetContext(ctx)
	if order := p.at(sink.OrderingKey); order != "" {
		p.message.Metadata.Set(orderingKey, fmt.Sprintf("%.1024s", order))
	}
	if err := c.publisher.Publish(sink.Topic, p.message); err != nil {
		why := c.line.why(ctx, p, plainPubSub(err), pubSubRefusal)
		// A connection that failed is tried again later and later: the next
		// attempt shall not wait for that.
		back(why.ours || why.outcome == millrace.OutcomeTimeout || why.outcome == millrace.OutcomeReset || c.line.trouble(p.began) != nil)
		return placed{}, why
	}
	back(false)
	return placed{peer: c.line.peer(), where: pubSubPlace{MessageID: p.message.Metadata.Get(googlecloud.GoogleMessageIDHeaderKey)}}, nil
}

// pubSubPlace is where a message is.
type pubSubPlace struct {
	MessageID string `json:"message_id"`
}

// unsendable finds what Pub/Sub would refuse together with all other messages
// of a batch.
func (g *pubSubTopics) unsendable(p posting) *dialError {
	sink := p.endpoint.Sink.PubSub
	size := len(p.message.Payload)
	for name, value := range p.message.Metadata {
		size += len(name) + len(value)
		if len(name) > pubSubName || len(value) > pubSubValue || strings.HasPrefix(name, "goog") {
			return outcomeWith(millrace.OutcomeUnsendable, "Pub/Sub does not take the header %.60q: a name has at most %d bytes and does not begin with goog, a value has at most %d.",
				name, pubSubName, pubSubValue)
		}
	}
	switch {
	case size > pubSubLargest:
		return outcomeWith(millrace.OutcomeTooLarge, "The message is larger than Pub/Sub takes.")
	case sink.ServiceAccount == "" && sink.Endpoint == "" && !g.config.LendCredentials:
		return outcomeWith(millrace.OutcomeAuthentication, notLent)
	}
	return nil
}

func (g *pubSubTopics) client(key pubSubKey) (*pubSubClient, error) {
	c := &pubSubClient{line: newLine(g.proxies, nil)}
	target, secure := pubSubHost, []grpc.DialOption(nil)
	if key.emulator != "" {
		target, secure = key.emulator, []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	} else {
		tokens, err := tokensOf(key.account)
		if err != nil {
			return nil, err
		}
		conf, err := key.secure.tls()
		if err != nil {
			return nil, err
		}
		secure = []grpc.DialOption{grpc.WithTransportCredentials(c.line.grpc(conf)), grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: tokens})}
	}
	var err error
	// The name goes to the egress as it is: that is where it is resolved.
	c.conn, err = grpc.NewClient("passthrough:///"+target, append(secure,
		grpc.WithContextDialer(func(ctx context.Context, target string) (net.Conn, error) { return c.line.dial(ctx, target) }),
		grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(g.config.IdleTimeout),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: dialTimeout}))...)
	if err != nil {
		return nil, fmt.Errorf("make a client of Pub/Sub: %w", err)
	}
	c.publisher, err = googlecloud.NewPublisher(c.publishing(key.project), watermill.NopLogger{})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a publisher to Pub/Sub: %w", err), c.conn.Close())
	}
	return c, nil
}

// publishing is how Watermill's publisher works: it makes no topic, waits as
// long as the message's own deadline says, and sends nothing a second time.
func (c *pubSubClient) publishing(project string) googlecloud.PublisherConfig {
	settings := pubsub.DefaultPublishSettings
	settings.DelayThreshold, settings.Timeout = time.Millisecond, millrace.MaxTimeout
	once := []gax.CallOption{gax.WithRetry(func() gax.Retryer { return never{} })}
	return googlecloud.PublisherConfig{
		ProjectID: project, DoNotCheckTopicExistence: true, DoNotCreateTopicIfMissing: true,
		EnableMessageOrdering: true, EnableMessageOrderingAutoResumePublishOnError: true,
		ConnectTimeout: millrace.MaxTimeout, PublishTimeout: millrace.MaxTimeout, PublishSettings: &settings,
		ClientOptions: []option.ClientOption{option.WithGRPCConn(c.conn)},
		ClientConfig:  &pubsub.ClientConfig{TopicAdminCallOptions: &vkit.TopicAdminCallOptions{Publish: once}},
		Marshaler:     ordered{},
	}
}

// never is a gax.Retryer that tries nothing again.
type never struct{}

// Retry implements gax.Retryer.
func (never) Retry(error) (time.Duration, bool) { return 0, false }

// orderingKey is where a message's metadata has its ordering key, which is no
// attribute.
const orderingKey = "_ordering_key"

// ordered marshals as Watermill does, with the ordering key where it belongs.
type ordered struct{}

// Marshal implements googlecloud.Marshaler.
func (ordered) Marshal(topic string, m *message.Message) (*pubsub.Message, error) {
	made, err := googlecloud.DefaultMarshalerUnmarshaler{}.Marshal(topic, m)
	if err == nil {
		made.OrderingKey = made.Attributes[orderingKey]
		delete(made.Attributes, orderingKey)
	}
	return made, err
}

// tokensOf makes tokens of a service account by its own signature, so that
// nothing is asked of the URL that its JSON names; or finds the gateway's own
// credentials where Google's libraries look for them.
func tokensOf(account string) (oauth2.TokenSource, error) {
	if account == "" {
		return oauth2.ReuseTokenSource(nil, &lent{}), nil
	}
	key, err := base64.StdEncoding.DecodeString(account)
	if err == nil {
		var tokens oauth2.TokenSource
		if tokens, err = google.JWTAccessTokenSourceWithScope(key, pubSubScope); err == nil {
			return tokens, nil
		}
	}
	// The parser's words might quote the key.
	return nil, errors.New("the endpoint's service account holds no valid private key")
}

// lent is the gateway's own credentials.
type lent struct {
	mu    sync.Mutex
	found oauth2.TokenSource
}

// Token implements oauth2.TokenSource.
func (l *lent) Token() (*oauth2.Token, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.found == nil {
		tokens, err := google.DefaultTokenSource(context.Background(), pubSubScope)
		if err != nil {
			return nil, fmt.Errorf("find the gateway's credentials: %w", err)
		}
		l.found = tokens
	}
	return l.found.Token()
}

// close cuts the connection first: the publisher waits for what is under way.
func (c *pubSubClient) close() {
	c.line.cut()
	_ = c.publisher.Close() // that the connection is closed already, it calls an error
	_ = c.conn.Close()
}

// pubSubRefusal knows what Pub/Sub says against a message.
func pubSubRefusal(err error) *dialError {
	said, ok := status.FromError(err)
	if !ok {
		return nil
	}
	switch code := said.Code(); code {
	case codes.NotFound:
		return outcomeWith(millrace.OutcomeMissing, "There is no such topic (%s).", code)
	case codes.Unauthenticated, codes.PermissionDenied:
		return outcomeWith(millrace.OutcomeAuthentication, "Pub/Sub refused the endpoint's credentials (%s).", code)
	case codes.ResourceExhausted:
		return outcomeWith(millrace.OutcomeTooMany, "Pub/Sub has had too much (%s).", code)
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented:
		return outcomeWith(millrace.OutcomeClientError, "Pub/Sub refused the message (%s).", code)
	case codes.Unavailable, codes.Internal, codes.Aborted, codes.DataLoss, codes.AlreadyExists:
		return outcomeWith(millrace.OutcomeServerError, "Pub/Sub could not keep the message (%s).", code)
	}
	return nil
}

// plainPubSub makes of "unavailable" an error that tells of a connection, where
// the client says it of one that it does not have.
func plainPubSub(err error) error {
	said, ok := status.FromError(err)
	if !ok || said.Code() != codes.Unavailable {
		return err
	}
	for _, part := range []string{"connection", "transport", "error reading from server"} {
		if strings.Contains(said.Message(), part) {
			return errEnded
		}
	}
	return err
}
