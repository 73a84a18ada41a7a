package millrace

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// Subscription says which events an endpoint gets.
type Subscription struct {
	ID         ID
	ProjectID  ID
	EndpointID ID
	SourceID   ID // zero: events of any source
	Name       string
	// EventTypes are names, "*", or prefixes such as "order.*"; none: all.
	EventTypes   []string
	Filter       FilterSet
	DeliveryMode string
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// FilterSet is the filter language over the parts of an event, as JSON
// objects; an empty part filters nothing.
type FilterSet struct {
	Headers json.RawMessage `json:"headers,omitempty"`
	Body    json.RawMessage `json:"body,omitempty"`
	Query   json.RawMessage `json:"query,omitempty"`
	Path    json.RawMessage `json:"path,omitempty"`
}

// Validate says in the API's words what is wrong with a subscription, all
// faults at once in one Error. Of a filter it judges only that each part is a
// JSON object; what is in it, the filter language says.
func (s Subscription) Validate() error {
	faults := []error{checkText("name", s.Name, 1, 255), s.Filter.checkObjects()}
	if s.EndpointID == (ID{}) {
		faults = append(faults, Missing("endpoint_id"))
	}
	if len(s.EventTypes) > 500 {
		faults = append(faults, Invalid("filter_config.event_types", "must be at most 500, not %d", len(s.EventTypes)))
	}
	for _, t := range s.EventTypes {
		faults = append(faults, checkEventType(t))
	}
	switch s.DeliveryMode {
	case "", "at_least_once", "at_most_once":
	default:
		faults = append(faults, Invalid("delivery_mode", "must be at_least_once or at_most_once, not %q", s.DeliveryMode))
	}
	return JoinFaults(faults...)
}

// checkEventType takes a name, "*", or a prefix such as "order.*".
func checkEventType(t string) error {
	const field = "filter_config.event_types"
	if t == "" {
		return Invalid(field, "must not have an empty name")
	}
	if t == ".*" || (t != "*" && strings.Contains(strings.TrimSuffix(t, ".*"), "*")) {
		return Invalid(field, `may have "*" alone or after the last dot, as in "order.*", not %q`, t)
	}
	return checkText(field, t, 1, 255)
}

func (f FilterSet) checkObjects() error {
	var faults []error
	check := func(part string, raw json.RawMessage) {
		raw = bytes.TrimSpace(raw)
		if len(raw) > 0 && !bytes.Equal(raw, []byte("null")) && (raw[0] != '{' || !json.Valid(raw)) {
			faults = append(faults, Invalid("filter_config.filter."+part, "must be a JSON object"))
		}
		if len(raw) > 1<<16 {
			faults = append(faults, Invalid("filter_config.filter."+part, "must have at most 65536 bytes, not %d", len(raw)))
		}
	}
	check("headers", f.Headers)
	check("body", f.Body)
	check("query", f.Query)
	check("path", f.Path)
	return JoinFaults(faults...)
}
