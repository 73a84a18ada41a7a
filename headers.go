package millrace

import (
	"fmt"
	"maps"
	"net/textproto"
	"slices"
)

// MaxHeaderBytes bounds the custom headers of an event, names and values
// together: most receivers take no more in one request.
const MaxHeaderBytes = 16 << 10

// gatewayHeaders are set by the gateway on deliveries; no event may set them,
// not even where the gateway leaves one out. In canonical form.
var gatewayHeaders = map[string]bool{
	"Content-Length": true, "Content-Type": true, "User-Agent": true,
	"Webhook-Id": true, "Webhook-Timestamp": true, "Webhook-Signature": true,
	"X-Convoy-Signature": true, "X-Convoy-Idempotency-Key": true,
	"Traceparent": true, "Tracestate": true,
}

// connectionHeaders belong to one connection and not to the message (RFC
// 9110, section 7.6.1), or steer how it is sent. In canonical form.
var connectionHeaders = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Host": true, "Expect": true,
}

// CheckHeaders says which custom headers of an event are refused, and why,
// all in one Error: what is no HTTP header, what the gateway sets itself, and
// what belongs to the connection.
func CheckHeaders(headers map[string]string) error {
	var faults []FieldError
	size, seen := 0, make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value, key := headers[name], textproto.CanonicalMIMEHeaderKey(name)
		fault := headerFault(key, value)
		if fault == "" && seen[key] {
			fault = "is given twice in different case"
		}
		if fault != "" {
			faults = append(faults, FieldError{Field: fmt.Sprintf("custom_headers.%.100s", name), Message: fault})
		}
		seen[key] = true
		size += len(name) + len(value)
	}
	if size > MaxHeaderBytes {
		faults = append(faults, FieldError{Field: "custom_headers", Message: fmt.Sprintf("must have at most %d bytes, not %d", MaxHeaderBytes, size)})
	}
	if len(faults) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalid, Message: "custom_headers cannot be sent as they are", Fields: faults}
}

// SendableHeader tells whether an event may carry this header; name is in
// canonical form.
func SendableHeader(name, value string) bool { return headerFault(name, value) == "" }

func headerFault(name, value string) string {
	switch {
	case !isToken(name):
		return "is not the name of an HTTP header"
	case connectionHeaders[name]:
		return "belongs to the connection and cannot be set"
	case gatewayHeaders[name]:
		return "is set by the gateway and cannot be replaced"
	case !isFieldValue(value):
		return "must have no line breaks or control characters"
	}
	return ""
}

// isToken follows RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		if !letter && !digit && !isTokenMark(c) {
			return false
		}
	}
	return s != ""
}

func isTokenMark(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

// isFieldValue follows RFC 9110, section 5.5.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
