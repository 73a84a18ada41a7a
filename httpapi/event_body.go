package httpapi

import (
	"encoding/json"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
)

// eventBody is an event as a client sends it. Data is exactly the bytes
// between the member's delimiters, in the memory of the body.
type eventBody struct {
	EndpointID     string
	OwnerID        string
	EventType      string
	IdempotencyKey string
	Data           json.RawMessage
	CustomHeaders  map[string]string
}

// members of an event that are read, as bits: each may be there once.
const (
	hasEndpointID = 1 << iota
	hasOwnerID
	hasEventType
	hasIdempotencyKey
	hasData
	hasCustomHeaders
)

// decodeEvent reads an event from one JSON object, in a single pass and
// without copying the payload. It takes what encoding/json takes, but for text
// that is not UTF-8, for what is nested absurdly deep, and for a member it
// reads that is there twice: which of the two is meant nobody can know.
func decodeEvent(b []byte) (eventBody, error) {
	var e eventBody
	if !utf8.Valid(b) {
		return e, millrace.Errorf(millrace.CodeBadRequest, "the body is not valid UTF-8")
	}
	s := scanner{b: b}
	seen := 0
	err := s.object(func(name []byte) error {
		bit, err := e.read(&s, name)
		if seen&bit != 0 {
			return millrace.Errorf(millrace.CodeBadRequest, "the body has the member %q twice", name)
		}
		seen |= bit
		return err
	})
	if err == nil {
		err = s.end()
	}
	return e, err
}

// read takes one member and tells which it was.
func (e *eventBody) read(s *scanner, name []byte) (bit int, err error) {
	switch string(name) {
	case "endpoint_id":
		e.EndpointID, err = s.text("endpoint_id")
		return hasEndpointID, err
	case "owner_id":
		e.OwnerID, err = s.text("owner_id")
		return hasOwnerID, err
	case "event_type":
		e.EventType, err = s.text("event_type")
		return hasEventType, err
	case "idempotency_key":
		e.IdempotencyKey, err = s.text("idempotency_key")
		return hasIdempotencyKey, err
	case "data":
		e.Data, err = s.value()
		if isAbsent(e.Data) {
			e.Data = nil
		}
		return hasData, err
	case "custom_headers":
		e.CustomHeaders, err = s.headers("custom_headers")
		return hasCustomHeaders, err
	}
	_, err = s.value()
	return 0, err
}

// headers reads an object of strings; null and "" are none.
func (s *scanner) headers(field string) (map[string]string, error) {
	raw, err := s.value()
	if err != nil || isAbsent(raw) {
		return nil, err
	}
	var h map[string]member[string]
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, millrace.Invalid(field, "must be an object of strings")
	}
	headers := make(map[string]string, len(h))
	for name, v := range h {
		headers[name] = v.value
	}
	return headers, nil
}

// text reads a string; null is an empty one.
func (s *scanner) text(field string) (string, error) {
	raw, err := s.value()
	switch {
	case err != nil || isAbsent(raw):
		return "", err
	case raw[0] != '"':
		return "", millrace.Invalid(field, "must be a string")
	}
	return unquote(raw), nil
}
