package millrace

import "time"

// LogPosition is a place in the log: by the moment of storing, then by id. The
// zero position is before everything.
type LogPosition struct {
	At time.Time
	ID ID
}

// LogEntry is one fact as those who follow the log read it, with the delivery
// it belongs to. Its position is where to go on from.
type LogEntry struct {
	Fact
	Position   LogPosition
	EventID    ID
	EndpointID ID
	EventType  string
}
