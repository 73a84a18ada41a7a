package millrace

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// SinkKind is what an endpoint is, from a closed list.
type SinkKind string

// The closed list of what an endpoint may be.
const (
	SinkWebhook SinkKind = "webhook" // a URL
	SinkKafka   SinkKind = "kafka"
	SinkSQS     SinkKind = "sqs"
	SinkPubSub  SinkKind = "pubsub"
	SinkAMQP    SinkKind = "amqp"
)

// SinkKinds lists every kind once.
var SinkKinds = []SinkKind{SinkWebhook, SinkKafka, SinkSQS, SinkPubSub, SinkAMQP}

// Sink is the broker that an endpoint is where it is no URL: the one of its
// kind is set, the others are nil. A path is where a value stands in a JSON
// payload, names with dots between them.
type Sink struct {
	Kafka  *KafkaSink  `json:"kafka,omitempty"`
	SQS    *SQSSink    `json:"sqs,omitempty"`
	PubSub *PubSubSink `json:"pubsub,omitempty"`
	AMQP   *AMQPSink   `json:"amqp,omitempty"`
}

// KafkaSink is a topic of Kafka.
type KafkaSink struct {
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic_name"`
	// Key is the path of what becomes the record's key; empty: none.
	Key  string    `json:"key,omitempty"`
	Auth KafkaAuth `json:"auth,omitzero"`
}

// SQSSink is a queue of Amazon SQS. Without a key, the gateway's own role is
// used, where the operator lends it.
type SQSSink struct {
	AccessKeyID string    `json:"access_key_id,omitempty"`
	SecretKey   Sensitive `json:"secret_key,omitempty"`
	Region      string    `json:"default_region"`
	Queue       string    `json:"queue_name"`
	// Endpoint stands in the place of Amazon's: a URL.
	Endpoint string `json:"endpoint,omitempty"`
	// GroupID and DeduplicationID are paths, for a FIFO queue. Where nothing
	// stands there, the group is the event's type, and the event's id tells
	// what is a duplicate.
	GroupID         string `json:"message_group_id,omitempty"`
	DeduplicationID string `json:"deduplication_id,omitempty"`
}

// FIFO tells whether the queue keeps an order: its name says so.
func (q SQSSink) FIFO() bool { return strings.HasSuffix(q.Queue, ".fifo") }

// PubSubSink is a topic of Google Cloud Pub/Sub. Without a service account,
// the gateway's own credentials are used, where the operator lends them.
type PubSubSink struct {
	ProjectID      string    `json:"project_id"`
	Topic          string    `json:"topic_name"`
	ServiceAccount Sensitive `json:"service_account,omitempty"` // base64 of its JSON
	// Endpoint is an emulator's host:port, dialled in plain text.
	Endpoint string `json:"endpoint,omitempty"`
	// OrderingKey is the path of what becomes the message's; empty: none.
	OrderingKey string `json:"ordering_key,omitempty"`
}

// AMQPSink is an exchange of an AMQP 0.9.1 broker such as RabbitMQ. An empty
// name is the default exchange, which routes to the queue of the key's name.
type AMQPSink struct {
	Schema   string      `json:"schema"` // amqp or amqps
	Host     string      `json:"host"`
	Port     int         `json:"port"`
	Auth     BasicSecret `json:"auth,omitzero"`
	VHost    string      `json:"vhost,omitempty"` // empty: "/"
	Exchange string      `json:"exchange,omitempty"`
	// RoutingKey is sent as it is; empty: the event's type.
	RoutingKey string `json:"routing_key,omitempty"`
}

// HostPort is what is dialled.
func (a AMQPSink) HostPort() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// VirtualHost is the vhost's name.
func (a AMQPSink) VirtualHost() string { return cmp.Or(a.VHost, "/") }

// Address is a sink as people see it, like a URL: where it is, and nothing
// that proves who may use it.
func (s Sink) Address() string {
	u := url.URL{}
	switch {
	case s.Kafka != nil && len(s.Kafka.Brokers) > 0:
		u.Scheme, u.Host, u.Path = "kafka", s.Kafka.Brokers[0], "/"+s.Kafka.Topic
	case s.SQS != nil:
		u.Scheme, u.Host, u.Path = "sqs", s.SQS.Region, "/"+s.SQS.Queue
	case s.PubSub != nil:
		u.Scheme, u.Host, u.Path = "pubsub", s.PubSub.ProjectID, "/"+s.PubSub.Topic
	case s.AMQP != nil:
		u.Scheme, u.Host = s.AMQP.Schema, s.AMQP.HostPort()
		u.Path = "/" + s.AMQP.VirtualHost() + "/" + s.AMQP.Exchange
		u.RawPath = "/" + url.PathEscape(s.AMQP.VirtualHost()) + "/" + url.PathEscape(s.AMQP.Exchange)
	default:
		return ""
	}
	return u.String()
}

// Secret is what proves the gateway to the broker; empty where nothing does.
// There is one at most, whatever the kind.
func (s Sink) Secret() Sensitive {
	if secret := s.secret(); secret != nil {
		return *secret
	}
	return ""
}

// WithSecret is a copy of the sink with another secret.
func (s Sink) WithSecret(secret Sensitive) Sink {
	s = s.clone()
	if place := s.secret(); place != nil {
		*place = secret
	}
	return s
}

func (s Sink) secret() *Sensitive {
	switch {
	case s.Kafka != nil:
		return &s.Kafka.Auth.Password
	case s.SQS != nil:
		return &s.SQS.SecretKey
	case s.PubSub != nil:
		return &s.PubSub.ServiceAccount
	case s.AMQP != nil:
		return &s.AMQP.Auth.Password
	}
	return nil
}

func (s Sink) clone() Sink {
	c := Sink{Kafka: cloneOf(s.Kafka), SQS: cloneOf(s.SQS), PubSub: cloneOf(s.PubSub), AMQP: cloneOf(s.AMQP)}
	if c.Kafka != nil {
		c.Kafka.Brokers = slices.Clone(c.Kafka.Brokers)
	}
	return c
}

func cloneOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// Of is the sink with what belongs to a kind alone.
func (s Sink) Of(kind SinkKind) Sink {
	only := Sink{}
	switch kind {
	case SinkKafka:
		only.Kafka = s.Kafka
	case SinkSQS:
		only.SQS = s.SQS
	case SinkPubSub:
		only.PubSub = s.PubSub
	case SinkAMQP:
		only.AMQP = s.AMQP
	}
	return only
}
