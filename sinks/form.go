package sinks

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
)

const formType = "application/x-www-form-urlencoded"

// formOf writes a payload as a form, for endpoints that ask for one: each
// member of a JSON object is a field, in the order of their names. Strings are
// sent as they are, null as nothing, everything else as its JSON: numbers to
// the digit, nested values compact. A payload that is no JSON came in as a
// form and is sent byte for byte; JSON that is no object has no fields and
// cannot be sent.
func formOf(payload []byte) ([]byte, error) {
	if !json.Valid(payload) {
		return payload, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil || members == nil {
		return nil, errors.New("the endpoint asks for a form, and the event's data is not a JSON object")
	}
	form := make(url.Values, len(members))
	for name, value := range members {
		text, err := fieldOf(value)
		if err != nil {
			return nil, err
		}
		form[name] = []string{text}
	}
	return []byte(form.Encode()), nil
}

func fieldOf(value json.RawMessage) (string, error) {
	switch value[0] {
	case '"':
		var s string
		err := json.Unmarshal(value, &s)
		return s, err
	case '{', '[':
		var compact bytes.Buffer
		err := json.Compact(&compact, value)
		return compact.String(), err
	case 'n':
		return "", nil
	}
	return string(value), nil
}
