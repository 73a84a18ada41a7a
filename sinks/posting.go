package sinks

import (
	"net/http"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/millrace-dev/millrace"
)

// The names of what a message carries beside the headers of a webhook. All
// names are in lower case: brokers, other than HTTP, tell cases apart.
const (
	headerEventType = "x-millrace-event-type"
	// headerUUID is where Watermill's subscribers look for a message's id.
	headerUUID = "_watermill_message_uuid"
)

// posting is a message that is ready for a broker, whatever its kind.
type posting struct {
	// message is Watermill's: its id is the event's, its metadata the headers
	// of the webhook, and its payload the exact bytes.
	message   *message.Message
	endpoint  *millrace.Endpoint
	eventType string
	began     time.Time
	// shown is the headers with the secrets blacked out.
	shown http.Header
	body  millrace.Document
}

// compose makes the message of a delivery. Its errors are what makes a
// delivery unsendable, in words for people.
func compose(r *millrace.Request, now time.Time) (posting, error) {
	d := &r.Delivery
	c := call{body: d.Payload, header: newHeaders(len(d.Headers) + 10)}
	c.header.custom(d.Headers)
	c.header.set("Content-Type", contentTypeOf(r))
	c.header.set(http.CanonicalHeaderKey(headerEventType), d.EventType)
	c.header.given("X-Convoy-Idempotency-Key", d.IdempotencyKey)
	c.header.given("Traceparent", d.TraceParent)
	if err := c.sign(r, now); err != nil {
		return posting{}, err
	}
	m := message.NewMessage(d.EventID.String(), d.Payload)
	for name, values := range c.header.sent {
		m.Metadata[strings.ToLower(name)] = values[0]
	}
	return posting{
		message: m, endpoint: &r.Endpoint, eventType: d.EventType, began: now, shown: c.header.shown(),
		body: millrace.NewDocument(millrace.DocumentParts{Body: d.Payload}),
	}, nil
}

// at is the text that stands at a path of the payload; empty where none does.
func (p posting) at(path string) string {
	if path == "" {
		return ""
	}
	return p.body.Text(path)
}

// secureOf is what an endpoint's TLS is made of.
func secureOf(e *millrace.Endpoint) credentials {
	c := credentials{ca: e.CACert}
	if e.ClientCert != nil {
		c.cert, c.key = e.ClientCert.Cert, e.ClientCert.Key.Reveal()
	}
	return c
}
