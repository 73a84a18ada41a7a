package store

import (
	"encoding/json"
	"fmt"

	"github.com/millrace-dev/millrace"
)

// credentialsJSON is what proves the gateway to an endpoint, in the clear as
// it is sealed: never written anywhere else. (millrace.Sensitive would hide
// the secrets from JSON, so they are texts here.)
type credentialsJSON struct {
	Authentication *authenticationJSON `json:"authentication,omitempty"`
	ClientCert     *clientCertJSON     `json:"client_cert,omitempty"`
	// A Slack webhook's URL is all that is needed to post to it.
	SlackWebhookURL string `json:"slack_webhook_url,omitempty"`
	// SinkSecret proves us to a broker, whatever its kind.
	SinkSecret string `json:"sink_secret,omitempty"`
}

type authenticationJSON struct {
	Type   millrace.AuthenticationType `json:"type"`
	APIKey *apiKeyAuthJSON             `json:"api_key,omitempty"`
	Basic  *basicAuthJSON              `json:"basic,omitempty"`
	Bearer string                      `json:"bearer,omitempty"`
	OAuth2 *oauth2JSON                 `json:"oauth2,omitempty"`
}

type apiKeyAuthJSON struct {
	Header string `json:"header"`
	Value  string `json:"value"`
}

type basicAuthJSON struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

type oauth2JSON struct {
	URL                string            `json:"url"`
	ClientID           string            `json:"client_id"`
	ClientSecret       string            `json:"client_secret,omitempty"`
	GrantType          string            `json:"grant_type,omitempty"`
	Scope              string            `json:"scope,omitempty"`
	Audience           string            `json:"audience,omitempty"`
	AuthenticationType string            `json:"authentication_type"`
	SigningKey         string            `json:"signing_key,omitempty"`
	SigningAlgorithm   string            `json:"signing_algorithm,omitempty"`
	Issuer             string            `json:"issuer,omitempty"`
	Subject            string            `json:"subject,omitempty"`
	FieldMapping       map[string]string `json:"field_mapping,omitempty"`
	ExpiryTimeUnit     string            `json:"expiry_time_unit,omitempty"`
}

type clientCertJSON struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// sealCredentials seals what an endpoint is authenticated with; nil where
// there is nothing to seal.
func (s *Store) sealCredentials(e millrace.Endpoint) ([]byte, error) {
	if e.Authentication == nil && e.ClientCert == nil && e.SlackWebhookURL == "" && e.Sink.Secret() == "" {
		return nil, nil
	}
	c := credentialsJSON{
		Authentication: authenticationToJSON(e.Authentication), SlackWebhookURL: e.SlackWebhookURL, SinkSecret: e.Sink.Secret().Reveal(),
	}
	if e.ClientCert != nil {
		c.ClientCert = &clientCertJSON{Cert: e.ClientCert.Cert, Key: e.ClientCert.Key.Reveal()}
	}
	clear, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the credentials of endpoint %s: %w", e.ID, err)
	}
	return s.ring.Seal(clear, credentialsPlace(e.ID, e.ProjectID))
}

// openCredentials puts what was sealed into the endpoint.
func (s *Store) openCredentials(sealed []byte, e *millrace.Endpoint) error {
	if sealed == nil {
		return nil
	}
	clear, err := s.open(sealed, credentialsPlace(e.ID, e.ProjectID))
	if err != nil {
		return err
	}
	var c credentialsJSON
	if err := json.Unmarshal(clear, &c); err != nil {
		return fmt.Errorf("decode the credentials of endpoint %s: %w", e.ID, err)
	}
	e.SlackWebhookURL = c.SlackWebhookURL
	e.Sink = e.Sink.WithSecret(millrace.Sensitive(c.SinkSecret))
	e.Authentication = c.Authentication.authentication()
	if c.ClientCert != nil {
		e.ClientCert = &millrace.ClientCert{Cert: c.ClientCert.Cert, Key: millrace.Sensitive(c.ClientCert.Key)}
	}
	return nil
}

func authenticationToJSON(a *millrace.Authentication) *authenticationJSON {
	if a == nil {
		return nil
	}
	j := &authenticationJSON{Type: a.Type, Bearer: a.Bearer.Reveal()}
	if a.APIKey != nil {
		j.APIKey = &apiKeyAuthJSON{Header: a.APIKey.Header, Value: a.APIKey.Value.Reveal()}
	}
	if a.Basic != nil {
		j.Basic = &basicAuthJSON{Username: a.Basic.Username, Password: a.Basic.Password.Reveal()}
	}
	if o := a.OAuth2; o != nil {
		j.OAuth2 = &oauth2JSON{
			URL: o.URL, ClientID: o.ClientID, ClientSecret: o.ClientSecret.Reveal(), GrantType: o.GrantType, Scope: o.Scope, Audience: o.Audience,
			AuthenticationType: o.AuthenticationType, SigningKey: o.SigningKey.Reveal(), SigningAlgorithm: o.SigningAlgorithm,
			Issuer: o.Issuer, Subject: o.Subject, FieldMapping: o.FieldMapping, ExpiryTimeUnit: o.ExpiryTimeUnit,
		}
	}
	return j
}

func (j *authenticationJSON) authentication() *millrace.Authentication {
	if j == nil {
		return nil
	}
	a := &millrace.Authentication{Type: j.Type, Bearer: millrace.Sensitive(j.Bearer)}
	if j.APIKey != nil {
		a.APIKey = &millrace.APIKeyAuth{Header: j.APIKey.Header, Value: millrace.Sensitive(j.APIKey.Value)}
	}
	if j.Basic != nil {
		a.Basic = &millrace.BasicAuth{Username: j.Basic.Username, Password: millrace.Sensitive(j.Basic.Password)}
	}
	if o := j.OAuth2; o != nil {
		a.OAuth2 = &millrace.OAuth2{
			URL: o.URL, ClientID: o.ClientID, ClientSecret: millrace.Sensitive(o.ClientSecret), GrantType: o.GrantType, Scope: o.Scope, Audience: o.Audience,
			AuthenticationType: o.AuthenticationType, SigningKey: millrace.Sensitive(o.SigningKey), SigningAlgorithm: o.SigningAlgorithm,
			Issuer: o.Issuer, Subject: o.Subject, FieldMapping: o.FieldMapping, ExpiryTimeUnit: o.ExpiryTimeUnit,
		}
	}
	return a
}
