package sources

import (
	"net/url"
	"strings"

	millrace "github.com/millrace-dev/millrace"
)

// mapping reads from a request or a message what its source says stands
// there: the type of the event, its key, and the headers it keeps.
type mapping struct {
	source  millrace.Source
	headers map[string]string
	body    []byte
	query   url.Values
	// document is the body as far as it was read.
	document millrace.Document
}

func newMapping(s millrace.Source, headers map[string]string, body []byte, query url.Values) mapping {
	return mapping{source: s, headers: headers, body: body, query: query, document: millrace.NewDocument(millrace.DocumentParts{Body: body})}
}

// apply completes a submission by what is found. What the submission says
// itself goes first.
func (m mapping) apply(sub *millrace.Submission) error {
	if sub.Type == "" {
		sub.Type = m.eventType()
	}
	if sub.IdempotencyKey == "" {
		if key := m.key(); key != "" {
			sub.IdempotencyKey, sub.KeyScope = key, millrace.KeyOfSource
		}
	}
	for _, name := range m.source.ForwardHeaders {
		if v := headerOf(m.headers, name); v != "" && headerOf(sub.Headers, name) == "" {
			if sub.Headers == nil {
				sub.Headers = map[string]string{}
			}
			sub.Headers[name] = v
		}
	}
	return nil
}

// eventType is the type found where the source says that it stands; else the
// source's own name for its events.
func (m mapping) eventType() string {
	if l := m.source.EventTypeLocation; l != "" {
		if v := m.at(l); v != "" {
			return v
		}
	}
	return m.source.MaskID
}

// key joins the parts of the event's key. Where one of them is missing there
// is none: half a key would make one event of two.
func (m mapping) key() string {
	var parts []string
	for _, l := range m.source.IdempotencyKeys {
		v := m.at(l)
		if v == "" {
			return ""
		}
		parts = append(parts, v)
	}
	return strings.Join(parts, "\n")
}

func (m mapping) at(l millrace.Location) string {
	switch part, path := l.Split(); part {
	case millrace.InHeader:
		return headerOf(m.headers, path)
	case millrace.InQuery:
		return m.query.Get(path)
	default:
		return m.document.Text(path)
	}
}
