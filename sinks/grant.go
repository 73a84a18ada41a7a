package sinks

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
)

// readGrant reads a token server's answer (RFC 6749, section 5.1), under the
// names and the unit of time that the endpoint's settings give.
func readGrant(o *millrace.OAuth2, answer []byte, now time.Time) (grant, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(answer, &members); err != nil {
		return grant{}, errors.New("the token server's answer is not a JSON object")
	}
	member := func(name string) json.RawMessage {
		if mapped := o.FieldMapping[name]; mapped != "" {
			name = mapped
		}
		return members[name]
	}
	access, kind := text(member("access_token")), text(member("token_type"))
	if kind == "" || strings.EqualFold(kind, "bearer") {
		kind = "Bearer"
	}
	authorization := kind + " " + access
	if access == "" || !millrace.SendableHeader("Authorization", authorization) {
		return grant{}, errors.New("the token server's answer has no access token that can be sent")
	}
	life := lifeOf(member("expires_in"), o.ExpiryTimeUnit)
	return grant{authorization: authorization, until: now.Add(life - min(refreshAhead, life/10))}, nil
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// lifeOf reads expires_in, a number or a string with one.
func lifeOf(raw json.RawMessage, unit string) time.Duration {
	n, err := strconv.ParseFloat(strings.Trim(string(raw), `" `), 64)
	if err != nil || !(n > 0) || math.IsInf(n, 0) {
		return unknownLife
	}
	one := time.Second
	switch unit {
	case "milliseconds":
		one = time.Millisecond
	case "minutes":
		one = time.Minute
	case "hours":
		one = time.Hour
	}
	return time.Duration(min(n*float64(one), float64(longestLife)))
}
