package httpapi

import (
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// sourceOut is a source as it is shown.
type sourceOut struct {
	UID               string                  `json:"uid"`
	ProjectID         string                  `json:"project_id"`
	MaskID            string                  `json:"mask_id"`
	URL               string                  `json:"url"`
	Name              string                  `json:"name"`
	Type              millrace.SourceType     `json:"type"`
	Provider          millrace.Provider       `json:"provider"`
	IsDisabled        bool                    `json:"is_disabled"`
	Verifier          verifierOut             `json:"verifier"`
	PubSub            *pubSubOut              `json:"pub_sub"`
	IdempotencyKeys   []millrace.Location     `json:"idempotency_keys"`
	EventTypeLocation millrace.Location       `json:"event_type_location"`
	CustomResponse    millrace.CustomResponse `json:"custom_response"`
	ForwardHeaders    []string                `json:"forward_headers"`
	State             millrace.SourceHealth   `json:"state"`
	Error             string                  `json:"error"`
	Lag               *int64                  `json:"lag"`
	CreatedAt         time.Time               `json:"created_at"`
	UpdatedAt         time.Time               `json:"updated_at"`
}

// verifierOut is how webhooks are verified: of secrets no more than the last
// characters.
type verifierOut struct {
	Type   millrace.VerifierType `json:"type"`
	HMAC   *hmacOut              `json:"hmac"`
	Basic  *basicAuthOut         `json:"basic_auth"`
	APIKey *apiKeyAuthOut        `json:"api_key"`
}

type hmacOut struct {
	Header   string `json:"header"`
	Hash     string `json:"hash"`
	Secret   string `json:"secret"`
	Encoding string `json:"encoding"`
}

// pubSubOut is a broker as it is shown.
type pubSubOut struct {
	Type    millrace.BrokerKind `json:"type"`
	Workers int                 `json:"workers"`
	Raw     bool                `json:"raw"`
	Ack     millrace.AckLevel   `json:"ack"`
	Kafka   *kafkaOut           `json:"kafka"`
	SQS     *sqsOut             `json:"sqs"`
	Google  *googleOut          `json:"google"`
	AMQP    *amqpOut            `json:"amqp"`
}

type kafkaOut struct {
	Brokers []string      `json:"brokers"`
	GroupID string        `json:"consumer_group_id"`
	Topic   string        `json:"topic_name"`
	Auth    *kafkaAuthOut `json:"auth"`
}

type kafkaAuthOut struct {
	Type     string `json:"type"`
	Hash     string `json:"hash"`
	Username string `json:"username"`
	Password string `json:"password"`
	TLS      bool   `json:"tls"`
}

type sqsOut struct {
	AccessKeyID string `json:"access_key_id"`
	SecretKey   string `json:"secret_key"`
	Region      string `json:"default_region"`
	Queue       string `json:"queue_name"`
	Endpoint    string `json:"endpoint"`
}

type googleOut struct {
	ProjectID      string `json:"project_id"`
	SubscriptionID string `json:"subscription_id"`
	ServiceAccount string `json:"service_account"`
	Endpoint       string `json:"endpoint"`
}

type amqpOut struct {
	Schema             string                `json:"schema"`
	Host               string                `json:"host"`
	Port               int                   `json:"port"`
	Auth               *amqpAuthOut          `json:"auth"`
	Queue              string                `json:"queue"`
	VHost              string                `json:"vhost"`
	Bind               *millrace.AMQPBinding `json:"bindExchange"`
	DeadLetterExchange string                `json:"deadLetterExchange"`
}

type amqpAuthOut struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

func sourceID(s millrace.Source) millrace.ID { return s.ID }

func (c *call) newSource(s millrace.Source, state millrace.SourceState, show shown) sourceOut {
	out := sourceOut{
		UID: s.ID.String(), ProjectID: s.ProjectID.String(), MaskID: s.MaskID, Name: s.Name, Type: s.Type, Provider: s.Provider, IsDisabled: s.Disabled,
		Verifier: newVerifier(s.Verifier, show), PubSub: newPubSub(s.PubSub, show), IdempotencyKeys: orNone(s.IdempotencyKeys),
		EventTypeLocation: s.EventTypeLocation, CustomResponse: s.CustomResponse, ForwardHeaders: orNone(s.ForwardHeaders),
		State: state.Health, Error: state.Error, CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(),
	}
	if s.Inbound() {
		out.URL = c.base() + "/ingest/" + s.MaskID
	}
	switch {
	case s.Disabled:
		out.State, out.Error = millrace.SourceDisabled, ""
	case s.Inbound():
		out.State = millrace.SourceHealthy
	case state.Health == "":
		out.State = millrace.SourceConnecting // no agent has told of it yet
	case state.Lag >= 0:
		out.Lag = &state.Lag
	}
	return out
}

// base is where the client reaches this server, as far as the request tells. A
// proxy that ends TLS says so by X-Forwarded-Proto.
func (c *call) base() string {
	scheme := "http"
	if c.r.TLS != nil || c.r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host
}

// orNone shows an empty list where there is none.
func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func newVerifier(v millrace.Verifier, show shown) verifierOut {
	out := verifierOut{Type: v.Type}
	if h := v.HMAC; h != nil {
		out.HMAC = &hmacOut{Header: h.Header, Hash: h.Hash, Secret: show.credential(h.Secret), Encoding: h.Encoding}
	}
	if b := v.Basic; b != nil {
		out.Basic = &basicAuthOut{Username: b.Username, Password: show.credential(b.Password)}
	}
	if k := v.APIKey; k != nil {
		out.APIKey = &apiKeyAuthOut{Header: k.Header, Value: show.credential(k.Value)}
	}
	return out
}

func newPubSub(p *millrace.PubSub, show shown) *pubSubOut {
	if p == nil {
		return nil
	}
	out := &pubSubOut{Type: p.Kind, Workers: p.Workers, Raw: p.Raw, Ack: p.Ack}
	if out.Ack == millrace.AckDefault {
		out.Ack = millrace.AckPersisted
	}
	if k := p.Kafka; k != nil {
		out.Kafka = &kafkaOut{Brokers: k.Brokers, GroupID: k.GroupID, Topic: k.Topic}
		if a := k.Auth; a != nil {
			out.Kafka.Auth = &kafkaAuthOut{Type: a.Type, Hash: a.Hash, Username: a.Username, Password: show.credential(a.Password), TLS: a.TLS}
		}
	}
	if q := p.SQS; q != nil {
		out.SQS = &sqsOut{AccessKeyID: q.AccessKeyID, SecretKey: show.credential(q.SecretKey), Region: q.Region, Queue: q.Queue, Endpoint: q.Endpoint}
	}
	if g := p.Google; g != nil {
		out.Google = &googleOut{ProjectID: g.ProjectID, SubscriptionID: g.SubscriptionID, ServiceAccount: show.credential(g.ServiceAccount), Endpoint: g.Endpoint}
	}
	if p.AMQP != nil {
		out.AMQP = newAMQP(*p.AMQP, show)
	}
	return out
}

func newAMQP(a millrace.AMQPSource, show shown) *amqpOut {
	out := &amqpOut{Schema: a.Schema, Host: a.Host, Port: a.Port, Queue: a.Queue, VHost: a.VHost, Bind: a.Bind, DeadLetterExchange: a.DeadLetterExchange}
	if a.Auth != nil {
		out.Auth = &amqpAuthOut{User: a.Auth.User, Password: show.credential(a.Auth.Password)}
	}
	return out
}

// sourceBrief is a source as it is shown inside what belongs to it.
type sourceBrief struct {
	UID        string              `json:"uid"`
	ProjectID  string              `json:"project_id"`
	MaskID     string              `json:"mask_id"`
	Name       string              `json:"name"`
	Type       millrace.SourceType `json:"type"`
	Provider   millrace.Provider   `json:"provider"`
	IsDisabled bool                `json:"is_disabled"`
}

// newSourceBrief shows nothing where there is none, or it is gone.
func newSourceBrief(s millrace.Source, known bool) *sourceBrief {
	if !known {
		return nil
	}
	return &sourceBrief{
		UID: s.ID.String(), ProjectID: s.ProjectID.String(), MaskID: s.MaskID, Name: s.Name, Type: s.Type, Provider: s.Provider, IsDisabled: s.Disabled,
	}
}
