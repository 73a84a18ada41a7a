package millrace

import "time"

// Endpoint is where deliveries go, with how they are signed and paced.
type Endpoint struct {
	ID          ID
	ProjectID   ID
	Name        string
	Description string
	URL         string
	OwnerID     string
	Status      EndpointStatus
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
	Authentication   *Authentication
	ClientCert       *ClientCert
	// CACert is a PEM bundle to trust instead of the system's.
	CACert          string
	Strategy        *Strategy
	RateLimit       int
	RateLimitWindow time.Duration
	SupportEmail    string
	SlackWebhookURL string
	// Internal marks what the gateway itself made.
	CreatedAt time.Time
	UpdatedAt time.Time
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

// Secret signs deliveries. Several may be live at once; one that expires
// still signs until it does.
type Secret struct {
	ID        ID
	Value     Sensitive
	CreatedAt time.Time
	ExpiresAt time.Time // zero: lives on
}

// Live returns the secrets that sign at the given moment, newest first.
func Live(secrets []Secret, at time.Time) []Secret {
	var live []Secret
	for i := len(secrets) - 1; i >= 0; i-- {
		if x := secrets[i].ExpiresAt; x.IsZero() || x.After(at) {
			live = append(live, secrets[i])
		}
	}
	return live
}

// Sensitive is a secret in the clear. It prints as "<secret>"; Reveal says
// where it is really used.
type Sensitive string

// Reveal is the secret itself.
func (s Sensitive) Reveal() string { return string(s) }

// String hides the secret in logs and dumps.
func (s Sensitive) String() string {
	if s == "" {
		return ""
	}
	return "<secret>"
}

// GoString hides the secret from %#v.
func (s Sensitive) GoString() string { return s.String() }

// MarshalText hides the secret from JSON, YAML and slog.
func (s Sensitive) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret from a configuration.
func (s *Sensitive) UnmarshalText(b []byte) error {
	*s = Sensitive(b)
	return nil
}

// Authentication is how the gateway proves itself to an endpoint.
type Authentication struct {
	Type   AuthenticationType
	APIKey *APIKeyAuth
	Basic  *BasicAuth
	Bearer Sensitive
	OAuth2 *OAuth2
}

// AuthenticationType names a way to authenticate, from a closed list.
type AuthenticationType string

// The closed list of ways to authenticate.
const (
	AuthAPIKey AuthenticationType = "api_key"
	AuthBasic  AuthenticationType = "basic_auth"
	AuthBearer AuthenticationType = "bearer"
	AuthOAuth2 AuthenticationType = "oauth2"
)

// APIKeyAuth sends one fixed header.
type APIKeyAuth struct {
	Header string
	Value  Sensitive
}

// BasicAuth is HTTP Basic (RFC 7617).
type BasicAuth struct {
	Username string
	Password Sensitive
}

// OAuth2 is the client credentials grant (RFC 6749 section 4.4), by a shared
// secret or a client assertion (RFC 7523).
type OAuth2 struct {
	URL          string
	ClientID     string
	ClientSecret Sensitive
	GrantType    string
	Scope        string
	Audience     string
	// AuthenticationType is shared_secret or client_assertion.
	AuthenticationType string
	// SigningKey is a JWK, for client assertions.
	SigningKey       Sensitive
	SigningAlgorithm string
	Issuer           string
	Subject          string
	// FieldMapping renames access_token, token_type and expires_in.
	FieldMapping   map[string]string
	ExpiryTimeUnit string
}

// ClientCert is the certificate and key of mutual TLS, in PEM.
type ClientCert struct {
	Cert string
	Key  Sensitive
}
