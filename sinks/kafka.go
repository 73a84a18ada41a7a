package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/millrace-dev/millrace"
)

// kafka publishes records. It is franz-go and not watermill-kafka, whose
// publisher takes no context, dials in its constructor and tells no offset
// (docs/adr/0014); any Watermill subscriber reads what it writes.
type kafka struct {
	config  Config
	proxies *proxies
	clients *kept[kafkaKey, *kafkaClient]
}

// kafkaKey is what endpoints share that share a client.
type kafkaKey struct {
	brokers string
	auth    millrace.KafkaAuth
	secure  credentials
}

type kafkaClient struct {
	line *line
	// cutOff is set when a broker last closed a connection on which it was
	// being shown credentials. Older ones say no more.
	cutOff atomic.Bool
	// many puts what comes at the same time into one batch; alone sends one
	// record at a time, however large: what is refused as too large with
	// others in its batch may be none too large itself.
	many *kgo.Client

	mu        sync.Mutex
	alone     *kgo.Client // nil: not needed yet
	makeAlone func() (*kgo.Client, error)
}

func newKafka(config Config, p *proxies) *kafka {
	return &kafka{config: config, proxies: p, clients: newKept[kafkaKey](config.clients(), (*kafkaClient).close)}
}

func (k *kafka) close() { k.clients.clear() }

func (k *kafka) publish(ctx context.Context, p posting) (placed, *dialError) {
	sink := p.endpoint.Sink.Kafka
	key := kafkaKey{brokers: strings.Join(sink.Brokers, "\n"), auth: sink.Auth, secure: secureOf(p.endpoint)}
	c, back, err := k.clients.use(key, func() (*kafkaClient, error) { return k.client(key) })
	if err != nil {
		return placed{}, unusable(err)
	}
	record, err := c.produce(ctx, p)
	if err == nil {
		back(false)
		return placed{where: kafkaPlace{Topic: record.Topic, Partition: record.Partition, Offset: record.Offset}}, nil
	}
	why := c.line.why(ctx, p, err, c.refusal)
	back(why.outcome == millrace.OutcomeTimeout || why.ours)
	return placed{}, why
}

// kafkaPlace is where a record lies.
type kafkaPlace struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// produce sends a record. What is too large together with others is sent once
// more by itself: nothing of it was kept.
func (c *kafkaClient) produce(ctx context.Context, p posting) (*kgo.Record, error) {
	record := kafkaRecord(p)
	err := c.together(ctx, record)
	if !errors.Is(err, kerr.MessageTooLarge) {
		return record, err
	}
	alone, err := c.another()
	if err != nil {
		return record, err
	}
	record = kafkaRecord(p)
	confirmed := make(chan error, 1)
	alone.Produce(ctx, record, func(_ *kgo.Record, err error) { confirmed <- err })
	return record, awaited(ctx, confirmed)
}

func (c *kafkaClient) another() (*kgo.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alone != nil {
		return c.alone, nil
	}
	alone, err := c.makeAlone()
	c.alone = alone
	return alone, err
}

// together sends a record with what others send at the same time. Its own
// deadline is none of theirs: the library fails a batch whole with the first
// record in it whose context ends, so a record is given that of the client.
func (c *kafkaClient) together(ctx context.Context, record *kgo.Record) error {
	confirmed := make(chan error, 1)
	c.many.TryProduce(c.line.base, record, func(_ *kgo.Record, err error) { confirmed <- err })
	return awaited(ctx, confirmed)
}

// awaited waits for the broker, or for the end of ctx: a record that is on its
// way then is given up, and may still arrive.
func awaited(ctx context.Context, confirmed <-chan error) error {
	select {
	case err := <-confirmed:
		if errors.Is(err, kgo.ErrRecordRetries) { // so it says, of the one try it has, when there was no answer
			return fmt.Errorf("%w: %w", err, errEnded)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func kafkaRecord(p posting) *kgo.Record {
	sink := p.endpoint.Sink.Kafka
	r := &kgo.Record{Topic: sink.Topic, Value: p.message.Payload, Headers: make([]kgo.RecordHeader, 0, len(p.message.Metadata)+1)}
	if key := p.at(sink.Key); key != "" {
		r.Key = []byte(key)
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerUUID, Value: []byte(p.message.UUID)})
	for _, name := range slices.Sorted(maps.Keys(p.message.Metadata)) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(p.message.Metadata[name])})
	}
	return r
}

// What bounds a client of Kafka. A batch is no larger than what brokers take
// unless they are told otherwise.
const (
	kafkaBatch    = 1 << 20
	kafkaLargest  = 64 << 20
	kafkaAnswer   = 16 << 20
	kafkaBuffer   = 64 << 20
	kafkaInFlight = 8
	kafkaRetry    = 100 * time.Millisecond
)

