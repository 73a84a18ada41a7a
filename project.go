package millrace

import (
	"encoding/json"
	"time"
)

// Project is a tenant: a namespace with its own endpoints, keys and policy.
type Project struct {
	ID   ID
	Name string
	// Type is "outgoing" or "incoming", as in Convoy.
	Type   string
	Config ProjectConfig
	// ConfigVersion rises with each change to the project or anything in it.
	ConfigVersion int64
	CreatedAt     time.Time
	UpdatedAt     time.Time
	// EventCount and EndpointCount are for show; they may lag.
}

// ProjectConfig is what a project may set; its JSON is the API's.
type ProjectConfig struct {
	Strategy  *Strategy       `json:"strategy,omitempty"`
	Signature SignatureConfig `json:"signature"`
	// Ack is the level answered when a request asks for none; empty: the
	// server's.
	Ack AckLevel `json:"ack,omitempty"`
	// DisableEndpoint disables an endpoint whose delivery was given up.
	DisableEndpoint bool `json:"disable_endpoint"`
	// MultipleEndpointSubscriptions allows an endpoint several subscriptions.
	MultipleEndpointSubscriptions bool `json:"multiple_endpoint_subscriptions"`
	// Other keeps the members that belong to later parts (rate limits,
	// breaker, retention), as they were given.
	Other map[string]json.RawMessage `json:"other,omitempty"`
}

// SignatureConfig is Convoy's signature: its header and versions, and whether
// it is sent beside the Standard Webhooks headers.
type SignatureConfig struct {
	Header   string             `json:"header"`
	Versions []SignatureVersion `json:"versions"`
	// Convoy turns Convoy's signature headers on.
	Convoy bool `json:"convoy"`
}

// SignatureVersion is one hash and encoding of Convoy's signature.
type SignatureVersion struct {
	UID      string `json:"uid,omitempty"`
	Hash     string `json:"hash"`     // SHA256 or SHA512
	Encoding string `json:"encoding"` // hex or base64
}

// DefaultProjectConfig is what a project has that sets nothing.
func DefaultProjectConfig() ProjectConfig {
	return ProjectConfig{
		Signature: SignatureConfig{
			Header:   "X-Convoy-Signature",
			Versions: []SignatureVersion{{Hash: "SHA256", Encoding: "hex"}},
			Convoy:   true,
		},
		MultipleEndpointSubscriptions: true,
	}
}

// APIKey lets a program act for one project, or for the instance.
type APIKey struct {
	ID        ID
	ProjectID ID // zero: an instance key
	Name      string
	// Prefix is the part that may be shown: enough to recognise the key.
	Prefix    string
	CreatedAt time.Time
	RevokedAt time.Time
	LastUsed  time.Time
	ExpiresAt time.Time
}

// Instance tells whether the key is good for every project.
func (k APIKey) Instance() bool { return k.ProjectID == ID{} }

// Snapshot is everything of a project that the pipeline needs,
// as of one config version.
type Snapshot struct {
	Project       Project
	Endpoints     map[ID]Endpoint
	Subscriptions []Subscription
}

// Strategy is the retry policy of an endpoint in this project.
func (s *Snapshot) Strategy(e Endpoint) Strategy {
	switch {
	case e.Strategy != nil:
		return *e.Strategy
	case s.Project.Config.Strategy != nil:
		return *s.Project.Config.Strategy
	}
	return DefaultStrategy()
}
