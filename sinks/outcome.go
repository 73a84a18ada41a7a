package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/millrace-dev/millrace"
)

// verdict is what became of a request that got no answer: an outcome with its
// sentence, or (ours) an error of the gateway's own.
type verdict struct {
	outcome millrace.Outcome
	text    string
	peer    string
	ours    error
}

// judge classifies an error of a round trip. Its sentences are the tenant's to
// read: they name no address of ours.
func (x *exchange) judge(err error, late bool) verdict {
	v := verdict{}
	if t := x.tunnel(); t != nil {
		v.peer = t.peer
	}
	var dial *dialError
	switch {
	case late && x.taken == nil && !x.passed.Load():
		v.ours = errors.New("the egress did not accept a connection within the deadline")
	case late:
		v.outcome, v.text = millrace.OutcomeTimeout, "The endpoint did not answer within the deadline."
	case errors.As(err, &dial) && dial.ours:
		v.ours = dial
	case dial != nil:
		v.outcome, v.text, v.peer = dial.outcome, dial.text, dial.peer
	case strings.HasPrefix(err.Error(), "net/http: invalid "):
		v.outcome, v.text = millrace.OutcomeUnsendable, "No valid request can be made of this delivery: "+quotable(err)+"."
	case isTimeout(err):
		v.outcome, v.text = millrace.OutcomeTimeout, "The endpoint did not answer in time."
	case isReset(err) || x.taken != nil && x.taken.ended.Load() && !isMalformed(err):
		v.outcome, v.text = millrace.OutcomeReset, "The connection was closed before the answer's headers were complete."
	default:
		v.outcome, v.text = millrace.OutcomeBadResponse, "The answer is not valid HTTP: "+quotable(err)+"."
	}
	return v
}

// isMalformed knows the parser's complaints, which net/http exports no types
// for.
func isMalformed(err error) bool {
	text := err.Error()
	return strings.Contains(text, "malformed") || strings.Contains(text, "exceeded")
}

// quotable is an error's text, bounded and printable, without net/http's
// preface.
func quotable(err error) string {
	text := strings.TrimPrefix(err.Error(), "net/http: HTTP/1.x transport connection broken: ")
	return fmt.Sprintf("%.200s", strings.ToValidUTF8(strings.TrimPrefix(text, "net/http: "), "?"))
}

func isReset(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "read" || op.Op == "write") {
		return true
	}
	for _, cut := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, errEnded} {
		if errors.Is(err, cut) {
			return true
		}
	}
	text := err.Error()
	for _, cut := range []string{"server closed idle connection", "GOAWAY", "stream error", "client connection lost", "connection not usable"} {
		if strings.Contains(text, cut) {
			return true
		}
	}
	return false
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// handshakeError says why TLS with a destination did not come about.
func handshakeError(err error, peer string) *dialError {
	e := &dialError{outcome: millrace.OutcomeTLS, peer: peer}
	var invalid *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var expired x509.CertificateInvalidError
	switch {
	case isTimeout(err):
		e.outcome, e.text = millrace.OutcomeTimeout, "The TLS handshake did not end within the deadline."
	case isReset(err):
		e.outcome, e.text = millrace.OutcomeReset, "The connection was closed during the TLS handshake."
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		e.text = "The endpoint's certificate has expired or is not yet valid."
	case errors.As(err, &invalid):
		e.text = "The endpoint's certificate does not hold: " + quotable(invalid.Err) + "."
	case errors.As(err, &plain):
		e.text = "The endpoint does not speak TLS."
	default:
		e.text = "The TLS handshake failed: " + quotable(err) + "."
	}
	return e
}

// complaint is the sentence for an answer that is no success.
func complaint(res *http.Response, o millrace.Outcome) string {
	status := strconv.Itoa(res.StatusCode)
	if text := http.StatusText(res.StatusCode); text != "" {
		status += " " + text
	}
	switch o {
	case millrace.OutcomeSuccess:
		return ""
	case millrace.OutcomeRedirect:
		return "The endpoint answered " + status + "; redirects are not followed."
	case millrace.OutcomeGone:
		return "The endpoint answered " + status + ": it wants no more deliveries."
	case millrace.OutcomeBadResponse:
		return "The endpoint answered " + status + ", which is no final status."
	}
	return "The endpoint answered " + status + "."
}

// retryAfter reads how long an endpoint asks to be left alone (RFC 9110,
// section 10.2.3), within the bounds of policy; zero for nothing or nonsense.
func retryAfter(res *http.Response, now time.Time) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	value := strings.TrimSpace(res.Header.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 32)
		if err != nil { // more digits than any bound
			return millrace.MaxRetryAfter
		}
		return clampRetryAfter(time.Duration(seconds) * time.Second)
	}
	at, err := http.ParseTime(value)
	if err != nil || !at.After(now) {
		return 0
	}
	return clampRetryAfter(at.Sub(now))
}

func clampRetryAfter(d time.Duration) time.Duration {
	return min(max(d, millrace.MinRetryAfter), millrace.MaxRetryAfter)
}
