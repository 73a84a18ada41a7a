package millrace

import "time"

// Page asks for one page of a list, by keyset over ids.
type Page struct {
	// Size is how many rows, 1 to 1,000.
	Size int
	// Cursor is the id to go on from, exclusive; zero: from the start.
	Cursor ID
	// Backward reads towards the start of the list instead of its end.
	Backward bool
	// Ascending lists the oldest first.
	Ascending bool
}

// List is one page of rows in the order asked for. The cursor of the next
// page is the last row's id, of the previous one the first row's.
type List[T any] struct {
	Items   []T
	HasNext bool
	HasPrev bool
}

// EventQuery filters the list of events.
type EventQuery struct {
	ProjectID      ID
	Types          []string
	SourceIDs      []ID
	EndpointIDs    []ID
	OwnerID        string
	IdempotencyKey string
	// BrokerMessageID is the broker's coordinates of the message it came in:
	// the event that they stand for, as long as keys are remembered.
	BrokerMessageID string
	Since, Until    time.Time
	Page            Page
}

// DeliveryQuery filters the list of deliveries.
type DeliveryQuery struct {
	ProjectID       ID
	EndpointIDs     []ID
	EventID         ID
	SubscriptionIDs []ID
	EventTypes      []string
	// Statuses in Convoy's words, see DeliveryRecord.ConvoyStatus.
	Statuses     []string
	Since, Until time.Time
	Page         Page
}

// EndpointQuery filters the list of endpoints.
type EndpointQuery struct {
	ProjectID ID
	IDs       []ID // none: all
	OwnerID   string
	Text      string // part of the name or URL
	Page      Page
}

// SubscriptionQuery filters the list of subscriptions.
type SubscriptionQuery struct {
	ProjectID   ID
	EndpointIDs []ID
	Name        string
	Page        Page
}

// SourceQuery filters the list of sources.
type SourceQuery struct {
	ProjectID ID
	Type      SourceType // empty: all
	Provider  Provider   // empty: all
	Name      string     // part of the name
	Page      Page
}

// EventRecord is an event as the store shows it: with what became of it.
type EventRecord struct {
	StoredEvent
	// FannedOut tells whether matching has been done; Matched is how many
	// subscriptions matched.
	FannedOut bool
	Matched   int
	// EndpointIDs are those it was sent towards.
	EndpointIDs []ID
	// Deliveries counts its deliveries by status.
	Deliveries map[Status]int
}

// DeadLetter is a message that the gateway could not process, kept with its
// raw bytes until it is redriven or discarded.
type DeadLetter struct {
	ID        ID
	ProjectID ID // zero: it could not be told
	Stage     string
	Topic     string
	// Reason is why it is here: undecodable, permanent, redeliveries,
	// takeovers.
	Reason     string
	Error      string
	History    []string
	EventID    ID
	DeliveryID ID
	Raw        []byte
	Metadata   map[string]string
	CreatedAt  time.Time
	// SettledAt and Settled say when and how it was done with: redriven or
	// discarded.
	SettledAt time.Time
	Settled   string
}

// DeadLetterQuery filters the list of dead letters. A zero ProjectID with
// Instance lists all.
type DeadLetterQuery struct {
	ProjectID ID
	Instance  bool
	Stage     string
	Open      bool
	Page      Page
}
