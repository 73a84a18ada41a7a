package millrace

import (
	"slices"
	"strings"
	"testing"
)

func TestTypePatternMatches(t *testing.T) {
	for _, c := range []struct {
		rule, pattern, eventType string
		want                     bool
	}{
		{"a name matches itself", "order.paid", "order.paid", true},
		{"a name matches no other", "order.paid", "order.sent", false},
		{"a name matches nothing below it", "order", "order.paid", false},
		{"a name is of one case", "order.paid", "Order.paid", false},
		{"a star matches everything", "*", "order.paid", true},
		{"a prefix matches below it", "order.*", "order.paid", true},
		{"a prefix matches far below it", "order.*", "order.item.added", true},
		{"a prefix does not match itself", "order.*", "order", false},
		{"a prefix ends at a dot", "order.*", "orders.paid", false},
		{"a prefix needs a name below it", "order.*", "order.", false},
		{"a longer prefix is narrower", "order.item.*", "order.paid", false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := TypePattern(c.pattern).Matches(c.eventType); got != c.want {
				t.Errorf("%q for %q: %v, want %v", c.pattern, c.eventType, got, c.want)
			}
			if err := ValidTypePattern(c.pattern); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestValidTypePattern(t *testing.T) {
	for _, c := range []struct {
		rule, pattern string
		valid         bool
	}{
		{"an exact name", "order.paid", true},
		{"a name of any script", "bestellung.bezahlt-é", true},
		{"a name with a space inside", "charge completed", true},
		{"a star", "*", true},
		{"a prefix", "order.item.*", true},
		{"a name of 255 characters", strings.Repeat("é", 255), true},
		{"no name", "", false},
		{"a star inside", "order.*.paid", false},
		{"a star first", "*.paid", false},
		{"a star on a part of a name", "ord*", false},
		{"two stars", "*.*", false},
		{"a prefix of nothing", ".*", false},
		{"a NUL", "order\x00paid", false},
		{"bytes that are no UTF-8", "order\xff", false},
		{"a name of 256 characters", strings.Repeat("x", 256), false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			err := ValidTypePattern(c.pattern)
			if (err == nil) != c.valid {
				t.Errorf("%q: %v", c.pattern, err)
			}
			if err != nil && CodeOf(err) == CodeInternal {
				t.Errorf("%v is not for people", err)
			}
		})
	}
}

func TestDistinctPatterns(t *testing.T) {
	for _, c := range []struct {
		rule        string
		types, kept []string
	}{
		{"none is all", nil, []string{"*"}},
		{"a star covers the rest", []string{"order.paid", "*", "order.*"}, []string{"*"}},
		{"a prefix covers names and prefixes below it", []string{"a.b", "a.b.*", "a.*", "a"}, []string{"a", "a.*"}},
		{"what is said twice is kept once", []string{"a", "b", "a"}, []string{"a", "b"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var got []string
			for _, p := range distinctPatterns(c.types) {
				got = append(got, string(p))
			}
			if !slices.Equal(got, c.kept) {
				t.Errorf("%v leaves %v, want %v", c.types, got, c.kept)
			}
		})
	}
}
