package millrace

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// TypePattern names the event types that a subscription is for: one exactly,
// all of them (`*`), or all below a prefix (`order.*` is for `order.paid` and
// `order.item.added`, and not for `order`).
type TypePattern string

// AnyType is the pattern for every event type.
const AnyType TypePattern = "*"

// maxTypeBytes bounds a pattern.
const maxTypeBytes = 256

// ValidTypePattern says what is wrong with a pattern, in an *Error.
func ValidTypePattern(s string) error {
	const field = "event_types"
	name, _ := TypePattern(s).prefix()
	switch {
	case s == "" || strings.TrimSpace(s) != s:
		return Invalid(field, "has %q; a type has at least one character, and no space around it", s)
	case len(s) > maxTypeBytes:
		return Invalid(field, "has a type of %d bytes; at most %d are allowed", len(s), maxTypeBytes)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return Invalid(field, "has %q, with characters that cannot be printed", s)
	case TypePattern(s) != AnyType && (strings.Contains(name, "*") || name == "."):
		return Invalid(field, "has %q; a star stands alone or last, behind a dot: \"*\" or \"order.*\"", s)
	}
	return nil
}

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

// covers tells whether all that o is for, p is for.
func (p TypePattern) covers(o TypePattern) bool {
	if p == AnyType || p == o {
		return true
	}
	name, isPrefix := p.prefix()
	return isPrefix && o != AnyType && strings.HasPrefix(string(o), name) && len(o) > len(name)
}

// distinctPatterns are the patterns without those that another one covers, so
// that no type is matched by two of them. No pattern at all is AnyType.
func distinctPatterns(types []string) []TypePattern {
	if len(types) == 0 {
		return []TypePattern{AnyType}
	}
	var kept []TypePattern
	for i, t := range types {
		covered := false
		for j, o := range types {
			same := t == o
			if (same && j < i) || (!same && TypePattern(o).covers(TypePattern(t))) {
				covered = true
				break
			}
		}
		if !covered {
			kept = append(kept, TypePattern(t))
		}
	}
	return kept
}
