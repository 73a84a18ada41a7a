package millrace

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
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

// check says what is wrong with the sink of an endpoint of this kind.
func (s Sink) check(kind SinkKind) error {
	switch kind {
	case SinkWebhook:
		return nil
	case SinkKafka:
		return s.Kafka.check()
	case SinkSQS:
		return s.SQS.check()
	case SinkPubSub:
		return s.PubSub.check()
	case SinkAMQP:
		return s.AMQP.check()
	}
	return Invalid("type", "must be webhook, kafka, sqs, pubsub or amqp, not %q", kind)
}

// maxBrokers bounds the addresses of a Kafka cluster that are given: a client
// asks one of them for all others.
const maxBrokers = 20

func (k *KafkaSink) check() error {
	if k == nil {
		return Missing("kafka")
	}
	faults := []error{checkName("kafka.topic_name", k.Topic, 249), checkText("kafka.key", k.Key, 0, 512), k.Auth.check("kafka.auth")}
	if len(k.Brokers) == 0 {
		faults = append(faults, Missing("kafka.brokers"))
	}
	if len(k.Brokers) > maxBrokers {
		faults = append(faults, Invalid("kafka.brokers", "must be at most %d, not %d", maxBrokers, len(k.Brokers)))
	}
	for _, b := range k.Brokers {
		faults = append(faults, checkHostPort("kafka.brokers", b))
	}
	if k.Auth.Type != "" {
		faults = append(faults, checkValue("kafka.auth.password", k.Auth.Password))
	}
	return JoinFaults(faults...)
}

func (q *SQSSink) check() error {
	if q == nil {
		return Missing("sqs")
	}
	faults := []error{
		checkName("sqs.queue_name", q.Queue, 80), checkName("sqs.default_region", q.Region, 64),
		checkText("sqs.message_group_id", q.GroupID, 0, 512), checkText("sqs.deduplication_id", q.DeduplicationID, 0, 512),
		checkText("sqs.access_key_id", q.AccessKeyID, 0, 128),
	}
	switch {
	case q.AccessKeyID != "" && q.SecretKey == "":
		faults = append(faults, Missing("sqs.secret_key"))
	case q.AccessKeyID == "" && (q.SecretKey != "" || q.Endpoint != ""):
		// The gateway's own role is for Amazon alone to see.
		faults = append(faults, Missing("sqs.access_key_id"))
	}
	if u, err := url.Parse(q.Endpoint); q.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		faults = append(faults, Invalid("sqs.endpoint", "must be an http or https URL"))
	}
	if !q.FIFO() && (q.GroupID != "" || q.DeduplicationID != "") {
		faults = append(faults, Invalid("sqs.message_group_id", "and deduplication_id are for a queue whose name ends in .fifo"))
	}
	return JoinFaults(faults...)
}

func (p *PubSubSink) check() error {
	if p == nil {
		return Missing("pubsub")
	}
	faults := []error{
		checkName("pubsub.project_id", p.ProjectID, 255), checkName("pubsub.topic_name", p.Topic, 255),
		checkText("pubsub.ordering_key", p.OrderingKey, 0, 512),
	}
	if p.Endpoint != "" {
		faults = append(faults, checkHostPort("pubsub.endpoint", p.Endpoint))
	}
	if p.ServiceAccount != "" && !isServiceAccount(p.ServiceAccount) {
		faults = append(faults, Invalid("pubsub.service_account", "must be the base64 of a service account's JSON, with its client_email and private_key"))
	}
	return JoinFaults(faults...)
}

// isServiceAccount takes a key of a service account alone: other kinds of
// Google's credentials name files, programs and URLs to be asked.
func isServiceAccount(s Sensitive) bool {
	var account struct {
		Type  string `json:"type"`
		Email string `json:"client_email"`
		Key   string `json:"private_key"`
	}
	raw, err := base64.StdEncoding.DecodeString(s.Reveal())
	return err == nil && json.Unmarshal(raw, &account) == nil && account.Type == "service_account" && account.Email != "" && account.Key != ""
}

func (a *AMQPSink) check() error {
	if a == nil {
		return Missing("amqp")
	}
	faults := []error{
		checkText("amqp.host", a.Host, 1, 255), checkText("amqp.vhost", a.VHost, 0, 255), checkText("amqp.exchange", a.Exchange, 0, 127),
		checkText("amqp.routing_key", a.RoutingKey, 0, 127), checkText("amqp.auth.user", a.Auth.User, 0, 255),
	}
	if a.Schema != "amqp" && a.Schema != "amqps" {
		faults = append(faults, Invalid("amqp.schema", "must be amqp or amqps, not %q", a.Schema))
	}
	if a.Port < 1 || a.Port > 65535 {
		faults = append(faults, Invalid("amqp.port", "must be between 1 and 65535, not %d", a.Port))
	}
	if a.Auth.User != "" {
		faults = append(faults, checkValue("amqp.auth.password", a.Auth.Password))
	}
	return JoinFaults(faults...)
}

// checkName takes what brokers name things with.
func checkName(field, name string, most int) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-~+%:"
	if strings.Trim(name, allowed) != "" {
		return Invalid(field, "must have letters, digits, dots, hyphens and underscores alone, not %q", name)
	}
	return checkText(field, name, 1, most)
}

func checkHostPort(field, address string) error {
	host, port, err := net.SplitHostPort(address)
	if n, bad := strconv.Atoi(port); err != nil || host == "" || bad != nil || n < 1 || n > 65535 {
		return Invalid(field, "must be an address like broker.example.com:9092, not %q", address)
	}
	return checkText(field, address, 1, 261)
}
