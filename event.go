package millrace

import (
	"encoding/json"
	"time"
)

// Event is what an application handed in: immutable, its payload kept to the
// byte.
type Event struct {
	ID        ID     `json:"id"`
	ProjectID ID     `json:"project"`
	SourceID  ID     `json:"source,omitzero"`
	Type      string `json:"type"`
	// Audience says whose subscriptions the event may reach.
	Audience Audience `json:"to,omitzero"`
	// Headers are the custom headers that each delivery of it carries.
	Headers map[string]string `json:"headers,omitempty"`
	// IdempotencyKey is the client's key, empty for none.
	IdempotencyKey string `json:"key,omitempty"`
	// KeyScope says who chose the key.
	KeyScope KeyScope `json:"scope,omitempty"`
	// BrokerMessageID is the broker's coordinates of the message that it came
	// in: the same message is the same event. Empty where no broker was.
	BrokerMessageID string `json:"broker,omitempty"`
	// TraceParent is the W3C trace context the event came in with.
	TraceParent string `json:"-"`
	// Payload is the exact bytes that came in: what is stored, signed, sent.
	Payload []byte `json:"-"`
}

// CreatedAt is when the event was accepted, read from its id.
func (e Event) CreatedAt() time.Time { return TimeOf(e.ID) }

// Audience narrows an event to one endpoint or to one owner's endpoints. The
// zero Audience is every matching subscription of the project.
type Audience struct {
	EndpointID ID     `json:"endpoint,omitzero"`
	OwnerID    string `json:"owner,omitempty"`
}

// KeyScope says who chose an idempotency key, and so which other keys it meets.
type KeyScope string

// The closed list of scopes.
const (
	// KeyOfClient was given with the event: it meets the other ones of the
	// project, and another event under the same key is refused.
	KeyOfClient KeyScope = ""
	// KeyOfSource was read where the source says that it stands: it meets the
	// others of that source, and alone decides what is a duplicate, as a
	// sender may send the same thing twice in other words.
	KeyOfSource KeyScope = "source"
)

// StoredEvent is an event in the log, as persist passes it on.
type StoredEvent struct {
	Event
	// ConfigVersion is the project's version at the moment of the append: a
	// fan-out that knows less loads first.
	ConfigVersion int64     `json:"version"`
	StoredAt      time.Time `json:"-"`
	// DuplicateOf is the first event with the same idempotency key, or zero.
	// A duplicate is kept and visible, and not fanned out.
	DuplicateOf ID `json:"-"`
	// ReplayID is set where the event is fanned out once more.
	ReplayID ID `json:"replay,omitzero"`
	// ByReference is set where the payload is not in the message, but is read
	// from the log.
	ByReference bool `json:"ref,omitempty"`
}

// Light is the event as it travels: its payload by reference if it has more
// than inlineMax bytes, so that what waits in Redis is small.
func (e StoredEvent) Light(inlineMax int) StoredEvent {
	if len(e.Payload) > inlineMax {
		e.Payload, e.ByReference = nil, true
	}
	return e
}

// AckLevel says after what a client is told yes.
type AckLevel string

// The closed list of ack levels. AckDefault defers to the project, and then
// to the server.
const (
	AckDefault   AckLevel = ""
	AckQueued    AckLevel = "queued"    // after the XADD reply
	AckPersisted AckLevel = "persisted" // after the commit in PostgreSQL
)

// Valid tells whether the level is on the list.
func (a AckLevel) Valid() bool {
	return a == AckDefault || a == AckQueued || a == AckPersisted
}

// Submission is an event on its way in, before it has been judged.
type Submission struct {
	ProjectID      ID
	SourceID       ID
	Type           string
	Audience       Audience
	Headers        map[string]string
	IdempotencyKey string
	KeyScope       KeyScope
	// BrokerMessageID is the coordinates of the broker's message it came in.
	BrokerMessageID string
	TraceParent     string
	Payload         json.RawMessage
	// Ack is the level the client asked for.
	Ack AckLevel
	// EventID is set when the same submission is made once more, so that both
	// are one event; zero otherwise.
	EventID ID
	// Receipt is where the answer goes, for callers who wait for one (HTTP);
	// nil where nobody does.
	Receipt *Receipt
}

// Receipt is what the ingest stage answers to a waiting caller. It may be
// read once the submission's message was acked.
type Receipt struct {
	Event     Event
	Ack       AckLevel
	Duplicate bool
	// Refused is why the submission was not accepted; nil when it was.
	Refused *Error
	// Failed is why it could be neither accepted nor refused.
	Failed error
}

// Answer gives the receipt to whoever waits for it, if anyone does.
func (s Submission) Answer(r Receipt) {
	if s.Receipt != nil {
		*s.Receipt = r
	}
}
