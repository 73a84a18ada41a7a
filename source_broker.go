package millrace

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// PubSub is a broker's topic, queue or subscription. Which one is set, Kind
// says.
type PubSub struct {
	Kind BrokerKind `json:"type"`
	// Workers is how many messages each agent has in flight, at most; 0: as
	// many as is good for the broker.
	Workers int `json:"workers"`
	// Raw takes the messages themselves as data, for topics that were not
	// made for the gateway; type and key are found by the source's locations.
	Raw bool `json:"raw"`
	// Ack is when a message is acknowledged to the broker: persisted, the
	// default, or queued.
	Ack    AckLevel      `json:"ack"`
	Kafka  *KafkaSource  `json:"kafka,omitempty"`
	SQS    *SQSSource    `json:"sqs,omitempty"`
	Google *GoogleSource `json:"google,omitempty"`
	AMQP   *AMQPSource   `json:"amqp,omitempty"`
}

// BrokerKind is a kind of broker, from a closed list in Convoy's words.
type BrokerKind string

// The closed list of brokers.
const (
	BrokerKafka  BrokerKind = "kafka"
	BrokerSQS    BrokerKind = "sqs"
	BrokerGoogle BrokerKind = "google"
	BrokerAMQP   BrokerKind = "amqp"
)

// KafkaSource is a topic of Kafka, read by a consumer group.
type KafkaSource struct {
	Brokers []string   `json:"brokers"`
	GroupID string     `json:"consumer_group_id"`
	Topic   string     `json:"topic_name"`
	Auth    *KafkaAuth `json:"auth,omitempty"`
}

// KafkaAuth is how Kafka is reached: SASL (none, plain or scram) and TLS.
type KafkaAuth struct {
	Type     string    `json:"type"` // "", plain or scram
	Hash     string    `json:"hash"` // of scram: SHA256 or SHA512
	Username string    `json:"username"`
	Password Sensitive `json:"password"`
	TLS      bool      `json:"tls"`
}

// SQSSource is a queue of Amazon SQS. Without a key, the SDK's default chain
// finds a role.
type SQSSource struct {
	AccessKeyID string    `json:"access_key_id"`
	SecretKey   Sensitive `json:"secret_key"`
	Region      string    `json:"default_region"`
	Queue       string    `json:"queue_name"`
	// Endpoint stands in the place of Amazon's: a URL.
	Endpoint string `json:"endpoint"`
}

// GoogleSource is a subscription of Google Cloud Pub/Sub. Without a service
// account, the default credentials are used. Where the environment names an
// emulator (PUBSUB_EMULATOR_HOST), or Endpoint does, that is dialled instead,
// in plain text.
type GoogleSource struct {
	ProjectID      string    `json:"project_id"`
	SubscriptionID string    `json:"subscription_id"`
	ServiceAccount Sensitive `json:"service_account"` // base64 of its JSON
	Endpoint       string    `json:"endpoint"`        // an emulator's host:port
}

// AMQPSource is a queue of an AMQP 0.9.1 broker such as RabbitMQ.
type AMQPSource struct {
	Schema string       `json:"schema"` // amqp or amqps
	Host   string       `json:"host"`
	Port   int          `json:"port"`
	Auth   *BasicSecret `json:"auth,omitempty"`
	Queue  string       `json:"queue"`
	VHost  string       `json:"vhost"`
	// Bind binds the queue to an exchange.
	Bind *AMQPBinding `json:"bindExchange,omitempty"`
	// DeadLetterExchange is given to a queue that is declared here.
	DeadLetterExchange string `json:"deadLetterExchange"`
}

// BasicSecret is a user and a password.
type BasicSecret struct {
	User     string    `json:"user"`
	Password Sensitive `json:"password"`
}

// AMQPBinding binds a queue to an exchange.
type AMQPBinding struct {
	Exchange   string `json:"exchange"`
	RoutingKey string `json:"routingKey"`
}

