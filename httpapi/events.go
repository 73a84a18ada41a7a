package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
)

// Submitter passes an event through the ingest stage and waits for its
// receipt. An error that is Unavailable promises nothing.
type Submitter interface {
	Submit(ctx context.Context, s millrace.Submission) (millrace.Receipt, error)
}

// audience is whom a call sends events to, by what the body says.
type audience func(e eventBody) (millrace.Audience, error)

func (s *Server) createEvent(c *call) error    { return s.submitOne(c, oneOrAll) }
func (s *Server) fanoutEvent(c *call) error    { return s.submitOne(c, owned) }
func (s *Server) broadcastEvent(c *call) error { return s.submitOne(c, everybody) }

// submitOne takes in one event and answers with its receipt.
func (s *Server) submitOne(c *call, to audience) error {
	if err := c.needJSON(); err != nil {
		return err
	}
	ack, err := preferredAck(c.r.Header)
	if err != nil {
		return err
	}
	b, err := c.readBody(s.config.MaxEventBytes + aroundPayload)
	if err != nil {
		return err
	}
	e, err := decodeEvent(b)
	if err != nil {
		return err
	}
	if e.IdempotencyKey, err = idempotencyKey(c.r.Header, e.IdempotencyKey); err != nil {
		return err
	}
	receipt, err := s.submit(c, e, to, ack)
	if err != nil {
		return err
	}
	c.w.Header()["Preference-Applied"] = []string{"ack=" + string(receipt.Ack)}
	c.answerReceipt(receipt)
	return nil
}

// aroundPayload is how much a body may have beside the payload.
const aroundPayload = 64 << 10

// submit judges an event by itself, which is all that can be done here, and
// hands it to the pipeline.
func (s *Server) submit(c *call, e eventBody, to audience, ack millrace.AckLevel) (millrace.Receipt, error) {
	var none millrace.Receipt
	a, err := to(e)
	if fault := s.checkEvent(e); err != nil || fault != nil {
		return none, millrace.JoinFaults(err, fault)
	}
	receipt, err := s.deps.Submitter.Submit(c.ctx, millrace.Submission{
		ProjectID: c.project, Type: e.EventType, Audience: a, Headers: e.CustomHeaders, IdempotencyKey: e.IdempotencyKey,
		TraceParent: millrace.TraceParent(c.r.Header.Get("Traceparent")), Payload: e.Data, Ack: ack,
	})
	switch {
	case err != nil:
		return none, err
	case receipt.Refused != nil:
		return none, receipt.Refused
	}
	return receipt, nil
}

// oneOrAll is one endpoint, or one owner's, or all whose subscriptions match.
func oneOrAll(e eventBody) (millrace.Audience, error) {
	switch {
	case e.EndpointID == "":
		return millrace.Audience{OwnerID: e.OwnerID}, checkOwner(e.OwnerID)
	case e.OwnerID != "":
		return millrace.Audience{}, millrace.Invalid("owner_id", "must not be given together with endpoint_id")
	}
	id, err := millrace.ParseID(e.EndpointID)
	if err != nil {
		return millrace.Audience{}, millrace.NotFound("endpoint")
	}
	return millrace.Audience{EndpointID: id}, nil
}

func owned(e eventBody) (millrace.Audience, error) {
	if e.OwnerID == "" {
		return millrace.Audience{}, millrace.Missing("owner_id")
	}
	return millrace.Audience{OwnerID: e.OwnerID}, checkOwner(e.OwnerID)
}

// everybody is whoever's subscription matches, whatever else the body says.
func everybody(eventBody) (millrace.Audience, error) { return millrace.Audience{}, nil }

// Bounds of an event's texts, in bytes.
const (
	maxEventType      = 255
	maxIdempotencyKey = 255
	maxOwnerID        = 255
)

// checkEvent judges what a client sent, all of it at once.
func (s *Server) checkEvent(e eventBody) error {
	if len(e.Data) > s.config.MaxEventBytes {
		return millrace.Errorf(millrace.CodeTooLarge, "data has %d bytes; at most %d are taken", len(e.Data), s.config.MaxEventBytes)
	}
	faults := []error{checkLine("event_type", e.EventType, maxEventType), checkLine("idempotency_key", e.IdempotencyKey, maxIdempotencyKey)}
	if e.EventType == "" {
		faults = append(faults, millrace.Missing("event_type"))
	}
	if e.Data == nil {
		faults = append(faults, millrace.Missing("data"))
	}
	if len(e.CustomHeaders) > 0 {
		faults = append(faults, millrace.CheckHeaders(e.CustomHeaders))
	}
	for _, fault := range faults {
		if fault != nil {
			return millrace.JoinFaults(faults...)
		}
	}
	return nil
}

func checkOwner(id string) error { return checkLine("owner_id", id, maxOwnerID) }

// checkLine takes a line of text; none is no fault here.
func checkLine(field, text string, most int) error {
	if len(text) > most || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return millrace.Invalid(field, "must be at most %d bytes of text without control characters", most)
	}
	return nil
}

// preferredAck reads the level asked for from Prefer (RFC 7240). Other
// preferences are ignored; a level that there is not is refused, so that
// nobody takes less for more.
func preferredAck(h http.Header) (millrace.AckLevel, error) {
	for _, line := range h["Prefer"] {
		for preference := range strings.SplitSeq(line, ",") {
			preference, _, _ = strings.Cut(preference, ";")
			name, level, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "ack") {
				continue
			}
			ack := millrace.AckLevel(strings.ToLower(strings.Trim(strings.TrimSpace(level), `"`)))
			if ack == millrace.AckDefault || !ack.Valid() {
				return "", millrace.Invalid("Prefer", "must be ack=queued or ack=persisted, not %q", strings.TrimSpace(preference))
			}
			return ack, nil
		}
	}
	return millrace.AckDefault, nil
}

// idempotencyKey is the one of the header or of the body; they may not differ.
func idempotencyKey(h http.Header, field string) (string, error) {
	header := strings.TrimSpace(h.Get("Idempotency-Key"))
	if header != "" && field != "" && header != field {
		return "", &millrace.Error{
			Code: millrace.CodeBadRequest, Message: "the header Idempotency-Key and the member idempotency_key differ",
			Fields: []millrace.FieldError{{Field: "idempotency_key", Message: "differs from the header Idempotency-Key"}},
		}
	}
	if header != "" {
		return header, nil
	}
	return field, nil
}

// answerReceipt answers a submission. It is the busiest answer, so it is put
// together by hand.
func (c *call) answerReceipt(r millrace.Receipt) {
	var room [512]byte
	b := append(room[:0], `{"status":true,"message":"Event queued successfully","data":`...)
	b = append(appendReceipt(b, r), '}', '\n')
	c.send(http.StatusCreated, b)
}

func appendReceipt(b []byte, r millrace.Receipt) []byte {
	b = append(b, `{"uid":"`...)
	b = append(b, r.Event.ID.String()...)
	b = append(b, `","event_type":`...)
	b = appendQuoted(b, r.Event.Type)
	b = append(b, `,"created_at":"`...)
	b = r.Event.CreatedAt().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","ack":"`...)
	b = append(b, r.Ack...)
	b = append(b, `","duplicate":`...)
	b = strconv.AppendBool(b, r.Duplicate)
	return append(b, '}')
}

// appendQuoted writes a text as JSON; what needs no escape is copied.
func appendQuoted(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(text)
			if err != nil {
				return append(b, `""`...) // a string has no way to fail
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}
