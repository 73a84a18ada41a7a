package millrace

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/url"
	"strconv"
	"strings"
)

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

func (k *KafkaSink) check() error {
	if k == nil {
		return Missing("kafka")
	}
	faults := []error{checkName("kafka.topic_name", k.Topic, 249), checkText("kafka.key", k.Key, 0, 512), k.Auth.check("kafka.auth")}
	faults = append(faults, checkBrokers("kafka.brokers", k.Brokers))
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
	faults = append(faults, checkAMQP("amqp", a.Schema, a.Port))
	if a.Auth.User != "" {
		faults = append(faults, checkValue("amqp.auth.password", a.Auth.Password))
	}
	return JoinFaults(faults...)
}

// checkAMQP judges where an AMQP broker is said to be, in the object of this
// name.
func checkAMQP(object, schema string, port int) error {
	var faults []error
	if schema != "amqp" && schema != "amqps" {
		faults = append(faults, Invalid(object+".schema", "must be amqp or amqps, not %q", schema))
	}
	if port < 1 || port > 65535 {
		faults = append(faults, Invalid(object+".port", "must be between 1 and 65535, not %d", port))
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
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
		return Invalid(field, "must be an address like broker.example.com:9092, not %q", address)
	}
	return checkText(field, address, 1, 261)
}
