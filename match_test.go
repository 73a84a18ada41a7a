package millrace

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// number makes a readable id out of a small number.
func number(n int) ID {
	return ID{14: byte(n >> 8), 15: byte(n)}
}

// twoOwners is a project with endpoints 1 and 2 of owner acme, 3 of owner
// zeta, 4 of nobody and without any subscription.
func twoOwners(subscriptions ...Subscription) *Snapshot {
	s := &Snapshot{Endpoints: map[ID]Endpoint{
		number(1): {ID: number(1), OwnerID: "acme"},
		number(2): {ID: number(2), OwnerID: "acme", Status: EndpointPaused},
		number(3): {ID: number(3), OwnerID: "zeta"},
		number(4): {ID: number(4)},
	}}
	for i, sub := range subscriptions {
		sub.ID = number(100 + i)
		s.Subscriptions = append(s.Subscriptions, sub)
	}
	return s
}

func to(endpoint int, types ...string) Subscription {
	return Subscription{EndpointID: number(endpoint), EventTypes: types}
}

func (s Subscription) when(body string) Subscription {
	s.Filter.Body = json.RawMessage(body)
	return s
}

func (s Subscription) from(source int) Subscription {
	s.SourceID = number(source)
	return s
}

// matched names the matches: the place of the subscription, or "only" for
// none, and the number of the endpoint.
func matched(all []Match) string {
	var names []string
	for _, m := range all {
		s := "only"
		if m.Subscription != nil {
			s = fmt.Sprint(int(m.Subscription.ID[15]) - 100)
		}
		names = append(names, fmt.Sprintf("%s→%d", s, m.Endpoint.ID[15]))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestMatch(t *testing.T) {
	paid := func(body string) Event { return Event{Type: "order.paid", Payload: []byte(body)} }
	addressed := func(a Audience) Event { return Event{Type: "order.paid", Audience: a, Payload: []byte(`{"a":1}`)} }
	for _, c := range []struct {
		rule          string
		subscriptions []Subscription
		event         Event
		want          string
	}{
		{"the subscriptions for its type", []Subscription{to(1, "order.paid"), to(2, "order.sent"), to(3, "x", "order.paid")}, paid(`{}`), "0→1 2→3"},
		{"those for all types", []Subscription{to(1), to(2, "*")}, paid(`{}`), "0→1 1→2"},
		{"those for a prefix of its type", []Subscription{to(1, "order.*"), to(2, "order.paid.*"), to(3, "ord.*")}, paid(`{}`), "0→1"},
		{"once where several types of one subscription fit", []Subscription{to(1, "order.paid", "order.*", "*", "order.paid")}, paid(`{}`), "0→1"},
		{"once each for two subscriptions of one endpoint", []Subscription{to(1, "order.paid"), to(1, "*")}, paid(`{}`), "0→1 1→1"},
		{"a paused endpoint too: its deliveries are held", []Subscription{to(2)}, paid(`{}`), "0→2"},
		{"not an endpoint that is gone", []Subscription{to(9), to(1)}, paid(`{}`), "1→1"},

		{"those whose filter holds", []Subscription{to(1).when(`{"a":1}`), to(2).when(`{"a":2}`), to(3).when(`{"a":{"$gt":0}}`)}, paid(`{"a":1}`), "0→1 2→3"},
		{"a filter with more than one equality needs them all", []Subscription{to(1).when(`{"a":1,"b":2}`), to(2).when(`{"a":1,"b":3}`)}, paid(`{"a":1,"b":3}`), "1→2"},
		{"one of several values", []Subscription{to(1).when(`{"a":{"$in":[1,1.0,2]}}`), to(2).when(`{"a":{"$in":[3]}}`)}, paid(`{"a":1}`), "0→1"},
		{"an equality with an array", []Subscription{to(1).when(`{"a":[1]}`)}, paid(`{"a":[1]}`), "0→1"},
		{"an equality of any element, once", []Subscription{to(1).when(`{"a.$":1}`)}, paid(`{"a":[1,1]}`), "0→1"},
		{"an equality inside $or", []Subscription{to(1).when(`{"$or":[{"a":1},{"b":1}]}`)}, paid(`{"b":1}`), "0→1"},
		{"an equality inside $and", []Subscription{to(1).when(`{"$and":[{"a":1},{"b":1}]}`)}, paid(`{"b":1}`), ""},
		{"an equality inside $not", []Subscription{to(1).when(`{"$not":{"a":1}}`)}, paid(`{"a":2}`), "0→1"},
		{"a body that is not JSON only without a body filter", []Subscription{to(1), to(2).when(`{"a":{"$exist":false}}`), to(3).when(`{}`)}, paid(`x`), "0→1 2→3"},
		{"the headers that it carries", []Subscription{{EndpointID: number(1), Filter: FilterSet{Headers: raw(`{"X-A":"b"}`)}}}, Event{Headers: map[string]string{"x-a": "b"}}, "0→1"},

		{"those of its source and those of any", []Subscription{to(1).from(7), to(2).from(8), to(3)}, Event{SourceID: number(7)}, "0→1 2→3"},
		{"not those of a source when it came from none", []Subscription{to(1).from(7), to(3)}, Event{}, "1→3"},

		{"those of the endpoint it is for", []Subscription{to(1), to(2), to(1, "other")}, addressed(Audience{EndpointID: number(1)}), "0→1"},
		{"the endpoint itself where it has no subscription at all", []Subscription{to(1), to(2)}, addressed(Audience{EndpointID: number(4)}), "only→4"},
		{"nothing where its endpoint has a subscription that does not match", []Subscription{to(4, "other")}, addressed(Audience{EndpointID: number(4)}), ""},
		{"nothing where its endpoint's subscription is broken", []Subscription{to(4).when(`{"a":{"$no":1}}`)}, addressed(Audience{EndpointID: number(4)}), ""},
		{"nothing where its endpoint is gone", []Subscription{to(1)}, addressed(Audience{EndpointID: number(9)}), ""},
		{"those of its owner's endpoints", []Subscription{to(1), to(2, "order.*"), to(3), to(4)}, addressed(Audience{OwnerID: "acme"}), "0→1 1→2"},
		{"nothing for an owner without endpoints", []Subscription{to(1)}, addressed(Audience{OwnerID: "nobody"}), ""},
		{"an owner's endpoints without subscription get nothing", []Subscription{to(4)}, addressed(Audience{OwnerID: "acme"}), ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			m, _ := NewMatcher(twoOwners(c.subscriptions...))
			if got := matched(m.Match(c.event)); got != c.want {
				t.Errorf("matched %q, want %q", got, c.want)
			}
		})
	}
}

func TestBrokenSubscriptionsDisableNoOther(t *testing.T) {
	m, err := NewMatcher(twoOwners(to(1).when(`{"a":{"$no":1}}`), to(2, "ord*"), to(3)))
	for _, says := range []string{number(100).String() + ": filter_config.filter.body.a", number(101).String() + ": filter_config.event_types"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error %v does not say %q", err, says)
		}
	}
	if got := matched(m.Match(Event{Type: "ord*", Payload: []byte(`{}`)})); got != "2→3" {
		t.Errorf("matched %q, want only 2→3", got)
	}
	if x := m.Explain(Event{}, number(100)); x.Reason != ReasonInvalid || x.Fault == nil {
		t.Errorf("explained as %+v", x)
	}
}

