package httpapi

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// configIn is a project's settings as they are sent.
type configIn struct {
	Strategy                      member[strategyIn]        `json:"strategy"`
	Signature                     member[signatureIn]       `json:"signature"`
	Ack                           member[millrace.AckLevel] `json:"ack"`
	DisableEndpoint               member[bool]              `json:"disable_endpoint"`
	MultipleEndpointSubscriptions member[bool]              `json:"multiple_endpoint_subscriptions"`
	// These are kept and shown as they were given: what acts by them judges
	// them.
	RateLimit       member[object] `json:"ratelimit"`
	CircuitBreaker  member[object] `json:"circuit_breaker"`
	RetentionPolicy member[object] `json:"retention_policy"`
}

type signatureIn struct {
	Header   member[string]                      `json:"header"`
	Versions member[[]millrace.SignatureVersion] `json:"versions"`
	Convoy   member[bool]                        `json:"convoy"`
}

// configOut is a project's settings as they are shown.
type configOut struct {
	Strategy                      *strategyOut             `json:"strategy"`
	Signature                     millrace.SignatureConfig `json:"signature"`
	Ack                           millrace.AckLevel        `json:"ack"`
	DisableEndpoint               bool                     `json:"disable_endpoint"`
	MultipleEndpointSubscriptions bool                     `json:"multiple_endpoint_subscriptions"`
	RateLimit                     json.RawMessage          `json:"ratelimit,omitempty"`
	CircuitBreaker                json.RawMessage          `json:"circuit_breaker,omitempty"`
	RetentionPolicy               json.RawMessage          `json:"retention_policy,omitempty"`
}

// into lays what is sent over the settings.
func (in configIn) into(p *millrace.ProjectConfig) {
	if in.Strategy.given {
		in.Strategy.value.into(&p.Strategy)
	}
	if in.Signature.given {
		in.Signature.value.into(&p.Signature)
	}
	in.Ack.into(&p.Ack)
	in.DisableEndpoint.into(&p.DisableEndpoint)
	in.MultipleEndpointSubscriptions.into(&p.MultipleEndpointSubscriptions)
	p.Other = in.others(p.Other)
}

func (in signatureIn) into(s *millrace.SignatureConfig) {
	in.Header.into(&s.Header)
	in.Convoy.into(&s.Convoy)
	if !in.Versions.given {
		return
	}
	s.Versions = slices.Clone(in.Versions.value)
	for i := range s.Versions {
		if s.Versions[i].UID == "" {
			s.Versions[i].UID = millrace.NewID(time.Now()).String()
		}
	}
}

// others lays the settings of later parts over those that are kept.
func (in configIn) others(kept map[string]json.RawMessage) map[string]json.RawMessage {
	next := make(map[string]json.RawMessage, len(kept))
	maps.Copy(next, kept)
	for name, given := range map[string]member[object]{
		"ratelimit": in.RateLimit, "circuit_breaker": in.CircuitBreaker, "retention_policy": in.RetentionPolicy,
	} {
		if given.given {
			next[name] = given.value.over(next[name])
		}
	}
	return next
}

// newConfig shows settings. A project that names no strategy has the default.
func newConfig(p millrace.ProjectConfig) configOut {
	strategy := p.Strategy
	if strategy == nil {
		standard := millrace.DefaultStrategy()
		strategy = &standard
	}
	return configOut{
		Strategy: newStrategy(strategy), Signature: p.Signature, Ack: p.Ack,
		DisableEndpoint: p.DisableEndpoint, MultipleEndpointSubscriptions: p.MultipleEndpointSubscriptions,
		RateLimit: p.Other["ratelimit"], CircuitBreaker: p.Other["circuit_breaker"], RetentionPolicy: p.Other["retention_policy"],
	}
}
