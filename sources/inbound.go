package sources

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// Inbound reads the webhooks that are sent to a source's ingest URL: whether
// they are genuine, and what they say.
type Inbound struct {
	// Now is the clock that signatures are judged by.
	Now func() time.Time
}

// Challenge is the answer to a sender who makes sure of the URL instead of
// sending an event; false: this request does not. One with a body must have
// been verified.
func (i Inbound) Challenge(s millrace.Source, r *http.Request, body []byte) (millrace.CustomResponse, bool) {
	switch {
	case r.Method == http.MethodGet && s.Provider == millrace.ProviderTwitter:
		return challengeTwitter(s, r.URL.Query().Get("crc_token"))
	case r.Method == http.MethodPost && s.Provider == millrace.ProviderSlack:
		return challengeSlack(body)
	}
	return millrace.CustomResponse{}, false
}

// longestToken bounds the token of a challenge.
const longestToken = 512

// challengeTwitter is the answer to a challenge-response check: an HMAC of the
// token. Anybody may ask for one, and webhooks are signed in the same way; so
// what might be a webhook, which is a JSON object, is never signed here.
func challengeTwitter(s millrace.Source, token string) (answer millrace.CustomResponse, ok bool) {
	if token == "" || len(token) > longestToken || strings.HasPrefix(token, "{") || s.Verifier.HMAC == nil {
		return answer, false
	}
	sum := sumOf(sha256.New, []byte(s.Verifier.HMAC.Secret.Reveal()), []byte(token))
	answer.ContentType = "application/json"
	answer.Body = `{"response_token":"sha256=` + base64.StdEncoding.EncodeToString(sum) + `"}`
	return answer, true
}

// challengeSlack is the answer to url_verification: the challenge itself.
func challengeSlack(body []byte) (answer millrace.CustomResponse, ok bool) {
	var asked struct {
		Type      string `json:"type"`
		Challenge string `json:"challenge"`
	}
	if json.Unmarshal(body, &asked) != nil || asked.Type != "url_verification" || asked.Challenge == "" || len(asked.Challenge) > longestToken {
		return answer, false
	}
	return millrace.CustomResponse{ContentType: "text/plain; charset=utf-8", Body: asked.Challenge}, true
}

// emptyPayload stands for a webhook without a body, as in Convoy: an event
// has data.
const emptyPayload = "{}"

// Submission is what a verified webhook hands in: its raw body, whatever that
// is, with the type, the key and the headers that its source says. The sender
// is told yes when it is stored.
func (i Inbound) Submission(s millrace.Source, r *http.Request, body []byte) (millrace.Submission, error) {
	sub := millrace.Submission{
		ProjectID: s.ProjectID, SourceID: s.ID, Ack: millrace.AckPersisted,
		TraceParent: millrace.TraceParent(r.Header.Get("Traceparent")), Payload: body,
	}
	if len(body) == 0 {
		sub.Payload = json.RawMessage(emptyPayload)
	}
	keepContentType(&sub, r.Header.Get("Content-Type"))
	err := newMapping(s, joined(r.Header), body, r.URL.Query()).apply(&sub)
	return sub, err
}

// longestType bounds the content type that is kept.
const longestType = 255

// keepContentType notes what a payload came in as that is no JSON. JSON is sent
// as such, whatever its sender calls it.
func keepContentType(sub *millrace.Submission, contentType string) {
	if _, _, err := mime.ParseMediaType(contentType); err != nil || len(contentType) > longestType {
		return
	}
	if json.Valid(sub.Payload) || !millrace.SendableHeader(millrace.HeaderCameAs, contentType) {
		return
	}
	sub.Headers = map[string]string{millrace.HeaderCameAs: contentType}
}

// joined makes one value of each header's (RFC 9110, section 5.2).
func joined(h http.Header) map[string]string {
	headers := make(map[string]string, len(h))
	for name, values := range h {
		headers[name] = strings.Join(values, ", ")
	}
	return headers
}
