package millrace

import (
	"crypto/x509"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// Endpoint is where deliveries go, with how they are signed and paced.
type Endpoint struct {
	ID          ID
	ProjectID   ID
	Name        string
	Description string
	// Kind is what the endpoint is; Sink is which broker, where it is one.
	Kind SinkKind
	Sink Sink
	// URL is where a webhook goes. A broker's is made of its Sink, for people.
	URL     string
	OwnerID string
	Status  EndpointStatus
	// Method is the HTTP method: POST, PUT or PATCH.
	Method string
	// Timeout is the deadline of one attempt; at most 60 s.
	Timeout     time.Duration
	ContentType string
	// AdvancedSignatures picks Convoy's advanced signature over the simple.
	AdvancedSignatures bool
	// SignatureSchemes is which Standard Webhooks signatures are sent: "v1"
	// always, "v1a" (ed25519) where asked.
	SignatureSchemes []string
	Secrets          []Secret
	// SigningKey is the ed25519 key of the "v1a" scheme, `whsk_…`; made by the
	// store where the scheme is asked for.
	SigningKey     Sensitive
	Authentication *Authentication
	ClientCert     *ClientCert
	// CACert is a PEM bundle to trust instead of the system's.
	CACert          string
	Strategy        *Strategy
	RateLimit       int
	RateLimitWindow time.Duration
	SupportEmail    string
	SlackWebhookURL string
	CreatedAt       time.Time
	UpdatedAt       time.Time
}

// EndpointStatus is whether an endpoint takes deliveries, from a closed list
// in Convoy's words.
type EndpointStatus string

// The closed list of endpoint states.
const (
	EndpointActive   EndpointStatus = "active"
	EndpointPaused   EndpointStatus = "paused"
	EndpointInactive EndpointStatus = "inactive" // disabled: by its owner or by a 410
)

// Holds says why new deliveries to an endpoint of this state must wait.
func (s EndpointStatus) Holds() HoldReason {
	switch s {
	case EndpointPaused:
		return HoldPaused
	case EndpointInactive:
		return HoldDisabled
	}
	return HoldNone
}

// MaxTimeout is the longest deadline that an endpoint may have.
const MaxTimeout = 60 * time.Second

// MaxSecrets bounds how many secrets an endpoint may have at once: each of
// them signs every delivery.
const MaxSecrets = 10

// DefaultEndpoint is what an endpoint has that sets nothing.
func DefaultEndpoint() Endpoint {
	return Endpoint{AdvancedSignatures: true}.WithDefaults()
}

// WithDefaults fills what must not be empty. Switches keep their value: start
// from DefaultEndpoint where "not given" and "off" differ.
func (e Endpoint) WithDefaults() Endpoint {
	if e.Kind == "" {
		e.Kind = SinkWebhook
	}
	if e.Kind != SinkWebhook {
		e.URL = e.Sink.Address()
	}
	if e.Status == "" {
		e.Status = EndpointActive
	}
	if e.Method == "" {
		e.Method = "POST"
	}
	if e.Timeout == 0 {
		e.Timeout = 10 * time.Second
	}
	if e.ContentType == "" {
		e.ContentType = "application/json"
	}
	if len(e.SignatureSchemes) == 0 {
		e.SignatureSchemes = []string{"v1"}
	}
	return e
}

// Asymmetric tells whether deliveries are also signed with ed25519.
func (e Endpoint) Asymmetric() bool { return slices.Contains(e.SignatureSchemes, "v1a") }

// Validate says in the API's words what is wrong with an endpoint, all faults
// at once in one Error. Whether its URL may be called is the egress policy's
// to say.
func (e Endpoint) Validate() error {
	faults := []error{
		checkText("name", e.Name, 1, 255), e.checkAddress(), checkText("description", e.Description, 0, 4096),
		checkText("owner_id", e.OwnerID, 0, 255), e.checkRequest(), e.checkSigning(), e.checkContacts(),
	}
	if e.Authentication != nil {
		faults = append(faults, e.Authentication.Validate())
	}
	if e.ClientCert != nil {
		faults = append(faults, e.ClientCert.Validate())
	}
	if e.Strategy != nil {
		faults = append(faults, e.Strategy.Validate())
	}
	return JoinFaults(faults...)
}

// checkAddress judges what the endpoint is, and what a broker cannot be given.
func (e Endpoint) checkAddress() error {
	if e.Kind == SinkWebhook {
		return checkText("url", e.URL, 1, 2048)
	}
	faults := []error{e.Sink.check(e.Kind)}
	if e.Authentication != nil {
		faults = append(faults, Invalid("authentication", "is for URLs: a broker is given its credentials with its address"))
	}
	if e.Method != http.MethodPost {
		faults = append(faults, Invalid("http_method", "is for URLs"))
	}
	if e.ContentType == "application/x-www-form-urlencoded" {
		faults = append(faults, Invalid("content_type", "must be application/json for a broker: it is given the payload as it is"))
	}
	return JoinFaults(faults...)
}

func (e Endpoint) checkRequest() error {
	var faults []error
	if e.Status.unknown() {
		faults = append(faults, Invalid("status", "must be active, paused or inactive, not %q", e.Status))
	}
	if !slices.Contains([]string{"POST", "PUT", "PATCH"}, e.Method) {
		faults = append(faults, Invalid("http_method", "must be POST, PUT or PATCH, not %q", e.Method))
	}
	if e.Timeout <= 0 || e.Timeout > MaxTimeout {
		faults = append(faults, Invalid("http_timeout", "must be more than 0 and at most 60 seconds, not %s", e.Timeout))
	}
	if e.ContentType != "application/json" && e.ContentType != "application/x-www-form-urlencoded" {
		faults = append(faults, Invalid("content_type", "must be application/json or application/x-www-form-urlencoded, not %q", e.ContentType))
	}
	if e.RateLimit < 0 || e.RateLimit > 1_000_000 {
		faults = append(faults, Invalid("rate_limit", "must be between 0 (none) and 1000000, not %d", e.RateLimit))
	}
	if e.RateLimitWindow < 0 || e.RateLimitWindow > 24*time.Hour {
		faults = append(faults, Invalid("rate_limit_duration", "must be between 0 and 24 hours, not %s", e.RateLimitWindow))
	}
	return JoinFaults(faults...)
}

func (e Endpoint) checkSigning() error {
	var faults []error
	for i, scheme := range e.SignatureSchemes {
		if (scheme != "v1" && scheme != "v1a") || slices.Contains(e.SignatureSchemes[:i], scheme) {
			faults = append(faults, Invalid("signature_schemes", "may have v1 and v1a, once each, not %q", scheme))
		}
	}
	if !slices.Contains(e.SignatureSchemes, "v1") {
		faults = append(faults, Invalid("signature_schemes", "must have v1: it is always sent"))
	}
	if len(e.Secrets) > MaxSecrets {
		faults = append(faults, Invalid("secret", "must be one of at most %d: wait until older ones expire", MaxSecrets))
	}
	for _, s := range e.Secrets {
		faults = append(faults, s.Validate())
	}
	if e.SigningKey != "" {
		if _, err := ParseSigningKey(e.SigningKey); err != nil {
			faults = append(faults, Invalid("signing_key", "%v", err))
		}
	}
	return JoinFaults(faults...)
}

func (e Endpoint) checkContacts() error {
	var faults []error
	if e.SupportEmail != "" {
		if _, err := mail.ParseAddress(e.SupportEmail); err != nil {
			faults = append(faults, Invalid("support_email", "must be an e-mail address"))
		}
	}
	if e.SlackWebhookURL != "" && !strings.HasPrefix(e.SlackWebhookURL, "https://") {
		faults = append(faults, Invalid("slack_webhook_url", "must begin with https://"))
	}
	if e.CACert != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(e.CACert)) {
		faults = append(faults, Invalid("ca_cert", "must be one or more certificates in PEM"))
	}
	return JoinFaults(faults...)
}

func (s EndpointStatus) unknown() bool {
	return s != EndpointActive && s != EndpointPaused && s != EndpointInactive
}
