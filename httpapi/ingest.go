package httpapi

import (
	"context"
	"net/http"

	"github.com/gorilla/mux"

	millrace "github.com/millrace-dev/millrace"
)

// SourceFinder finds the source that an ingest URL names.
type SourceFinder interface {
	SourceByMask(ctx context.Context, mask string) (millrace.Source, error)
}

// Inbound reads webhooks by what their source says of its sender.
type Inbound interface {
	// Verify says why a request is not from the sender; nil: it is.
	Verify(s millrace.Source, r *http.Request, body []byte) error
	// Challenge is the answer to a sender who makes sure of the URL; false:
	// the request does not. One that was posted must have been verified.
	Challenge(s millrace.Source, r *http.Request, body []byte) (millrace.CustomResponse, bool)
	// Submission is what a verified request hands in.
	Submission(s millrace.Source, r *http.Request, body []byte) (millrace.Submission, error)
}

// receiveWebhook takes in an inbound webhook: it says yes once that is stored.
// Before it is verified, nothing is looked up but its source.
func (s *Server) receiveWebhook(c *call) error {
	source, err := s.inboundSource(c)
	if err != nil {
		return err
	}
	body, err := s.verifiedBody(c, source)
	if err != nil {
		return err
	}
	if answer, asked := s.deps.Inbound.Challenge(source, c.r, body); asked {
		c.answerWith(answer)
		return nil
	}
	sub, err := s.deps.Inbound.Submission(source, c.r, body)
	if err != nil {
		return err
	}
	receipt, err := s.deps.Submitter.Submit(c.ctx, sub)
	switch {
	case err != nil:
		return err
	case receipt.Refused != nil:
		return receipt.Refused
	case source.CustomResponse.Body != "":
		c.answerWith(source.CustomResponse)
		return nil
	}
	return c.respond(http.StatusCreated, "Event received", newReceipt(receipt))
}

// verifiedBody reads the body, which counts as a stranger's until it is
// verified.
func (s *Server) verifiedBody(c *call, source millrace.Source) ([]byte, error) {
	counted := &countedBody{ReadCloser: c.r.Body, of: &s.strangers, source: source.ID}
	defer counted.letGo()
	c.r.Body = counted
	body, err := c.readBody(s.config.MaxEventBytes)
	switch {
	case counted.full:
		return nil, millrace.Unavailable(errStrangers)
	case err != nil:
		return nil, err
	}
	if err := s.deps.Inbound.Verify(source, c.r, body); err != nil {
		c.w.Header().Set("WWW-Authenticate", proofOf(source))
		return nil, err
	}
	return body, nil
}

// challengeWebhook answers a sender that makes sure of the URL by a GET.
func (s *Server) challengeWebhook(c *call) error {
	source, err := s.inboundSource(c)
	if err != nil {
		return err
	}
	answer, asked := s.deps.Inbound.Challenge(source, c.r, nil)
	if !asked {
		c.w.Header().Set("Allow", http.MethodPost)
		return millrace.Errorf(millrace.CodeMethodNotAllowed, "webhooks are sent here by POST")
	}
	c.answerWith(answer)
	return nil
}

// inboundSource finds the source of the path, if it takes webhooks.
func (s *Server) inboundSource(c *call) (millrace.Source, error) {
	source, err := s.deps.Sources.SourceByMask(c.ctx, mux.Vars(c.r)["maskID"])
	switch {
	case err != nil:
		return source, err
	case !source.Inbound():
		return source, millrace.NotFound("source")
	case source.Disabled:
		return source, millrace.Errorf(millrace.CodeForbidden, "the source is disabled: it takes no events")
	}
	return source, nil
}

// proofOf is how a sender proves itself, for WWW-Authenticate (RFC 9110,
// section 11.6.1). Only basic authentication has a name of its own.
func proofOf(s millrace.Source) string {
	if s.Provider == millrace.ProviderNone && s.Verifier.Type == millrace.VerifyBasic {
		return `Basic realm="millrace"`
	}
	return `Webhook realm="millrace"`
}

// answerWith writes an answer in the source's words. They are a tenant's: no
// browser is to run them as this server's.
func (c *call) answerWith(answer millrace.CustomResponse) {
	h := c.w.Header()
	h.Set("Content-Type", answer.ContentType)
	if answer.ContentType == "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox")
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write([]byte(answer.Body)) // a sender who is gone by then has its event stored
}

// receiptOut is what a webhook became.
type receiptOut struct {
	UID       string            `json:"uid"`
	EventType string            `json:"event_type"`
	Ack       millrace.AckLevel `json:"ack"`
	Duplicate bool              `json:"duplicate"`
}

func newReceipt(r millrace.Receipt) receiptOut {
	return receiptOut{UID: r.Event.ID.String(), EventType: r.Event.Type, Ack: r.Ack, Duplicate: r.Duplicate}
}
