package sources

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	millrace "github.com/millrace-dev/millrace"
)

const (
	// pubSubWorkers is how many messages a subscription has in flight unless
	// its source says so.
	pubSubWorkers = 100
	// pubSubLease is how long Google waits for a word before it gives a message
	// to another: what a dead process held is taken over within that time. It
	// is the shortest there is.
	pubSubLease = 10 * time.Second
	// pubSubHeld is how long a message may be held, lease by lease: a store
	// may be away for hours.
	pubSubHeld = 24 * time.Hour
	// pubSubBytes is what is in flight of a subscription. A message may have
	// 10 MB, and Google's own bound is a gigabyte.
	pubSubBytes = 64 << 20
)

// orderingKeyHeader bears a message's ordering key. Google lets no attribute
// begin with goog.
const orderingKeyHeader = "goog-ordering-key"

// pubSubBroker reads a subscription of Google Cloud Pub/Sub with Google's own
// client, which has many messages in flight, renews their leases, batches
// acknowledgements and keeps the order of those with an ordering key.
// watermill-googlecloud wraps the same client, but nacks what is in flight
// when it ends, asks for the subscription's configuration, which a role that
// may only subscribe is refused, and does not tell whether it is connected.
type pubSubBroker struct {
	*link
	source       millrace.Source
	subscription millrace.GoogleSource
}

func newPubSub(c BrokerConfig) *pubSubBroker {
	b := &pubSubBroker{link: newLink(c, c.workers(pubSubWorkers)), source: c.Source, subscription: *c.Source.PubSub.Google}
	b.connection = b.read
	return b
}

// read is one client. It makes its streams again by itself while Google is
// away, and is done when it is refused.
func (b *pubSubBroker) read(ctx context.Context, e *emitter) error {
	options, err := b.options()
	if err != nil {
		return err
	}
	client, err := pubsub.NewClient(ctx, b.subscription.ProjectID, options...)
	if err != nil {
		return fmt.Errorf("no connection to Google can be made: %w", err)
	}
	defer func() { _ = client.Close() }() // of no use any more
	s := client.Subscriber(b.subscription.SubscriptionID)
	s.ReceiveSettings = pubsub.ReceiveSettings{
		MaxOutstandingMessages: b.workers, MaxOutstandingBytes: pubSubBytes, MaxExtension: pubSubHeld, MaxDurationPerAckExtension: pubSubLease,
	}
	received := make(chan error, 1)
	go func() {
		received <- s.Receive(ctx, func(ctx context.Context, m *pubsub.Message) { b.handOn(ctx, e, m) })
	}()
	select {
	case err = <-received:
		return b.inWords(err)
	case <-ctx.Done():
	}
	// Nothing is taken any more: who has all slots knows that nothing is in
	// flight. What Google is not told soon, it finds out when the leases end.
	for range b.workers {
		e.reserve(e.life)
	}
	late := time.AfterFunc(b.parting, func() { _ = client.Close() })
	defer late.Stop()
	return b.inWords(<-received)
}

// handOn passes a message on and waits until it is settled, as the client
// ends with what it waits for.
func (b *pubSubBroker) handOn(ctx context.Context, e *emitter, m *pubsub.Message) {
	if !e.reserve(ctx) {
		m.Nack()
		return
	}
	done := make(chan struct{})
	e.emit(ctx, b.message(m).message(), func(acked bool) {
		defer close(done)
		if acked {
			m.Ack()
		} else {
			m.Nack()
		}
	})
	<-done
}

func (b *pubSubBroker) message(m *pubsub.Message) *brokerMessage {
	headers := m.Attributes
	if m.OrderingKey != "" {
		headers = maps.Clone(headers)
		if headers == nil {
			headers = map[string]string{}
		}
		headers[orderingKeyHeader] = m.OrderingKey
	}
	return &brokerMessage{id: coordinates(b.source, m.ID), at: m.PublishTime, headers: headers, body: m.Data}
}

// options are how Google, or an emulator, is reached.
func (b *pubSubBroker) options() ([]option.ClientOption, error) {
	again := backoff.Config{BaseDelay: backoffFirst, Multiplier: 2, Jitter: 0.2, MaxDelay: backoffLast}
	options := []option.ClientOption{
		option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: backoffLast})),
		option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(b.open)),
		option.WithGRPCDialOption(grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return b.config.dial(ctx, "tcp", address) })),
	}
	if emulator := cmp.Or(b.subscription.Endpoint, os.Getenv("PUBSUB_EMULATOR_HOST")); emulator != "" {
		// The name goes to the dialer as it is: that is where it is resolved.
		return append(options, option.WithEndpoint("passthrough:///"+emulator), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials()))), nil
	}
	if b.subscription.ServiceAccount == "" {
		return options, nil
	}
	account, err := base64.StdEncoding.DecodeString(string(b.subscription.ServiceAccount))
	if err != nil {
		return nil, errors.New("the service account is not base64")
	}
	// Of this type only: others name files and addresses that are then read.
	return append(options, option.WithAuthCredentialsJSON(option.ServiceAccount, account)), nil
}

// inWords says what Google refused.
func (b *pubSubBroker) inWords(err error) error {
	said := status.Convert(err).Message()
	switch status.Code(err) {
	case codes.OK:
		return errors.New("the stream ended")
	case codes.NotFound:
		return fmt.Errorf("there is no subscription %q in the project %q", b.subscription.SubscriptionID, b.subscription.ProjectID)
	case codes.PermissionDenied:
		return fmt.Errorf("the account may not read the subscription %q: %s", b.subscription.SubscriptionID, said)
	case codes.Unauthenticated:
		return fmt.Errorf("the account is refused: %s", said)
	case codes.Unavailable:
		return fmt.Errorf("the broker cannot be reached: %s", said)
	}
	return fmt.Errorf("the subscription cannot be read: %s", said)
}
