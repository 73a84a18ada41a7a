package millrace

import (
	"strings"
	"testing"
)

// FuzzMatcher holds the matcher, which finds subscriptions by their types and
// by the values that they ask for, against asking each of them in turn: a
// subscription that does not compile is sent nothing, and keeps nothing from
// the others.
func FuzzMatcher(f *testing.F) {
	f.Add("order.*", `{"a":1}`, "order.paid", `{"a":{"$in":[1.0,"x"]}}`, "order.paid", `{"a":1}`)
	f.Add("*", `{"b.c":null}`, "a.", `{"a":true,"$or":[{"b":1},{"a":true}]}`, "a.", `{"a":true,"b":{"c":null}}`)
	f.Add("a.*", ``, "a.b.*", `{"$":1}`, "a.b.c", `[1]`)
	f.Add("", `{"a":{"$no":1}}`, "a*", `{}`, "a*", `no JSON`)
	f.Fuzz(func(t *testing.T, pattern, filter, otherPattern, otherFilter, eventType, body string) {
		s := twoOwners(
			to(1, pattern).when(filter), to(2, otherPattern).when(filter), to(3, pattern, otherPattern).when(otherFilter), to(1).when(otherFilter), to(2, otherPattern),
		)
		var want []Match
		for i := range s.Subscriptions {
			sub := &s.Subscriptions[i]
			takes, known := slowTakes(sub, eventType, body)
			if !known {
				return
			}
			if endpoint := s.Endpoints[sub.EndpointID]; takes {
				want = append(want, Match{sub, &endpoint})
			}
		}
		m, _ := NewMatcher(s)
		if got := matched(m.Match(Event{Type: eventType, Payload: []byte(body)})); got != matched(want) {
			t.Fatalf("%q: matched %q, the slow matcher says %q", eventType, got, matched(want))
		}
	})
}

func slowTakes(s *Subscription, eventType, body string) (takes, known bool) {
	if _, err := CompileFilter(s.Filter); err != nil {
		return false, true
	}
	wanted := len(s.EventTypes) == 0
	for _, p := range s.EventTypes {
		if ValidTypePattern(p) != nil {
			return false, true
		}
		below, isPrefix := strings.CutSuffix(p, "*")
		wanted = wanted || p == eventType || p == "*" || isPrefix && strings.HasPrefix(eventType, below) && eventType != below
	}
	holds, known := slowMatch(string(s.Filter.Body), body)
	return wanted && holds, known
}