// Origin names what a broker's messages come from: the topic, queue or
// subscription, and where that is. Another origin's coordinates are other
// messages. How it is reached (credentials, consumer group, schema) is not
// part of it. It is empty where there is no broker.
func (p *PubSub) Origin() string {
	var parts []any
	switch {
	case p == nil:
		return ""
	case p.Kafka != nil && p.Kind == BrokerKafka:
		parts = []any{strings.Join(slices.Sorted(slices.Values(p.Kafka.Brokers)), ","), p.Kafka.Topic}
	case p.SQS != nil && p.Kind == BrokerSQS:
		parts = []any{p.SQS.Region, p.SQS.Endpoint, p.SQS.Queue}
	case p.Google != nil && p.Kind == BrokerGoogle:
		parts = []any{p.Google.Endpoint, p.Google.ProjectID, p.Google.SubscriptionID}
	case p.AMQP != nil && p.Kind == BrokerAMQP:
		parts = []any{p.AMQP.Host, p.AMQP.Port, p.AMQP.VHost, p.AMQP.Queue}
	}
	origin := string(p.Kind)
	for _, part := range parts {
		origin += fmt.Sprintf(" %q", fmt.Sprint(part))
	}
	return origin
}

// Destination is where a source connects to, as its owner gave it.
type Destination struct {
	// Field is the name that the API has for it.
	Field string
	// URL tells whether Address is a URL, or host:port.
	URL     bool
	Address string
}

// Destinations are the addresses that a broker's source gives, for a policy to
// judge. Amazon and Google where they are by themselves are not among them.
func (p *PubSub) Destinations() []Destination {
	var to []Destination
	switch {
	case p == nil:
	case p.Kafka != nil && p.Kind == BrokerKafka:
		for _, b := range p.Kafka.Brokers {
			to = append(to, Destination{Field: "pub_sub.kafka.brokers", Address: b})
		}
	case p.SQS != nil && p.Kind == BrokerSQS && p.SQS.Endpoint != "":
		to = append(to, Destination{Field: "pub_sub.sqs.endpoint", URL: true, Address: p.SQS.Endpoint})
	case p.Google != nil && p.Kind == BrokerGoogle && p.Google.Endpoint != "":
		to = append(to, Destination{Field: "pub_sub.google.endpoint", Address: p.Google.Endpoint})
	case p.AMQP != nil && p.Kind == BrokerAMQP:
		to = append(to, Destination{Field: "pub_sub.amqp.host", Address: p.AMQP.HostPort()})
	}
	return to
}

// HostPort is what is dialled.
func (a AMQPSource) HostPort() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

func (p *PubSub) secrets(into map[string]*Sensitive) {
	if p.Kafka != nil && p.Kafka.Auth != nil {
		into["pub_sub.kafka.auth.password"] = &p.Kafka.Auth.Password
	}
	if p.SQS != nil {
		into["pub_sub.sqs.secret_key"] = &p.SQS.SecretKey
	}
	if p.Google != nil {
		into["pub_sub.google.service_account"] = &p.Google.ServiceAccount
	}
	if p.AMQP != nil && p.AMQP.Auth != nil {
		into["pub_sub.amqp.auth.password"] = &p.AMQP.Auth.Password
	}
}

// MaxWorkers bounds the messages that a source has in flight.
const MaxWorkers = 10_000

func (p *PubSub) check() error {
	var faults []error
	if p.Workers < 0 || p.Workers > MaxWorkers {
		faults = append(faults, Invalid("pub_sub.workers", "must be between 0 (as many as is good) and %d, not %d", MaxWorkers, p.Workers))
	}
	if !p.Ack.Valid() {
		faults = append(faults, Invalid("pub_sub.ack", "must be queued or persisted, not %q", p.Ack))
	}
	switch p.Kind {
	case BrokerKafka:
		faults = append(faults, p.Kafka.check())
	case BrokerSQS:
		faults = append(faults, p.SQS.check())
	case BrokerGoogle:
		faults = append(faults, p.Google.check())
	case BrokerAMQP:
		faults = append(faults, p.AMQP.check())
	default:
		faults = append(faults, Invalid("pub_sub.type", "must be kafka, sqs, google or amqp, not %q", p.Kind))
	}
	return JoinFaults(faults...)
}

