package millrace

import (
	"net/http"
	"time"
)

// Attempt is one try at a delivery, with its outcome.
type Attempt struct {
	Outcome Outcome
	// StatusCode is the answer's status line; zero when none came. Brokers
	// have none.
	StatusCode int
	// Error is for people, in one sentence; empty on success.
	Error string
	// URL and Method are what was called. A broker's are its address, without
	// credentials, and PUBLISH.
	URL    string
	Method string
	// IP is the address the egress dialled, where it said so.
	IP string
	// RequestHeader is what was sent, with secrets redacted.
	RequestHeader  http.Header
	ResponseHeader http.Header
	// Body is the first 64 KiB of the answer. A broker's is where the message
	// went, in JSON.
	Body      []byte
	StartedAt time.Time
	Latency   time.Duration
	// RetryAfter is what the endpoint asked for, within [1 s, 24 h]; zero
	// when it asked for nothing or for nonsense.
	RetryAfter time.Duration
}

// Outcome classifies an attempt, from a closed list; it becomes a metric
// label.
type Outcome string

// The closed list of outcomes.
const (
	OutcomeSuccess        Outcome = "success"             // a 2xx with complete headers in time; a broker's confirmation
	OutcomeRedirect       Outcome = "redirect"            // 3xx: not followed
	OutcomeClientError    Outcome = "client_error"        // 4xx but 410 and 429
	OutcomeGone           Outcome = "gone"                // 410: the endpoint is disabled
	OutcomeTooMany        Outcome = "too_many_requests"   // 429
	OutcomeServerError    Outcome = "server_error"        // 5xx
	OutcomeTimeout        Outcome = "timeout"             // no complete answer within the deadline
	OutcomeDNS            Outcome = "dns_error"           // the name does not resolve
	OutcomeConnect        Outcome = "connect_error"       // refused or unreachable
	OutcomeTLS            Outcome = "tls_error"           // certificate or handshake
	OutcomeReset          Outcome = "connection_reset"    // cut before the headers were complete
	OutcomeBadResponse    Outcome = "bad_response"        // not HTTP, or its header has no end
	OutcomeBlocked        Outcome = "destination_blocked" // the egress policy forbids the address
	OutcomeMissing        Outcome = "destination_missing" // the broker has no such topic, queue or exchange
	OutcomeTooLarge       Outcome = "message_too_large"   // for the broker: given up
	OutcomeAuthentication Outcome = "authentication"      // a broker refused our credentials, or no token could be had
	OutcomeUnsendable     Outcome = "unsendable"          // no valid request can be made of it
)

// Outcomes lists every outcome once, for labels and checks.
var Outcomes = []Outcome{
	OutcomeSuccess, OutcomeRedirect, OutcomeClientError, OutcomeGone, OutcomeTooMany, OutcomeServerError, OutcomeTimeout, OutcomeDNS,
	OutcomeConnect, OutcomeTLS, OutcomeReset, OutcomeBadResponse, OutcomeBlocked, OutcomeMissing, OutcomeTooLarge, OutcomeAuthentication,
	OutcomeUnsendable,
}

// Success tells whether the receiver took the delivery.
func (o Outcome) Success() bool { return o == OutcomeSuccess }

// OutcomeOf classifies a status code.
func OutcomeOf(code int) Outcome {
	switch {
	case code >= 200 && code < 300:
		return OutcomeSuccess
	case code == http.StatusGone:
		return OutcomeGone
	case code == http.StatusTooManyRequests:
		return OutcomeTooMany
	case code >= 300 && code < 400:
		return OutcomeRedirect
	case code >= 400 && code < 500:
		return OutcomeClientError
	case code >= 500 && code < 600:
		return OutcomeServerError
	}
	return OutcomeBadResponse
}
