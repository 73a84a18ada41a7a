package millrace

import "time"

// FanOut is the result of matching one event: what fan-out appends.
type FanOut struct {
	Event StoredEvent
	// ConfigVersion is the version that the matching was done at.
	ConfigVersion int64
	Targets       []Target
}

// Target is one delivery to be made.
type Target struct {
	SubscriptionID ID // zero: the endpoint has no subscription at all
	EndpointID     ID
	// Hold is why it is held from the start; HoldNone: it is queued.
	Hold HoldReason
}

// Due names a delivery that shall go back through the one door, and the turn
// that ends by it: compare-and-set.
type Due struct {
	DeliveryID ID        `json:"delivery"`
	Turn       int       `json:"turn"`
	Why        DueReason `json:"why"`
	// Bulk sends it by the bulk lane.
	Bulk bool `json:"bulk,omitempty"`
}

// DueReason says why a delivery is handed back, from a closed list.
type DueReason string

// The closed list of reasons to hand a delivery back.
const (
	DueTime     DueReason = "due"      // its next attempt's time has come
	DueReleased DueReason = "released" // its endpoint can take it again
	DueLost     DueReason = "lost"     // the transport lost it; a barrier proved so
)

// HeldEndpoint is an endpoint that holds at least one delivery.
type HeldEndpoint struct {
	EndpointID ID
	ProjectID  ID
	// LookAt is when it is due to be looked at: the moment it became so, in
	// the past, until a look puts it off.
	LookAt time.Time
}

// Request is everything a sink needs to send one delivery.
type Request struct {
	Delivery  Delivery
	Endpoint  Endpoint
	Signature SignatureConfig
}
