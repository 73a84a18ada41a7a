package sources

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
)

// call is a call of the API as it stands in a message. Data is exactly the
// bytes of its member.
type call struct {
	endpointID, ownerID, eventType, idempotencyKey string
	data                                           json.RawMessage
	customHeaders                                  map[string]string
}

// longestOwner bounds an owner's id, as the API does.
const longestOwner = 255

// readCall reads a call from one JSON object as the API does: names mean what
// they say, to the letter; a member that is there twice is refused, as nobody
// can know which is meant; others are ignored; null and "" are none.
func readCall(body []byte) (call, error) {
	var c call
	if !utf8.Valid(body) {
		return c, fmt.Errorf("the message is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return c, notAnEvent(err)
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return c, notAnEvent(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return c, notAnEvent(err)
		}
		member, _ := name.(string)
		known, err := c.read(member, value)
		if err != nil {
			return c, err
		}
		if known && seen[member] {
			return c, fmt.Errorf("the message has the member %q twice", member)
		}
		seen[member] = seen[member] || known
	}
	if _, err := d.Token(); err != nil {
		return c, notAnEvent(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return c, fmt.Errorf("the message has something after the JSON of its event")
	}
	return c, nil
}

func notAnEvent(err error) error {
	switch err {
	case nil:
		return fmt.Errorf("the message is JSON, but not the object of an event")
	case io.EOF, io.ErrUnexpectedEOF:
		return fmt.Errorf("the message is not the JSON of an event: it ends in the middle")
	}
	return fmt.Errorf("the message is not the JSON of an event: %w", err)
}

// read takes one member and tells whether it is one of a call's.
func (c *call) read(member string, value json.RawMessage) (known bool, err error) {
	absent := string(value) == "null" || string(value) == `""`
	switch text := c.text(member); {
	case text != nil:
		if !absent && json.Unmarshal(value, text) != nil {
			err = millrace.Invalid(member, "must be a string")
		}
	case member == "data":
		if !absent {
			c.data = value
		}
	case member == "custom_headers":
		if !absent && json.Unmarshal(value, &c.customHeaders) != nil {
			err = millrace.Invalid(member, "must be an object of strings")
		}
	default:
		return false, nil
	}
	return true, err
}

// text is where a member stands that is a text; nil: it is none.
func (c *call) text(member string) *string {
	switch member {
	case "endpoint_id":
		return &c.endpointID
	case "owner_id":
		return &c.ownerID
	case "event_type":
		return &c.eventType
	case "idempotency_key":
		return &c.idempotencyKey
	}
	return nil
}

// audience is whom the call sends to. A kind that is not said is that of the
// API's call for one event: to the endpoint or the owner that is named, or
// else to all.
func (c call) audience(kind string) (to millrace.Audience, err error) {
	switch {
	case kind != "":
	case c.endpointID != "":
		kind = "single"
	case c.ownerID != "":
		kind = "fanout"
	default:
		kind = "broadcast"
	}
	switch strings.ToLower(kind) {
	case "single":
		if c.endpointID == "" {
			return to, millrace.Missing("endpoint_id")
		}
		if to.EndpointID, err = millrace.ParseID(c.endpointID); err != nil {
			return to, millrace.NotFound("endpoint")
		}
	case "fanout":
		if c.ownerID == "" {
			return to, millrace.Missing("owner_id")
		}
		if len(c.ownerID) > longestOwner || strings.ContainsFunc(c.ownerID, unicode.IsControl) {
			return to, millrace.Invalid("owner_id", "must be at most %d bytes of text without control characters", longestOwner)
		}
		to.OwnerID = c.ownerID
	case "broadcast":
	default:
		return to, millrace.Invalid(kindHeader, "must be single, fanout or broadcast, not %.100q", kind)
	}
	return to, nil
}
