package millrace

import (
	"slices"
	"strings"
	"time"
)

// Source is where events come in from, beside the calls of the API: an
// inbound webhook, or a broker's topic, queue or subscription.
type Source struct {
	ID        ID
	ProjectID ID
	Name      string
	Type      SourceType
	// MaskID names the source in its ingest URL, /ingest/{maskID}, and is the
	// type of its events where nothing says another.
	MaskID string
	// Provider knows how the senders it names sign; empty: Verifier says.
	Provider Provider
	Verifier Verifier
	// PubSub is the broker; nil for a source that is called.
	PubSub *PubSub
	// EventTypeLocation is where the type of an event stands; empty: where
	// the provider puts it, or nowhere.
	EventTypeLocation Location
	// IdempotencyKeys are where the parts of an event's key stand; none: it
	// has no key.
	IdempotencyKeys []Location
	// ForwardHeaders are the headers of a request or message that its event
	// keeps, and each delivery carries.
	ForwardHeaders []string
	// CustomResponse is what a sender of a webhook is answered.
	CustomResponse CustomResponse
	Disabled       bool
	// Revision counts the changes of what PubSub connects to. It is part of
	// the broker's coordinates: another topic's offsets are other messages.
	Revision int
	// Version counts all changes.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// SourceType is how a source is fed, from a closed list in Convoy's words.
type SourceType string

// The closed list of source types. rest_api is http by another name.
const (
	SourceHTTP    SourceType = "http"
	SourceRESTAPI SourceType = "rest_api"
	SourcePubSub  SourceType = "pub_sub"
)

// Provider is a sender of webhooks whose way of signing is known.
type Provider string

// The closed list of providers.
const (
	ProviderNone             Provider = ""
	ProviderGitHub           Provider = "github"
	ProviderShopify          Provider = "shopify"
	ProviderTwitter          Provider = "twitter"
	ProviderStripe           Provider = "stripe"
	ProviderSlack            Provider = "slack"
	ProviderStandardWebhooks Provider = "standard_webhooks"
)

var providers = []Provider{
	ProviderNone, ProviderGitHub, ProviderShopify, ProviderTwitter, ProviderStripe, ProviderSlack, ProviderStandardWebhooks,
}

// CustomResponse is the answer to a webhook that was taken in; an empty body:
// the gateway's own.
type CustomResponse struct {
	Body        string `json:"body"`
	ContentType string `json:"content_type"`
}

// HeaderCameAs is the header of an event whose payload is no JSON: the content
// type that it came in with, which its deliveries bear.
const HeaderCameAs = "X-Millrace-Content-Type"

// Location is where a value stands in a request or a message:
// "request.header.X-Id", "request.body.data.id" or "request.query.id". The
// headers of a broker's message are its headers or attributes; it has no
// query.
type Location string

// Parts of a Location.
const (
	InHeader = "header"
	InBody   = "body"
	InQuery  = "query"
)

// Split takes a location apart: the part of the request, and the name or the
// dotted path in it.
func (l Location) Split() (part, path string) {
	part, path, _ = strings.Cut(strings.TrimPrefix(string(l), "request."), ".")
	return part, path
}

func (l Location) check(field string) error {
	part, path := l.Split()
	if !strings.HasPrefix(string(l), "request.") || path == "" || !slices.Contains([]string{InHeader, InBody, InQuery}, part) {
		return Invalid(field, `must be like "request.header.X-Id", "request.body.data.id" or "request.query.id", not %q`, string(l))
	}
	return checkText(field, string(l), 1, 512)
}

// Secrets are where the secrets of a source are, by the names that the API has
// for them, empty ones too: those of the verifier and of the broker that it
// has.
func (s Source) Secrets() map[string]*Sensitive {
	secrets := map[string]*Sensitive{}
	s.Verifier.secrets(secrets)
	if s.PubSub != nil {
		s.PubSub.secrets(secrets)
	}
	return secrets
}

// Inbound tells whether the source is called, at its ingest URL.
func (s Source) Inbound() bool { return s.Type != SourcePubSub }

// AckLevel is when the source's messages are acknowledged.
func (s Source) AckLevel() AckLevel {
	if s.PubSub != nil && s.PubSub.Ack != AckDefault {
		return s.PubSub.Ack
	}
	return AckPersisted
}

// Validate says in the API's words what is wrong with a source, all faults at
// once in one Error.
func (s Source) Validate() error {
	faults := []error{checkText("name", s.Name, 1, 255), s.checkMapping(), checkText("custom_response.body", s.CustomResponse.Body, 0, 64<<10)}
	switch s.Type {
	case SourceHTTP, SourceRESTAPI:
		faults = append(faults, s.Verifier.check(s.Provider))
		if s.PubSub != nil {
			faults = append(faults, Invalid("pub_sub", "must not be given for a source of type %s", s.Type))
		}
	case SourcePubSub:
		if s.PubSub == nil {
			faults = append(faults, Missing("pub_sub"))
		} else {
			faults = append(faults, s.PubSub.check())
		}
	case "":
		faults = append(faults, Missing("type"))
	default:
		faults = append(faults, Invalid("type", "must be http, rest_api or pub_sub, not %q", s.Type))
	}
	return JoinFaults(faults...)
}

func (s Source) checkMapping() error {
	var faults []error
	if !slices.Contains(providers, s.Provider) {
		faults = append(faults, Invalid("provider", "must be github, shopify, twitter, stripe, slack or standard_webhooks, not %q", s.Provider))
	}
	if s.EventTypeLocation != "" {
		faults = append(faults, s.EventTypeLocation.check("event_type_location"))
	}
	if len(s.IdempotencyKeys) > 10 {
		faults = append(faults, Invalid("idempotency_keys", "must be at most 10, not %d", len(s.IdempotencyKeys)))
	}
	for _, l := range s.IdempotencyKeys {
		faults = append(faults, l.check("idempotency_keys"))
	}
	if len(s.ForwardHeaders) > 50 {
		faults = append(faults, Invalid("forward_headers", "must be at most 50, not %d", len(s.ForwardHeaders)))
	}
	for _, name := range s.ForwardHeaders {
		if err := CheckHeaders(map[string]string{name: "x"}); err != nil {
			faults = append(faults, Invalid("forward_headers", "may not have %q: deliveries cannot carry it", name))
		}
	}
	return JoinFaults(faults...)
}

// SourceHealth is how a source's connection stands, from a closed list.
type SourceHealth string

// The closed list of what a source may be. A source that is called is always
// healthy, and one that is disabled, disabled.
const (
	SourceHealthy    SourceHealth = "healthy"
	SourceConnecting SourceHealth = "connecting"
	SourceUnhealthy  SourceHealth = "unhealthy"
	SourceDisabled   SourceHealth = "disabled"
)

// SourceState is how a source's connection stands, as an agent sees it or as
// all of them do.
type SourceState struct {
	SourceID ID
	Health   SourceHealth
	// Error is what went wrong last, in plain words; empty: nothing since it
	// became healthy.
	Error string
	// Lag is how many messages wait at the broker; -1: it does not tell.
	Lag int64
	// At is when it was seen so.
	At time.Time
}
