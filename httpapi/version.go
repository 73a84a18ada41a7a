package httpapi

import "time"

// legacyBefore is the date of Convoy's API from which endpoints have url and
// name, and durations are numbers.
const legacyBefore = "2024-04-01"

// legacy tells whether the client asks for the shapes from before then, as
// Convoy's Go SDK does, with the year 1. No header, or none that is a date,
// asks for today's.
func (c *call) legacy() bool {
	v := c.r.Header.Get("X-Convoy-Version")
	if _, err := time.Parse(time.DateOnly, v); err != nil {
		return false
	}
	return v < legacyBefore
}
