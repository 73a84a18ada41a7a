package httpapi

import (
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// endpointIn is an endpoint as it is sent.
type endpointIn struct {
	// Type is what the endpoint is; of what follows, the object of its type is
	// given, or for a webhook the URL.
	Type               member[millrace.SinkKind]    `json:"type"`
	Kafka              overlay[millrace.KafkaSink]  `json:"kafka"`
	SQS                overlay[millrace.SQSSink]    `json:"sqs"`
	PubSub             overlay[millrace.PubSubSink] `json:"pubsub"`
	AMQP               overlay[millrace.AMQPSink]   `json:"amqp"`
	URL                member[string]               `json:"url"`
	Name               member[string]               `json:"name"`
	TargetURL          member[string]               `json:"target_url"`
	Title              member[string]               `json:"title"`
	Description        member[string]               `json:"description"`
	Secret             sensitive                    `json:"secret"`
	OwnerID            member[string]               `json:"owner_id"`
	HTTPTimeout        member[seconds]              `json:"http_timeout"`
	HTTPMethod         member[string]               `json:"http_method"`
	RateLimit          member[int]                  `json:"rate_limit"`
	RateLimitDuration  member[seconds]              `json:"rate_limit_duration"`
	ContentType        member[string]               `json:"content_type"`
	AdvancedSignatures member[bool]                 `json:"advanced_signatures"`
	SignatureSchemes   member[[]string]             `json:"signature_schemes"`
	IsDisabled         member[bool]                 `json:"is_disabled"`
	SupportEmail       member[string]               `json:"support_email"`
	SlackWebhookURL    member[string]               `json:"slack_webhook_url"`
	Authentication     member[authenticationIn]     `json:"authentication"`
	ClientCert         member[clientCertIn]         `json:"mtls_client_cert"`
	CACert             member[string]               `json:"ca_cert"`
	Strategy           member[strategyIn]           `json:"strategy"`
}

type clientCertIn struct {
	Cert member[string] `json:"client_cert"`
	Key  sensitive      `json:"client_key"`
}

// modernize takes the names that older clients send.
func (in *endpointIn) modernize() {
	if !in.URL.given {
		in.URL = in.TargetURL
	}
	if !in.Name.given {
		in.Name = in.Title
	}
}

// into lays what is sent over an endpoint and judges the whole.
func (in endpointIn) into(e *millrace.Endpoint) error {
	shown := e.URL
	strangers := in.sink(e)
	in.Name.into(&e.Name)
	in.Description.into(&e.Description)
	in.OwnerID.into(&e.OwnerID)
	in.HTTPMethod.into(&e.Method)
	in.RateLimit.into(&e.RateLimit)
	in.ContentType.into(&e.ContentType)
	in.AdvancedSignatures.into(&e.AdvancedSignatures)
	in.SignatureSchemes.into(&e.SignatureSchemes)
	in.SupportEmail.into(&e.SupportEmail)
	in.SlackWebhookURL.into(&e.SlackWebhookURL)
	in.CACert.into(&e.CACert)
	if in.HTTPTimeout.given && in.HTTPTimeout.value != 0 { // zero is the default, as in Convoy
		e.Timeout = time.Duration(in.HTTPTimeout.value)
	}
	if in.RateLimitDuration.given {
		e.RateLimitWindow = time.Duration(in.RateLimitDuration.value)
	}
	if in.changesSecret(e) {
		e.Secrets = []millrace.Secret{{Value: in.Secret.value}}
	}
	in.parts(e)
	*e = e.WithDefaults()
	return millrace.JoinFaults(strangers, in.address(e, shown), e.Validate())
}

// address takes the URL of a webhook. A broker's is made of what it is given:
// one that a client only read and sends back is let pass.
func (in endpointIn) address(e *millrace.Endpoint, shown string) error {
	if e.Kind == millrace.SinkWebhook {
		in.URL.into(&e.URL)
		return nil
	}
	if in.URL.given && in.URL.value != shown && in.URL.value != e.URL {
		return millrace.Invalid("url", "is not for an endpoint of type %s: it is made of the object %s", e.Kind, e.Kind)
	}
	return nil
}

// parts lays over the members that are objects of their own.
func (in endpointIn) parts(e *millrace.Endpoint) {
	if in.IsDisabled.given {
		e.Status = enabled(e.Status, !in.IsDisabled.value)
	}
	if in.Authentication.given {
		in.Authentication.value.into(&e.Authentication)
	}
	if in.ClientCert.given {
		var next millrace.ClientCert
		if e.ClientCert != nil {
			next = *e.ClientCert
		}
		in.ClientCert.value.Cert.into(&next.Cert)
		setSecret(in.ClientCert.value.Key, &next.Key)
		e.ClientCert = &next
	}
	if in.Strategy.given {
		in.Strategy.value.into(&e.Strategy)
	}
}

// enabled is the status after switching: one that is paused stays so.
func enabled(now millrace.EndpointStatus, on bool) millrace.EndpointStatus {
	switch {
	case !on:
		return millrace.EndpointInactive
	case now == millrace.EndpointInactive:
		return millrace.EndpointActive
	}
	return now
}

// changesSecret tells whether the secret sent is another than the newest one,
// or than what was shown of that.
func (in endpointIn) changesSecret(e *millrace.Endpoint) bool {
	if !in.Secret.given || len(e.Secrets) == 0 {
		return in.Secret.given
	}
	newest := e.Secrets[len(e.Secrets)-1].Value
	return in.Secret.value != newest && in.Secret.value.Reveal() != masked(newest)
}