func TestExplain(t *testing.T) {
	m, _ := NewMatcher(twoOwners(to(1, "order.*").when(`{"amount":{"$gt":100}}`), to(3).from(7), to(9)))
	event := Event{Type: "order.paid", Payload: []byte(`{"amount":99}`)}
	for _, c := range []struct {
		rule         string
		event        Event
		subscription int
		want         MatchReason
	}{
		{"the filter", event, 0, ReasonFilter},
		{"sent", Event{Type: "order.paid", Payload: []byte(`{"amount":101}`)}, 0, ReasonSent},
		{"the type", Event{Type: "invoice.paid"}, 0, ReasonType},
		{"the source", event, 1, ReasonSource},
		{"sent from its source", Event{SourceID: number(7)}, 1, ReasonSent},
		{"the endpoint is gone", event, 2, ReasonEndpoint},
		{"another endpoint", Event{Audience: Audience{EndpointID: number(2)}}, 0, ReasonEndpoint},
		{"another owner", Event{Audience: Audience{OwnerID: "zeta"}}, 0, ReasonOwner},
		{"no such subscription", event, 50, ReasonUnknown},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := m.Explain(c.event, number(100+c.subscription)); got.Reason != c.want {
				t.Errorf("explained as %+v, want %s", got, c.want)
			}
		})
	}
	if miss := m.Explain(event, number(100)).Miss; miss.Clause() != "body.amount $gt 100" || miss.Value != json.Number("99") {
		t.Errorf("missed %s on %v", miss.Clause(), miss.Value)
	}
}

