package millrace

import (
	"encoding/json"
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