func (k *kafka) client(key kafkaKey) (*kafkaClient, error) {
	var secure *tls.Config
	if key.auth.TLS {
		var err error
		if secure, err = key.secure.tls(); err != nil {
			return nil, err
		}
	}
	c := &kafkaClient{line: newLine(k.proxies, secure)}
	options := append(k.options(key, c), kgo.ProducerBatchMaxBytes(kafkaBatch), kgo.MaxProduceRequestsInflightPerBroker(kafkaInFlight))
	c.makeAlone = func() (*kgo.Client, error) {
		return kgo.NewClient(append(k.options(key, c), kgo.ProducerBatchMaxBytes(kafkaLargest), kgo.MaxBufferedRecords(1))...)
	}
	var err error
	c.many, err = kgo.NewClient(options...)
	return c, err
}

// What is asked of a broker that shows it credentials.
const (
	saslHandshake    = 17
	saslAuthenticate = 36
)

// OnBrokerRead implements kgo.HookBrokerRead.
func (c *kafkaClient) OnBrokerRead(_ kgo.BrokerMetadata, request int16, _ int, _, _ time.Duration, err error) {
	sasl := request == saslHandshake || request == saslAuthenticate
	if sasl == (err != nil) {
		c.cutOff.Store(sasl)
	}
}

// options are those of every client. A request that was sent is never sent
// again here: whether it is, the retry policy says. So a failure of one try is
// told as it is, and nothing is asked of the cluster that not every user may.
func (k *kafka) options(key kafkaKey, c *kafkaClient) []kgo.Opt {
	brokers := strings.Split(key.brokers, "\n")
	options := []kgo.Opt{
		kgo.ClientID("millrace"), kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(),
		kgo.Dialer(func(ctx context.Context, _, target string) (net.Conn, error) { return c.line.dial(ctx, target) }),
		kgo.WithHooks(c),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite(),
		kgo.RecordRetries(0), kgo.UnknownTopicRetries(0), kgo.RequestRetries(len(brokers)),
		kgo.RetryBackoffFn(func(int) time.Duration { return kafkaRetry }), kgo.MetadataMinAge(kafkaRetry),
		kgo.MaxBufferedBytes(kafkaBuffer), kgo.RecordDeliveryTimeout(millrace.MaxTimeout), kgo.BrokerMaxReadBytes(kafkaAnswer), kgo.FetchMaxBytes(kafkaAnswer), kgo.FetchMaxPartitionBytes(kafkaAnswer), kgo.ProducerLinger(0), kgo.ConnIdleTimeout(k.config.IdleTimeout), kgo.ProduceRequestTimeout(millrace.MaxTimeout),
	}
	switch auth := key.auth; {
	case auth.Type == "plain":
		options = append(options, kgo.SASL(plain.Auth{User: auth.Username, Pass: auth.Password.Reveal()}.AsMechanism()))
	case auth.Type == "scram" && auth.Hash == "SHA256":
		options = append(options, kgo.SASL(scram.Auth{User: auth.Username, Pass: auth.Password.Reveal()}.AsSha256Mechanism()))
	case auth.Type == "scram":
		options = append(options, kgo.SASL(scram.Auth{User: auth.Username, Pass: auth.Password.Reveal()}.AsSha512Mechanism()))
	}
	return options
}

// close waits for nobody: the connections are cut first.
func (c *kafkaClient) close() {
	c.line.cut()
	c.many.Close()
	if c.alone != nil { // nobody uses it any more
		c.alone.Close()
	}
}

// refusal knows what a broker says against a record.
func (c *kafkaClient) refusal(err error) *dialError {
	var said *kerr.Error
	switch {
	case errors.As(err, &said):
		return kafkaRefusal(said)
	case errors.Is(err, kgo.ErrMaxBuffered):
		return outcomeWith(millrace.OutcomeTimeout, "The broker has confirmed too little of what it was sent before.")
	case isReset(err) && c.cutOff.Load():
		return outcomeWith(millrace.OutcomeAuthentication, "The broker closed the connection when it was shown the endpoint's credentials.")
	}
	return nil
}

func kafkaRefusal(said *kerr.Error) *dialError {
	switch said {
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException:
		return outcomeWith(millrace.OutcomeMissing, "The broker has no such topic (%s).", said.Message)
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return outcomeWith(millrace.OutcomeTooLarge, "The message is larger than the broker takes (%s).", said.Message)
	case kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState:
		return outcomeWith(millrace.OutcomeAuthentication, "The broker refused the endpoint's credentials (%s).", said.Message)
	case kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed:
		return outcomeWith(millrace.OutcomeAuthentication, "The endpoint's user may not write to this topic (%s).", said.Message)
	case kerr.ThrottlingQuotaExceeded:
		return outcomeWith(millrace.OutcomeTooMany, "The broker has had too much (%s).", said.Message)
	}
	if said.Retriable {
		return outcomeWith(millrace.OutcomeServerError, "The broker could not keep the message (%s).", said.Message)
	}
	return outcomeWith(millrace.OutcomeClientError, "The broker refused the message (%s).", said.Message)
}

// unusable is a client that could not be made.
func unusable(err error) *dialError {
	if errors.Is(err, errClosing) {
		return &dialError{ours: true, text: err.Error()}
	}
	return outcomeWith(millrace.OutcomeUnsendable, "%s", sentence(err))
}
