package httpapi

import (
	"encoding/json"

	millrace "github.com/millrace-dev/millrace"
)

// overlay is an object of a request that is laid over what is there, member by
// member. As everywhere, null and "" mean absent.
type overlay[T any] struct{ raw json.RawMessage }

// UnmarshalJSON reads the object, unless there is none.
func (o *overlay[T]) UnmarshalJSON(b []byte) error {
	if isAbsent(b) {
		return nil
	}
	var given object
	if err := json.Unmarshal(b, &given); err != nil {
		return err
	}
	o.raw = given.over(nil)
	return json.Unmarshal(o.raw, new(T)) // so that what does not fit is refused now
}

func (o overlay[T]) given() bool { return o.raw != nil }

// into lays the object over what is there.
func (o overlay[T]) into(to **T) {
	if !o.given() {
		return
	}
	next := orNew(*to)
	if json.Unmarshal(o.raw, &next) == nil { // it was read before: it fits
		*to = &next
	}
}

// sink lays the broker over an endpoint's.
func (in endpointIn) sink(e *millrace.Endpoint) error {
	if in.Type.given && in.Type.value != e.Kind {
		turn(e, in.Type.value)
	}
	secret := e.Sink.Secret()
	next := e.Sink.WithSecret("") // a copy: a change that fails leaves the old one alone
	in.Kafka.into(&next.Kafka)
	in.SQS.into(&next.SQS)
	in.PubSub.into(&next.PubSub)
	in.AMQP.into(&next.AMQP)
	e.Sink = next.Of(e.Kind)
	if given := e.Sink.Secret(); given == "" || given.Reveal() == masked(secret) {
		e.Sink = e.Sink.WithSecret(secret)
	}
	return in.strangers(e.Kind)
}

// turn makes another kind of endpoint of one: it forgets what only the old
// kind had.
func turn(e *millrace.Endpoint, kind millrace.SinkKind) {
	e.Kind, e.Sink, e.URL = kind, millrace.Sink{}, ""
	if kind != millrace.SinkWebhook {
		plain := millrace.DefaultEndpoint()
		e.Authentication, e.Method, e.ContentType = nil, plain.Method, plain.ContentType
	}
}

// strangers refuses the objects of other types.
func (in endpointIn) strangers(kind millrace.SinkKind) error {
	var faults []error
	for of, given := range map[millrace.SinkKind]bool{
		millrace.SinkKafka: in.Kafka.given(), millrace.SinkSQS: in.SQS.given(), millrace.SinkPubSub: in.PubSub.given(), millrace.SinkAMQP: in.AMQP.given(),
	} {
		if given && of != kind {
			faults = append(faults, millrace.Invalid(string(of), "is not for an endpoint of type %s", kind))
		}
	}
	return millrace.JoinFaults(faults...)
}

// checkSink asks the egress policy about a broker's addresses, which are kept
// in the form that was judged.
func (s *Server) checkSink(sink *millrace.Sink) error {
	var faults []error
	if k := sink.Kafka; k != nil {
		for i := range k.Brokers {
			faults = append(faults, s.checkAddress("kafka.brokers", &k.Brokers[i]))
		}
	}
	if q := sink.SQS; q != nil && q.Endpoint != "" {
		endpoint := member[string]{value: q.Endpoint, given: true}
		faults = append(faults, s.checkURL("sqs.endpoint", &endpoint))
		q.Endpoint = endpoint.value
	}
	if p := sink.PubSub; p != nil && p.Endpoint != "" {
		faults = append(faults, s.checkAddress("pubsub.endpoint", &p.Endpoint))
	}
	if a := sink.AMQP; a != nil {
		address := a.HostPort()
		faults = append(faults, s.checkAddress("amqp.host", &address))
	}
	return millrace.JoinFaults(faults...)
}

func (s *Server) checkAddress(field string, address *string) error {
	judged, err := s.deps.CheckAddress(*address)
	if err != nil {
		return refusedAddress(field, err)
	}
	*address = judged
	return nil
}

// sinkOut is the broker that an endpoint is, as it is shown: of its secret no
// more than the last characters.
type sinkOut struct {
	Kafka  *kafkaSinkOut
	SQS    *sqsSinkOut
	PubSub *pubSubSinkOut
	AMQP   *amqpSinkOut
}

type kafkaSinkOut struct {
	Brokers []string      `json:"brokers"`
	Topic   string        `json:"topic_name"`
	Key     string        `json:"key"`
	Auth    *kafkaAuthOut `json:"auth"`
}

type sqsSinkOut struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretKey       string `json:"secret_key"`
	Region          string `json:"default_region"`
	Queue           string `json:"queue_name"`
	Endpoint        string `json:"endpoint"`
	GroupID         string `json:"message_group_id"`
	DeduplicationID string `json:"deduplication_id"`
}

type pubSubSinkOut struct {
	ProjectID      string `json:"project_id"`
	Topic          string `json:"topic_name"`
	ServiceAccount string `json:"service_account"`
	Endpoint       string `json:"endpoint"`
	OrderingKey    string `json:"ordering_key"`
}

type amqpSinkOut struct {
	Schema     string       `json:"schema"`
	Host       string       `json:"host"`
	Port       int          `json:"port"`
	Auth       *amqpAuthOut `json:"auth"`
	VHost      string       `json:"vhost"`
	Exchange   string       `json:"exchange"`
	RoutingKey string       `json:"routing_key"`
}

func newSink(s millrace.Sink, show shown) (out sinkOut) {
	secret := show.credential(s.Secret())
	if k := s.Kafka; k != nil {
		out.Kafka = &kafkaSinkOut{Brokers: k.Brokers, Topic: k.Topic, Key: k.Key}
		if k.Auth != (millrace.KafkaAuth{}) {
			out.Kafka.Auth = &kafkaAuthOut{Type: k.Auth.Type, Hash: k.Auth.Hash, Username: k.Auth.Username, Password: secret, TLS: k.Auth.TLS}
		}
	}
	if q := s.SQS; q != nil {
		out.SQS = &sqsSinkOut{
			AccessKeyID: q.AccessKeyID, SecretKey: secret, Region: q.Region, Queue: q.Queue, Endpoint: q.Endpoint,
			GroupID: q.GroupID, DeduplicationID: q.DeduplicationID,
		}
	}
	if p := s.PubSub; p != nil {
		out.PubSub = &pubSubSinkOut{ProjectID: p.ProjectID, Topic: p.Topic, ServiceAccount: secret, Endpoint: p.Endpoint, OrderingKey: p.OrderingKey}
	}
	if a := s.AMQP; a != nil {
		out.AMQP = &amqpSinkOut{Schema: a.Schema, Host: a.Host, Port: a.Port, VHost: a.VHost, Exchange: a.Exchange, RoutingKey: a.RoutingKey}
		if a.Auth.User != "" {
			out.AMQP.Auth = &amqpAuthOut{User: a.Auth.User, Password: secret}
		}
	}
	return out
}
