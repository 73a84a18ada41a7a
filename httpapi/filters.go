package httpapi

import (
	"encoding/json"
	"net/http"

	millrace "github.com/millrace-dev/millrace"
)

// tryFilterIn is a filter, called schema as in Convoy, and a request to try it
// on.
type tryFilterIn struct {
	Schema  member[filterIn] `json:"schema"`
	Request member[sampleIn] `json:"request"`
}

type sampleIn struct {
	Headers member[map[string]headerValue] `json:"headers"`
	// Header is what Convoy calls the headers here.
	Header member[map[string]headerValue] `json:"header"`
	Body   member[json.RawMessage]        `json:"body"`
	Query  member[json.RawMessage]        `json:"query"`
	Path   member[json.RawMessage]        `json:"path"`
}

// headerValue is a header's value: a string, or a list of which the first
// counts.
type headerValue string

// UnmarshalJSON reads both forms.
func (v *headerValue) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil {
		if len(list) > 0 {
			*v = headerValue(list[0])
		}
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	*v = headerValue(text)
	return nil
}

// testFilter tells whether the filter lets the request pass.
func (s *Server) testFilter(c *call) error {
	var in tryFilterIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	if !in.Schema.given {
		return millrace.Missing("schema")
	}
	var set millrace.FilterSet
	in.Schema.value.into(&set)
	filter, err := millrace.CompileFilter(set)
	if err != nil {
		return err
	}
	passes, _ := filter.Match(in.Request.value.document())
	return c.respond(http.StatusOK, "Subscriptions filter validated successfully", passes)
}

func (in sampleIn) document() millrace.Document {
	headers := make(map[string]string, len(in.Headers.value)+len(in.Header.value))
	for _, given := range []map[string]headerValue{in.Header.value, in.Headers.value} {
		for name, v := range given {
			headers[name] = string(v)
		}
	}
	return millrace.NewDocument(millrace.DocumentParts{Headers: headers, Body: in.Body.value, Query: in.Query.value, Path: in.Path.value})
}
