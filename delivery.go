package millrace

import "time"

// Delivery is one event on its way to one endpoint, as it travels through
// `deliveries.due`: a turn that a worker may claim.
type Delivery struct {
	ID             ID `json:"id"`
	ProjectID      ID `json:"project"`
	EventID        ID `json:"event"`
	EndpointID     ID `json:"endpoint"`
	SubscriptionID ID `json:"subscription,omitzero"`
	ReplayID       ID `json:"replay,omitzero"`
	// Turn counts the trips through `deliveries.due`; fan-out makes turn 1.
	Turn int `json:"turn"`
	// Attempts counts the tries before this turn.
	Attempts int `json:"attempts,omitempty"`
	// Released says that retry let it go from held: it passes the holding
	// line that new deliveries wait behind.
	Released bool `json:"released,omitempty"`
	// DueAt is when this turn's time had come, where it waited for one.
	DueAt          time.Time         `json:"due,omitzero"`
	EventType      string            `json:"type"`
	Headers        map[string]string `json:"headers,omitempty"`
	IdempotencyKey string            `json:"key,omitempty"`
	TraceParent    string            `json:"-"`
	// Payload is the event's bytes; nil when they travel by reference
	// (ByReference) and are read from the log.
	Payload     []byte `json:"-"`
	ByReference bool   `json:"ref,omitempty"`
	// Bulk deliveries travel in the bulk lane.
	Bulk bool `json:"bulk,omitempty"`
	// Entry names the stream entry it came in: who claims the turn. The same
	// entry may claim again, taken over from a dead worker.
	Entry string `json:"-"`
}

// Status is the state of a delivery, from a closed list.
type Status string

// The closed list of delivery states; the diagram stands above Fold.
const (
	// Queued: handed to the transport; some worker will claim its turn. In
	// the fold it is Waiting whose time has come.
	Queued Status = "queued"
	// Waiting: to be tried again at NextAttemptAt (zero: at once).
	Waiting Status = "waiting"
	// Held: its endpoint cannot take it now.
	Held      Status = "held"
	Delivered Status = "delivered"
	// GivenUp: its retry policy ended.
	GivenUp   Status = "given_up"
	Cancelled Status = "cancelled"
	// Expired: retention ended while it still waited or was held.
	Expired Status = "expired"
	// Dead: the gateway itself could not process it; see its dead letter.
	Dead Status = "dead"
)

// Statuses lists every state once, for labels and checks.
var Statuses = []Status{Queued, Waiting, Held, Delivered, GivenUp, Cancelled, Expired, Dead}

// Final tells whether nothing more happens to such a delivery by itself.
func (s Status) Final() bool {
	switch s {
	case Queued, Waiting, Held:
		return false
	}
	return true
}

// Folded is the state as the log knows it: whether a waiting delivery is in
// the transport's hands is not in the log.
func (s Status) Folded() Status {
	if s == Queued {
		return Waiting
	}
	return s
}

// HoldReason says why a delivery is held, from a closed list.
type HoldReason string

// The closed list of reasons to hold.
const (
	HoldNone     HoldReason = ""
	HoldPaused   HoldReason = "paused"
	HoldDisabled HoldReason = "disabled"
	HoldInFlight HoldReason = "in_flight" // over max_in_flight_per_endpoint
	HoldBehind   HoldReason = "behind"    // its endpoint holds others already
)

// DeliveryRecord is a delivery as it stands in the store: its identity and
// the projection of its facts.
type DeliveryRecord struct {
	Delivery
	State
	// QueuedAt and ClaimedBy belong to the transport and are not folded.
	QueuedAt  time.Time
	ClaimedBy string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// ConvoyStatus says where a delivery stands in Convoy's words: Scheduled,
// Processing, Success, Failure, Retry or Discarded.
func (d DeliveryRecord) ConvoyStatus() string {
	switch d.Status {
	case Queued:
		if d.ClaimedBy != "" {
			return "Processing"
		}
		return "Scheduled"
	case Waiting:
		if d.State.Attempts > 0 {
			return "Retry"
		}
		return "Scheduled"
	case Held:
		return "Scheduled"
	case Delivered:
		return "Success"
	case GivenUp, Dead:
		return "Failure"
	}
	return "Discarded"
}
