package pipeline

import (
	millrace "github.com/millrace-dev/millrace"
)

// head writes and reads the JSON head of a message, by one list of members for
// each type. It writes what encoding/json would, and reads no more than what it
// writes itself: all else is left to encoding/json. That took a quarter of the
// pipeline's own time, three times as long as this.
type head struct {
	b       []byte // what is written, or left to read
	reading bool
	later   bool  // the object has a member already
	bad     bool  // what is read is not as it is written
	err     error // what cannot be written
}

// members lists what the head of a topic's value consists of, in the order of
// its fields.
func (h *head) members(v any) {
	switch v := v.(type) {
	case *millrace.Event:
		h.event(v)
	case *millrace.StoredEvent:
		h.event(&v.Event)
		h.number("version", &v.ConfigVersion, true)
		h.id("replay", &v.ReplayID, false)
		h.flag("ref", &v.ByReference)
	case *millrace.Delivery:
		h.delivery(v)
	}
}

func (h *head) event(e *millrace.Event) {
	h.id("id", &e.ID, true)
	h.id("project", &e.ProjectID, true)
	h.id("source", &e.SourceID, false)
	h.text("type", &e.Type, true)
	if h.member("to", e.Audience != millrace.Audience{}) {
		h.begin()
		h.id("endpoint", &e.Audience.EndpointID, false)
		h.text("owner", &e.Audience.OwnerID, false)
		h.end()
	}
	h.texts("headers", &e.Headers)
	h.text("key", &e.IdempotencyKey, false)
	h.text("scope", (*string)(&e.KeyScope), false)
	h.text("broker", &e.BrokerMessageID, false)
}

func (h *head) delivery(d *millrace.Delivery) {
	turn, attempts := int64(d.Turn), int64(d.Attempts)
	h.id("id", &d.ID, true)
	h.id("project", &d.ProjectID, true)
	h.id("event", &d.EventID, true)
	h.id("endpoint", &d.EndpointID, true)
	h.id("subscription", &d.SubscriptionID, false)
	h.id("replay", &d.ReplayID, false)
	h.number("turn", &turn, true)
	h.number("attempts", &attempts, false)
	h.flag("released", &d.Released)
	h.time("due", &d.DueAt)
	h.text("type", &d.EventType, true)
	h.texts("headers", &d.Headers)
	h.text("key", &d.IdempotencyKey, false)
	h.flag("ref", &d.ByReference)
	h.flag("bulk", &d.Bulk)
	d.Turn, d.Attempts = int(turn), int(attempts)
}

// appendHead appends the head of a topic's value.
func appendHead(b []byte, v any) ([]byte, error) {
	h := head{b: b}
	h.begin()
	h.members(v)
	h.end()
	return h.b, h.err
}

// readHead reads the head of a topic's value and tells whether it could: if
// not, the value is not to be used.
func readHead(b []byte, v any) bool {
	h := head{b: b, reading: true}
	h.begin()
	h.members(v)
	h.end()
	return !h.bad && len(h.b) == 0
}

func (h *head) begin() {
	h.sign("{")
	h.later = false
}

func (h *head) end() {
	h.sign("}")
	h.later = true
}

// sign writes what must stand here, or reads it.
func (h *head) sign(s string) {
	switch {
	case !h.reading:
		h.b = append(h.b, s...)
	case len(h.b) >= len(s) && string(h.b[:len(s)]) == s:
		h.b = h.b[len(s):]
	default:
		h.bad = true
	}
}

// member tells whether the member's value comes next: where it is written, if
// it is wanted; where it is read, if it is there.
func (h *head) member(name string, wanted bool) bool {
	if h.reading {
		return h.named(name)
	}
	if !wanted {
		return false
	}
	if h.later {
		h.b = append(h.b, ',')
	}
	h.later = true
	h.b = append(h.b, '"')
	h.b = append(h.b, name...)
	h.b = append(h.b, `":`...)
	return true
}

// named reads a member's name, if it is this one.
func (h *head) named(name string) bool {
	b := h.b
	if h.later {
		if len(b) == 0 || b[0] != ',' {
			return false
		}
		b = b[1:]
	}
	n := len(name)
	if len(b) < n+3 || b[0] != '"' || string(b[1:1+n]) != name || b[1+n] != '"' || b[2+n] != ':' {
		return false
	}
	h.b, h.later = b[n+3:], true
	return true
}
