package httpapi

import (
	"encoding/json"
	"mime"
	"reflect"
	"strconv"
	"strings"

	millrace "github.com/millrace-dev/millrace"
)

// sourceIn is a source as it is sent.
type sourceIn struct {
	Name              member[string]              `json:"name"`
	Type              member[millrace.SourceType] `json:"type"`
	Provider          member[millrace.Provider]   `json:"provider"`
	IsDisabled        member[bool]                `json:"is_disabled"`
	Verifier          member[verifierIn]          `json:"verifier"`
	PubSub            member[pubSubIn]            `json:"pub_sub"`
	IdempotencyKeys   member[[]string]            `json:"idempotency_keys"`
	EventTypeLocation member[string]              `json:"event_type_location"`
	CustomResponse    member[customResponseIn]    `json:"custom_response"`
	ForwardHeaders    member[[]string]            `json:"forward_headers"`
	BodyFunction      member[string]              `json:"body_function"`
	HeaderFunction    member[string]              `json:"header_function"`
}

type customResponseIn struct {
	Body        member[string] `json:"body"`
	ContentType member[string] `json:"content_type"`
}

// into lays what is sent over a source and judges the whole.
func (in sourceIn) into(s *millrace.Source) error {
	in.Name.into(&s.Name)
	in.Type.into(&s.Type)
	in.Provider.into(&s.Provider)
	in.IsDisabled.into(&s.Disabled)
	in.ForwardHeaders.into(&s.ForwardHeaders)
	if in.EventTypeLocation.given {
		s.EventTypeLocation = location(in.EventTypeLocation.value)
	}
	if in.IdempotencyKeys.given {
		s.IdempotencyKeys = make([]millrace.Location, len(in.IdempotencyKeys.value))
		for i, text := range in.IdempotencyKeys.value {
			s.IdempotencyKeys[i] = location(text)
		}
	}
	in.CustomResponse.value.Body.into(&s.CustomResponse.Body)
	in.CustomResponse.value.ContentType.into(&s.CustomResponse.ContentType)
	in.Verifier.value.into(&s.Verifier, s.Provider)
	if s.Inbound() && !in.PubSub.given {
		s.PubSub = nil // it was of another type before
	}
	in.PubSub.value.into(&s.PubSub)
	return millrace.JoinFaults(in.functions(), checkContentType(s.CustomResponse.ContentType), s.Validate())
}

// functions refuses what would not be run.
func (in sourceIn) functions() error {
	return millrace.JoinFaults(noFunction("body_function", in.BodyFunction), noFunction("header_function", in.HeaderFunction))
}

func noFunction(field string, function member[string]) error {
	if !function.given {
		return nil
	}
	return millrace.Invalid(field, "is refused: this server does not run functions yet")
}

func checkContentType(text string) error {
	if text == "" {
		return nil
	}
	if _, _, err := mime.ParseMediaType(text); err != nil || strings.ContainsAny(text, "\r\n") {
		return millrace.Invalid("custom_response.content_type", "must be like application/json or text/plain; charset=utf-8, not %q", text)
	}
	return nil
}

// location takes Convoy's other spellings of a place, too: "req.Header.X-Id",
// "request.QueryParam.id".
func location(text string) millrace.Location {
	root, rest, _ := strings.Cut(text, ".")
	part, path, found := strings.Cut(rest, ".")
	if (root != "request" && root != "req") || !found {
		return millrace.Location(text)
	}
	switch part {
	case "Header":
		part = millrace.InHeader
	case "Body":
		part = millrace.InBody
	case "QueryParam":
		part = millrace.InQuery
	}
	return millrace.Location("request." + part + "." + path)
}

// verifierIn is how a webhook proves where it comes from, as it is sent.
type verifierIn struct {
	Type   member[millrace.VerifierType] `json:"type"`
	HMAC   member[hmacIn]                `json:"hmac"`
	Basic  member[basicAuthIn]           `json:"basic_auth"`
	APIKey member[apiKeyAuthIn]          `json:"api_key"`
}

type hmacIn struct {
	Header   member[string] `json:"header"`
	Hash     member[string] `json:"hash"`
	Secret   sensitive      `json:"secret"`
	Encoding member[string] `json:"encoding"`
}

// into lays what is sent over what is there. What belonged to another type is
// forgotten. A provider signs, by the secret of an HMAC.
func (in verifierIn) into(to *millrace.Verifier, p millrace.Provider) {
	next := *to
	in.Type.into(&next.Type)
	switch {
	case p != millrace.ProviderNone:
		next.Type = millrace.VerifyHMAC
	case next.Type == "":
		next.Type = millrace.VerifyNothing
	}
	if next.Type != to.Type {
		next = millrace.Verifier{Type: next.Type}
	}
	if in.HMAC.given {
		h := orNew(next.HMAC)
		in.HMAC.value.Header.into(&h.Header)
		in.HMAC.value.Hash.into(&h.Hash)
		in.HMAC.value.Encoding.into(&h.Encoding)
		setSecret(in.HMAC.value.Secret, &h.Secret)
		next.HMAC = &h
	}
	if in.Basic.given {
		b := orNew(next.Basic)
		in.Basic.value.Username.into(&b.Username)
		setSecret(in.Basic.value.Password, &b.Password)
		next.Basic = &b
	}
	if in.APIKey.given {
		k := orNew(next.APIKey)
		in.APIKey.value.Header.into(&k.Header)
		setSecret(in.APIKey.value.Value, &k.Value)
		next.APIKey = &k
	}
	*to = next
}

// whole is a whole number, which some of Convoy's clients send as a string.
type whole int

// UnmarshalJSON reads both forms.
func (n *whole) UnmarshalJSON(b []byte) error {
	text := string(b)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	v, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return &json.UnmarshalTypeError{Value: string(b), Type: reflect.TypeFor[whole]()}
	}
	*n = whole(v)
	return nil
}