func (k *KafkaSource) check() error {
	if k == nil {
		return Missing("pub_sub.kafka")
	}
	faults := []error{
		checkText("pub_sub.kafka.topic_name", k.Topic, 1, 249), checkText("pub_sub.kafka.consumer_group_id", k.GroupID, 1, 255),
		checkBrokers("pub_sub.kafka.brokers", k.Brokers),
	}
	if k.Auth != nil {
		faults = append(faults, k.Auth.check("pub_sub.kafka.auth"))
	}
	return JoinFaults(faults...)
}

// maxBrokers bounds the addresses of a Kafka cluster that are given: a client
// asks one of them for all others.
const maxBrokers = 20

// checkBrokers takes a list of host:port.
func checkBrokers(field string, brokers []string) error {
	if len(brokers) == 0 {
		return Missing(field)
	}
	if len(brokers) > maxBrokers {
		return Invalid(field, "must be at most %d, not %d", maxBrokers, len(brokers))
	}
	var faults []error
	for _, b := range brokers {
		faults = append(faults, checkHostPort(field, b))
	}
	return JoinFaults(faults...)
}

func (a *KafkaAuth) check(field string) error {
	switch {
	case a.Type == "":
		return nil
	case a.Type != "plain" && a.Type != "scram":
		return Invalid(field+".type", "must be plain or scram, not %q", a.Type)
	case a.Type == "scram" && a.Hash != "SHA256" && a.Hash != "SHA512":
		return Invalid(field+".hash", "must be SHA256 or SHA512, not %q", a.Hash)
	case a.Username == "":
		return Missing(field + ".username")
	}
	return nil
}

func (q *SQSSource) check() error {
	if q == nil {
		return Missing("pub_sub.sqs")
	}
	// The region is part of the host that is asked.
	faults := []error{checkText("pub_sub.sqs.queue_name", q.Queue, 1, 80), checkName("pub_sub.sqs.default_region", q.Region, 64)}
	switch {
	case q.AccessKeyID != "" && q.SecretKey == "":
		faults = append(faults, Missing("pub_sub.sqs.secret_key"))
	case q.AccessKeyID == "" && (q.SecretKey != "" || q.Endpoint != ""):
		// The gateway's own role is for Amazon alone to see.
		faults = append(faults, Missing("pub_sub.sqs.access_key_id"))
	}
	if q.Endpoint != "" && !strings.HasPrefix(q.Endpoint, "http://") && !strings.HasPrefix(q.Endpoint, "https://") {
		faults = append(faults, Invalid("pub_sub.sqs.endpoint", "must begin with http:// or https://, not %q", q.Endpoint))
	}
	return JoinFaults(faults...)
}

func (g *GoogleSource) check() error {
	if g == nil {
		return Missing("pub_sub.google")
	}
	faults := []error{
		checkText("pub_sub.google.project_id", g.ProjectID, 1, 255), checkText("pub_sub.google.subscription_id", g.SubscriptionID, 1, 255),
	}
	if g.Endpoint != "" {
		faults = append(faults, checkHostPort("pub_sub.google.endpoint", g.Endpoint))
	}
	if g.ServiceAccount != "" {
		account, err := base64.StdEncoding.DecodeString(string(g.ServiceAccount))
		if err != nil || !json.Valid(account) {
			faults = append(faults, Invalid("pub_sub.google.service_account", "must be the base64 of a service account's JSON"))
		}
	}
	return JoinFaults(faults...)
}

func (a *AMQPSource) check() error {
	if a == nil {
		return Missing("pub_sub.amqp")
	}
	faults := []error{
		checkText("pub_sub.amqp.host", a.Host, 1, 255), checkText("pub_sub.amqp.queue", a.Queue, 1, 255),
		checkAMQP("pub_sub.amqp", a.Schema, a.Port),
	}
	if a.Bind != nil && a.Bind.Exchange == "" {
		faults = append(faults, Missing("pub_sub.amqp.bindExchange.exchange"))
	}
	return JoinFaults(faults...)
}
