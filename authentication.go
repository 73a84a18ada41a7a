package millrace

import (
	"crypto/tls"
	"net/url"
	"strings"
)

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

// Validate says what is wrong with the way to authenticate. The error never
// shows a secret.
func (a Authentication) Validate() error {
	const field = "authentication."
	switch a.Type {
	case AuthAPIKey:
		if a.APIKey == nil {
			return Missing(field + "api_key")
		}
		return JoinFaults(checkHeader(field+"api_key.header_name", a.APIKey.Header), checkValue(field+"api_key.header_value", a.APIKey.Value))
	case AuthBasic:
		if a.Basic == nil {
			return Missing(field + "basic_auth")
		}
		return JoinFaults(checkUser(field+"basic_auth.username", a.Basic.Username), checkValue(field+"basic_auth.password", a.Basic.Password))
	case AuthBearer:
		return checkValue(field+"bearer", a.Bearer)
	case AuthOAuth2:
		if a.OAuth2 == nil {
			return Missing(field + "oauth2")
		}
		return a.OAuth2.Validate()
	}
	return Invalid(field+"type", "must be api_key, basic_auth, bearer or oauth2, not %q", a.Type)
}

// Validate says what is missing for a grant. Whether its URL may be called is
// the egress policy's to say.
func (o OAuth2) Validate() error {
	const field = "authentication.oauth2."
	faults := []error{checkText(field+"url", o.URL, 1, 2048), checkText(field+"client_id", o.ClientID, 1, 1024)}
	if u, err := url.Parse(o.URL); o.URL != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		faults = append(faults, Invalid(field+"url", "must be an http or https URL"))
	}
	switch o.AuthenticationType {
	case "shared_secret":
		faults = append(faults, checkValue(field+"client_secret", o.ClientSecret))
	case "client_assertion":
		faults = append(faults, checkValue(field+"signing_key", o.SigningKey))
	default:
		faults = append(faults, Invalid(field+"authentication_type", "must be shared_secret or client_assertion, not %q", o.AuthenticationType))
	}
	return JoinFaults(faults...)
}

// Validate refuses a certificate and key that do not belong together. The
// error never shows the key.
func (c ClientCert) Validate() error {
	const field = "mtls_client_cert."
	if c.Cert == "" || c.Key == "" {
		return JoinFaults(checkText(field+"client_cert", c.Cert, 1, 1<<16), checkText(field+"client_key", c.Key.Reveal(), 1, 1<<16))
	}
	if _, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key.Reveal())); err != nil {
		return Invalid("mtls_client_cert", "must be a certificate and its own private key, in PEM")
	}
	return nil
}

func checkHeader(field, name string) error {
	if name == "" {
		return Missing(field)
	}
	const token = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	if strings.Trim(name, token) != "" || len(name) > 255 {
		return Invalid(field, "must be the name of an HTTP header")
	}
	return nil
}

func checkUser(field, name string) error {
	if strings.Contains(name, ":") {
		return Invalid(field, "must have no colon (RFC 7617)")
	}
	return checkText(field, name, 1, 1024)
}

func checkValue(field string, value Sensitive) error {
	if value == "" {
		return Missing(field)
	}
	if strings.ContainsAny(value.Reveal(), "\r\n\x00") || len(value) > 1<<16 {
		return Invalid(field, "must be one line of at most 65536 characters")
	}
	return nil
}
