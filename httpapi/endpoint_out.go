package httpapi

import (
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// endpointOut is an endpoint as it is shown.
type endpointOut struct {
	UID                string                  `json:"uid"`
	ProjectID          string                  `json:"project_id"`
	Type               millrace.SinkKind       `json:"type"`
	Kafka              *kafkaSinkOut           `json:"kafka,omitempty"`
	SQS                *sqsSinkOut             `json:"sqs,omitempty"`
	PubSub             *pubSubSinkOut          `json:"pubsub,omitempty"`
	AMQP               *amqpSinkOut            `json:"amqp,omitempty"`
	URL                string                  `json:"url"`
	Name               string                  `json:"name"`
	Description        string                  `json:"description"`
	OwnerID            string                  `json:"owner_id"`
	Status             millrace.EndpointStatus `json:"status"`
	IsDisabled         bool                    `json:"is_disabled"`
	HTTPTimeout        seconds                 `json:"http_timeout"`
	HTTPMethod         string                  `json:"http_method"`
	RateLimit          int                     `json:"rate_limit"`
	RateLimitDuration  seconds                 `json:"rate_limit_duration"`
	ContentType        string                  `json:"content_type"`
	AdvancedSignatures bool                    `json:"advanced_signatures"`
	SignatureSchemes   []string                `json:"signature_schemes"`
	VerifyingKey       string                  `json:"verifying_key,omitempty"`
	Secrets            []secretOut             `json:"secrets"`
	SupportEmail       string                  `json:"support_email"`
	SlackWebhookURL    string                  `json:"slack_webhook_url"`
	Authentication     *authenticationOut      `json:"authentication"`
	ClientCert         *clientCertOut          `json:"mtls_client_cert"`
	CACert             string                  `json:"ca_cert"`
	Strategy           *strategyOut            `json:"strategy"`
	CreatedAt          time.Time               `json:"created_at"`
	UpdatedAt          time.Time               `json:"updated_at"`
}

type secretOut struct {
	UID       string     `json:"uid"`
	Value     string     `json:"value"`
	ExpiresAt *time.Time `json:"expires_at"`
	CreatedAt time.Time  `json:"created_at"`
}

type clientCertOut struct {
	Cert string `json:"client_cert"`
	Key  string `json:"client_key"`
}

// legacyEndpointOut is an endpoint as clients from before 2024-04-01 know it.
type legacyEndpointOut struct {
	endpointOut
	TargetURL         string `json:"target_url"`
	Title             string `json:"title"`
	HTTPTimeout       string `json:"http_timeout"`
	RateLimitDuration string `json:"rate_limit_duration"`
}

// shown is how much of an endpoint's secrets is shown.
type shown int

const (
	showMasked shown = iota
	showNewest       // the newest signing secret, which was just made
	showAll
)

// newEndpoint shows an endpoint in the shape that the client knows.
func (c *call) newEndpoint(e millrace.Endpoint, show shown) any {
	out := newEndpoint(e, show)
	if !c.legacy() {
		return out
	}
	return legacyEndpointOut{
		endpointOut: out, TargetURL: e.URL, Title: e.Name,
		HTTPTimeout: e.Timeout.String(), RateLimitDuration: e.RateLimitWindow.String(),
	}
}

func newEndpoint(e millrace.Endpoint, show shown) endpointOut {
	out := endpointOut{
		UID: e.ID.String(), ProjectID: e.ProjectID.String(), URL: e.URL, Name: e.Name, Description: e.Description, OwnerID: e.OwnerID,
		Status: e.Status, IsDisabled: e.Status == millrace.EndpointInactive, HTTPTimeout: seconds(e.Timeout), HTTPMethod: e.Method,
		RateLimit: e.RateLimit, RateLimitDuration: seconds(e.RateLimitWindow), ContentType: e.ContentType,
		AdvancedSignatures: e.AdvancedSignatures, SignatureSchemes: e.SignatureSchemes, VerifyingKey: e.VerifyingKey(),
		Secrets: make([]secretOut, len(e.Secrets)), SupportEmail: e.SupportEmail, SlackWebhookURL: e.SlackWebhookURL,
		Authentication: newAuthentication(e.Authentication, show), CACert: e.CACert, Strategy: newStrategy(e.Strategy),
		CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(),
	}
	sink := newSink(e.Sink, show)
	out.Type, out.Kafka, out.SQS, out.PubSub, out.AMQP = e.Kind, sink.Kafka, sink.SQS, sink.PubSub, sink.AMQP
	for i, secret := range e.Secrets {
		value := masked(secret.Value)
		if show == showAll || show == showNewest && i == len(e.Secrets)-1 {
			value = secret.Value.Reveal()
		}
		out.Secrets[i] = secretOut{UID: secret.ID.String(), Value: value, ExpiresAt: orNull(secret.ExpiresAt), CreatedAt: secret.CreatedAt.UTC()}
	}
	if e.ClientCert != nil {
		out.ClientCert = &clientCertOut{Cert: e.ClientCert.Cert, Key: show.credential(e.ClientCert.Key)}
	}
	return out
}

// credential is what is shown of what proves us to the endpoint.
func (show shown) credential(s millrace.Sensitive) string {
	if show == showAll {
		return s.Reveal()
	}
	return masked(s)
}

func endpointID(e millrace.Endpoint) millrace.ID { return e.ID }

// endpointBrief is an endpoint as it is shown inside what belongs to it.
type endpointBrief struct {
	UID       string                  `json:"uid"`
	ProjectID string                  `json:"project_id"`
	Name      string                  `json:"name"`
	Type      millrace.SinkKind       `json:"type"`
	URL       string                  `json:"url"`
	OwnerID   string                  `json:"owner_id"`
	Status    millrace.EndpointStatus `json:"status"`
}

// legacyEndpointBrief is the same for clients from before 2024-04-01.
type legacyEndpointBrief struct {
	endpointBrief
	TargetURL string `json:"target_url"`
	Title     string `json:"title"`
}

// newEndpointBrief shows nothing where the endpoint is gone.
func (c *call) newEndpointBrief(e millrace.Endpoint, known bool) any {
	if !known {
		return nil
	}
	brief := endpointBrief{UID: e.ID.String(), ProjectID: e.ProjectID.String(), Name: e.Name, Type: e.Kind, URL: e.URL, OwnerID: e.OwnerID, Status: e.Status}
	if c.legacy() {
		return legacyEndpointBrief{endpointBrief: brief, TargetURL: e.URL, Title: e.Name}
	}
	return brief
}
