package httpapi

import millrace "github.com/millrace-dev/millrace"

// authenticationIn is how the gateway proves itself to an endpoint, as it is
// sent.
type authenticationIn struct {
	Type   member[millrace.AuthenticationType] `json:"type"`
	APIKey member[apiKeyAuthIn]                `json:"api_key"`
	Basic  member[basicAuthIn]                 `json:"basic_auth"`
	Bearer member[bearerIn]                    `json:"bearer"`
	OAuth2 member[oauth2In]                    `json:"oauth2"`
}

type apiKeyAuthIn struct {
	Header member[string] `json:"header_name"`
	Value  sensitive      `json:"header_value"`
}

type basicAuthIn struct {
	Username member[string] `json:"username"`
	Password sensitive      `json:"password"`
}

type bearerIn struct {
	Token sensitive `json:"token"`
}

type oauth2In struct {
	URL                member[string]            `json:"url"`
	ClientID           member[string]            `json:"client_id"`
	ClientSecret       sensitive                 `json:"client_secret"`
	GrantType          member[string]            `json:"grant_type"`
	Scope              member[string]            `json:"scope"`
	Audience           member[string]            `json:"audience"`
	AuthenticationType member[string]            `json:"authentication_type"`
	SigningKey         sensitive                 `json:"signing_key"`
	SigningAlgorithm   member[string]            `json:"signing_algorithm"`
	Issuer             member[string]            `json:"issuer"`
	Subject            member[string]            `json:"subject"`
	FieldMapping       member[map[string]string] `json:"field_mapping"`
	ExpiryTimeUnit     member[string]            `json:"expiry_time_unit"`
}

// into lays what is sent over what is there. What belonged to another type is
// forgotten.
func (in authenticationIn) into(to **millrace.Authentication) {
	if *to == nil && in.isEmpty() {
		return
	}
	next := millrace.Authentication{}
	if old := *to; old != nil && (!in.Type.given || in.Type.value == old.Type) {
		next = *old
	}
	in.Type.into(&next.Type)
	if in.APIKey.given {
		next.APIKey = in.APIKey.value.over(next.APIKey)
	}
	if in.Basic.given {
		next.Basic = in.Basic.value.over(next.Basic)
	}
	if in.OAuth2.given {
		next.OAuth2 = in.OAuth2.value.over(next.OAuth2)
	}
	setSecret(in.Bearer.value.Token, &next.Bearer)
	*to = &next
}

// isEmpty tells whether nothing is named: some clients send the empty shape.
func (in authenticationIn) isEmpty() bool {
	return !in.Type.given && !in.APIKey.given && !in.Basic.given && !in.Bearer.given && !in.OAuth2.given
}

func (in apiKeyAuthIn) over(old *millrace.APIKeyAuth) *millrace.APIKeyAuth {
	next := orNew(old)
	in.Header.into(&next.Header)
	setSecret(in.Value, &next.Value)
	return &next
}

func (in basicAuthIn) over(old *millrace.BasicAuth) *millrace.BasicAuth {
	next := orNew(old)
	in.Username.into(&next.Username)
	setSecret(in.Password, &next.Password)
	return &next
}

func (in oauth2In) over(old *millrace.OAuth2) *millrace.OAuth2 {
	next := orNew(old)
	in.URL.into(&next.URL)
	in.ClientID.into(&next.ClientID)
	setSecret(in.ClientSecret, &next.ClientSecret)
	in.GrantType.into(&next.GrantType)
	in.Scope.into(&next.Scope)
	in.Audience.into(&next.Audience)
	in.AuthenticationType.into(&next.AuthenticationType)
	setSecret(in.SigningKey, &next.SigningKey)
	in.SigningAlgorithm.into(&next.SigningAlgorithm)
	in.Issuer.into(&next.Issuer)
	in.Subject.into(&next.Subject)
	in.FieldMapping.into(&next.FieldMapping)
	in.ExpiryTimeUnit.into(&next.ExpiryTimeUnit)
	return &next
}

// orNew copies what is there, so that a change that fails leaves it alone.
func orNew[T any](old *T) (next T) {
	if old != nil {
		next = *old
	}
	return next
}

// authenticationOut is the same as it is shown: of secrets no more than the
// last characters.
type authenticationOut struct {
	Type   millrace.AuthenticationType `json:"type"`
	APIKey *apiKeyAuthOut              `json:"api_key,omitempty"`
	Basic  *basicAuthOut               `json:"basic_auth,omitempty"`
	Bearer *bearerOut                  `json:"bearer,omitempty"`
	OAuth2 *oauth2Out                  `json:"oauth2,omitempty"`
}

type apiKeyAuthOut struct {
	Header string `json:"header_name"`
	Value  string `json:"header_value"`
}

type basicAuthOut struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

type bearerOut struct {
	Token string `json:"token"`
}

type oauth2Out struct {
	URL                string            `json:"url"`
	ClientID           string            `json:"client_id"`
	ClientSecret       string            `json:"client_secret"`
	GrantType          string            `json:"grant_type"`
	Scope              string            `json:"scope"`
	Audience           string            `json:"audience"`
	AuthenticationType string            `json:"authentication_type"`
	SigningKey         string            `json:"signing_key"`
	SigningAlgorithm   string            `json:"signing_algorithm"`
	Issuer             string            `json:"issuer"`
	Subject            string            `json:"subject"`
	FieldMapping       map[string]string `json:"field_mapping"`
	ExpiryTimeUnit     string            `json:"expiry_time_unit"`
}

func newAuthentication(a *millrace.Authentication, show shown) *authenticationOut {
	if a == nil {
		return nil
	}
	out := &authenticationOut{Type: a.Type}
	if a.APIKey != nil {
		out.APIKey = &apiKeyAuthOut{Header: a.APIKey.Header, Value: show.credential(a.APIKey.Value)}
	}
	if a.Basic != nil {
		out.Basic = &basicAuthOut{Username: a.Basic.Username, Password: show.credential(a.Basic.Password)}
	}
	if a.Bearer != "" {
		out.Bearer = &bearerOut{Token: show.credential(a.Bearer)}
	}
	if o := a.OAuth2; o != nil {
		out.OAuth2 = &oauth2Out{
			URL: o.URL, ClientID: o.ClientID, ClientSecret: show.credential(o.ClientSecret), GrantType: o.GrantType, Scope: o.Scope,
			Audience: o.Audience, AuthenticationType: o.AuthenticationType, SigningKey: show.credential(o.SigningKey),
			SigningAlgorithm: o.SigningAlgorithm, Issuer: o.Issuer, Subject: o.Subject, FieldMapping: o.FieldMapping, ExpiryTimeUnit: o.ExpiryTimeUnit,
		}
	}
	return out
}
