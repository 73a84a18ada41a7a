package sinks

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"net/url"

	"github.com/millrace-dev/millrace"
)

// authenticate sets what proves the gateway to an endpoint, but for OAuth2,
// whose token has to be fetched. A user in the URL is Basic (RFC 7617), where
// nothing else is asked for.
func (h *headers) authenticate(a *millrace.Authentication, user *url.Userinfo) error {
	if a == nil {
		if user != nil {
			password, _ := user.Password()
			h.secret("Authorization", basic(user.Username(), password))
		}
		return nil
	}
	switch {
	case a.Type == millrace.AuthAPIKey && a.APIKey != nil:
		return h.apiKey(a.APIKey)
	case a.Type == millrace.AuthBasic && a.Basic != nil:
		h.secret("Authorization", basic(a.Basic.Username, a.Basic.Password.Reveal()))
		return nil
	case a.Type == millrace.AuthBearer && a.Bearer != "":
		if !millrace.SendableHeader("Authorization", a.Bearer.Reveal()) {
			return errors.New("the endpoint's bearer token cannot be sent in a header")
		}
		h.secret("Authorization", "Bearer "+a.Bearer.Reveal())
		return nil
	case a.Type == millrace.AuthOAuth2 && a.OAuth2 != nil:
		return nil
	}
	return fmt.Errorf("the endpoint's authentication %q is not complete", a.Type)
}

func (h *headers) apiKey(key *millrace.APIKeyAuth) error {
	name := textproto.CanonicalMIMEHeaderKey(key.Header)
	if !millrace.SendableHeader(name, key.Value.Reveal()) {
		return errors.New("the endpoint's API key cannot be sent in the header it names")
	}
	h.secret(name, key.Value.Reveal())
	return nil
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