// TestIndexFindsAllThatMatch holds the index against judging every
// subscription.
func TestIndexFindsAllThatMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := twoOwners(rapid.SliceOfN(rapid.Custom(drawSubscription), 0, 60).Draw(t, "subscriptions")...)
		e := Event{
			Type:     rapid.SampledFrom([]string{"a", "a.b", "a.b.c", "b"}).Draw(t, "type"),
			SourceID: number(rapid.IntRange(0, 2).Draw(t, "source")),
			Audience: rapid.SampledFrom([]Audience{{}, {}, {EndpointID: number(1)}, {OwnerID: "acme"}}).Draw(t, "audience"),
			Payload:  []byte(rapid.SampledFrom([]string{`{"x":1,"y":"1"}`, `{"x":2,"y":[1]}`, `{"x":1.0}`, `{"y":{"x":1}}`, `no`}).Draw(t, "body")),
		}
		m, err := NewMatcher(s)
		if err != nil {
			t.Fatal(err)
		}
		var want []Match
		for _, c := range m.all {
			if reason, _ := c.judge(e, DocumentOf(e)); reason == ReasonSent {
				want = append(want, Match{c.subscription, c.endpoint})
			}
		}
		if e.Audience.EndpointID == number(1) && len(m.byEndpoint[number(1)]) == 0 {
			want = []Match{{Endpoint: m.endpoints[number(1)]}}
		}
		if got := matched(m.Match(e)); got != matched(want) {
			t.Fatalf("matched %q, want %q", got, matched(want))
		}
	})
}

func drawSubscription(t *rapid.T) Subscription {
	types := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "a.b", "a.*", "a.b.*", "*", "b"}), 0, 3, rapid.ID[string])
	filters := []string{``, `{"x":1}`, `{"x":2}`, `{"x":{"$in":[1,2]}}`, `{"x":1,"y":"1"}`, `{"y":[1]}`, `{"y.x":1}`, `{"x":{"$neq":1}}`, `{"y.$":1}`}
	return to(rapid.IntRange(1, 3).Draw(t, "endpoint"), types.Draw(t, "types")...).
		from(rapid.IntRange(0, 2).Draw(t, "source")).
		when(rapid.SampledFrom(filters).Draw(t, "filter"))
}

func TestFewAreAskedOfTenThousand(t *testing.T) {
	for _, c := range []struct {
		rule         string
		subscription func(i int) Subscription
		event        Event
		most         int
	}{
		{"each for a type of its own", func(i int) Subscription { return to(1, fmt.Sprintf("t%d", i)) }, Event{Type: "t7"}, 1},
		{"each for a prefix of its own", func(i int) Subscription { return to(1, fmt.Sprintf("t%d.*", i)) }, Event{Type: "t7.a.b"}, 1},
		{"each for a value of its own", func(i int) Subscription { return to(1, "t").when(fmt.Sprintf(`{"customer":%d}`, i)) },
			Event{Type: "t", Payload: []byte(`{"customer":7}`)}, 1},
		{"each for a value of its own beside one that all ask for", func(i int) Subscription {
			return to(1, "t").when(fmt.Sprintf(`{"a":true,"customer":%d,"z":true}`, i))
		}, Event{Type: "t", Payload: []byte(`{"a":true,"customer":7,"z":true}`)}, 1},
		{"each for ten values of its own", func(i int) Subscription {
			return to(1).when(fmt.Sprintf(`{"customer":{"$in":[%d]}}`, i/10))
		}, Event{Type: "t", Payload: []byte(`{"customer":7}`)}, 10},
		{"a value that none asks for", func(i int) Subscription { return to(1).when(fmt.Sprintf(`{"list":%d}`, i)) },
			Event{Type: "t", Payload: []byte(`{"list":[7]}`)}, 0},
		{"an event for one endpoint, with few subscriptions", func(i int) Subscription { return to(1 + i/20) },
			Event{Type: "t", Audience: Audience{EndpointID: number(3)}}, 20},
	} {
		t.Run(c.rule, func(t *testing.T) {
			m, err := NewMatcher(tenThousand(c.subscription))
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			m.candidates(c.event, DocumentOf(c.event), func(*candidate) { asked++ })
			if asked > c.most {
				t.Errorf("%d subscriptions were asked, want %d at most", asked, c.most)
			}
			if got := len(m.Match(c.event)); got != c.most {
				t.Errorf("%d matches, want %d", got, c.most)
			}
		})
	}
}

// TestBodyIsReadOnlyWhenAsked counts what a match allocates: a body that is
// parsed cannot be had for so little.
func TestBodyIsReadOnlyWhenAsked(t *testing.T) {
	e := Event{Type: "a", Payload: []byte(`[` + strings.Repeat(`"x",`, 1000) + `"x"]`)}
	m, _ := NewMatcher(twoOwners(to(1, "a"), to(2, "b").when(`{"$exist":true}`)))
	if n := testing.AllocsPerRun(10, func() { m.Match(e) }); n > 10 {
		t.Errorf("%.0f allocations for an event that no body filter looks at", n)
	}
	m, _ = NewMatcher(twoOwners(to(1, "a").when(`{"0":"x"}`), to(2, "a").when(`{"1":"x"}`), to(3, "*").when(`{"$exist":true}`)))
	if n := testing.AllocsPerRun(10, func() { m.Match(e) }); n > 1300 {
		t.Errorf("%.0f allocations: the body was read more than once", n)
	}
}
