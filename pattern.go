package millrace

import (
	"maps"
	"slices"
	"strings"
)

// TypePattern names the event types that a subscription is for: one exactly,
// all of them (`*`), or all below a prefix (`order.*` is for `order.paid` and
// `order.item.added`, and not for `order`).
type TypePattern string

// AnyType is the pattern for every event type.
const AnyType TypePattern = "*"

// ValidTypePattern says what is wrong with a pattern, in an *Error.
func ValidTypePattern(s string) error { return checkEventType(s) }

// Matches tells whether the pattern is for an event type.
func (p TypePattern) Matches(eventType string) bool {
	if p == AnyType {
		return true
	}
	name, isPrefix := p.prefix()
	if isPrefix {
		return len(eventType) > len(name) && strings.HasPrefix(eventType, name)
	}
	return eventType == name
}

// prefix is what stands before the star, dot included; false and the whole
// pattern where it is an exact name.
func (p TypePattern) prefix() (string, bool) {
	if strings.HasSuffix(string(p), ".*") {
		return string(p[:len(p)-1]), true
	}
	return string(p), false
}

// distinctPatterns are the patterns, in their order, without those that another one covers, so
// that no type is matched by two of them. No pattern at all is AnyType.
func distinctPatterns(types []string) []TypePattern {
	if len(types) == 0 {
		return []TypePattern{AnyType}
	}
	given := make(map[TypePattern]bool, len(types))
	for _, t := range types {
		given[TypePattern(t)] = true
	}
	if given[AnyType] {
		return []TypePattern{AnyType}
	}
	var kept []TypePattern
	for _, p := range slices.Sorted(maps.Keys(given)) {
		if !p.coveredBy(given) {
			kept = append(kept, p)
		}
	}
	return kept
}

// coveredBy tells whether one of the patterns is a shorter prefix of this one.
func (p TypePattern) coveredBy(given map[TypePattern]bool) bool {
	name, _ := p.prefix()
	for i := range len(name) - 1 {
		if name[i] == '.' && given[p[:i+1]+"*"] {
			return true
		}
	}
	return false
}
