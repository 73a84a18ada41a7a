package millrace

import (
	"bytes"
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

// Validate says in the API's words what is wrong with a project, all faults at
// once in one Error.
func (p Project) Validate() error {
	faults := []error{checkText("name", p.Name, 1, 255), p.Config.Validate()}
	if p.Type != "outgoing" && p.Type != "incoming" {
		faults = append(faults, Invalid("type", "must be outgoing or incoming, not %q", p.Type))
	}
	return JoinFaults(faults...)
}

// Validate says in the API's words what is wrong with a project's settings.
func (c ProjectConfig) Validate() error {
	faults := []error{checkHeader("config.signature.header", c.Signature.Header)}
	if c.Strategy != nil {
		faults = append(faults, c.Strategy.Validate())
	}
	if n := len(c.Signature.Versions); n == 0 || n > 10 {
		faults = append(faults, Invalid("config.signature.versions", "must be between 1 and 10, not %d", n))
	}
	for _, v := range c.Signature.Versions {
		if (v.Hash != "SHA256" && v.Hash != "SHA512") || (v.Encoding != "hex" && v.Encoding != "base64") {
			faults = append(faults, Invalid("config.signature.versions", "must be of SHA256 or SHA512 in hex or base64, not %q in %q", v.Hash, v.Encoding))
		}
	}
	if !c.Ack.Valid() {
		faults = append(faults, Invalid("config.ack", "must be queued or persisted, not %q", c.Ack))
	}
	for name, raw := range c.Other {
		if !json.Valid(raw) || bytes.Contains(raw, []byte(`\u0000`)) {
			faults = append(faults, Invalid("config."+name, "must be JSON without NUL"))
		}
	}
	return JoinFaults(faults...)
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
