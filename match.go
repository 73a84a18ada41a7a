package millrace

import (
	"errors"
	"fmt"
)

// Matcher finds the subscriptions of an event. It is built once per Snapshot,
// does not change, and may be shared.
type Matcher struct {
	index      typeIndex
	all        []*candidate
	byID       map[ID]*candidate
	byEndpoint map[ID][]*candidate
	byOwner    map[string][]*candidate
	endpoints  map[ID]*Endpoint
}

// Match is one delivery to make. Subscription is nil where an event is
// addressed to an endpoint that has no subscription at all.
type Match struct {
	Subscription *Subscription
	Endpoint     *Endpoint
}

// candidate is a subscription made ready to match.
type candidate struct {
	subscription *Subscription
	// endpoint is nil where the snapshot has none of that id.
	endpoint *Endpoint
	patterns []TypePattern
	filter   *Filter
	// fault is why the subscription can never match.
	fault error
}

// NewMatcher makes a matcher, always: a subscription that does not compile
// never matches, and the others do as ever. The error names all such
// subscriptions. The snapshot must not change any more.
func NewMatcher(s *Snapshot) (*Matcher, error) {
	m := &Matcher{
		byID:       make(map[ID]*candidate, len(s.Subscriptions)),
		byEndpoint: map[ID][]*candidate{},
		byOwner:    map[string][]*candidate{},
		endpoints:  make(map[ID]*Endpoint, len(s.Endpoints)),
	}
	for id, e := range s.Endpoints {
		m.endpoints[id] = &e
	}
	var faults []error
	for i := range s.Subscriptions {
		c := m.add(&s.Subscriptions[i])
		if c.fault != nil {
			faults = append(faults, fmt.Errorf("subscription %s: %w", c.subscription.ID, c.fault))
		}
	}
	m.index = newTypeIndex(m.all)
	return m, errors.Join(faults...)
}

func (m *Matcher) add(s *Subscription) *candidate {
	c := &candidate{subscription: s, endpoint: m.endpoints[s.EndpointID], patterns: distinctPatterns(s.EventTypes)}
	c.filter, c.fault = CompileFilter(s.Filter)
	for _, t := range s.EventTypes {
		c.fault = errors.Join(c.fault, ValidTypePattern(t))
	}
	m.byID[s.ID] = c
	m.byEndpoint[s.EndpointID] = append(m.byEndpoint[s.EndpointID], c)
	if c.endpoint != nil && c.endpoint.OwnerID != "" {
		m.byOwner[c.endpoint.OwnerID] = append(m.byOwner[c.endpoint.OwnerID], c)
	}
	m.all = append(m.all, c)
	return c
}

// Match lists the subscriptions that an event goes to, each once at most.
func (m *Matcher) Match(e Event) []Match {
	if to := m.endpoints[e.Audience.EndpointID]; to != nil && len(m.byEndpoint[to.ID]) == 0 {
		return []Match{{Endpoint: to}}
	}
	var found []Match
	doc := DocumentOf(e)
	m.candidates(e, doc, func(c *candidate) {
		if reason, _ := c.judge(e, doc); reason == ReasonSent {
			found = append(found, Match{Subscription: c.subscription, Endpoint: c.endpoint})
		}
	})
	return found
}

// candidates hands over what may match: all that does, and some that does not.
func (m *Matcher) candidates(e Event, doc Document, take func(*candidate)) {
	few, ok := m.addressed(e.Audience)
	if !ok {
		m.index.each(e.Type, doc, take)
		return
	}
	for _, c := range few {
		take(c)
	}
}

// maxAddressed is up to how many subscriptions of an audience are judged one
// by one, rather than found by the index.
const maxAddressed = 32

// addressed are the subscriptions of an audience, where they are few.
func (m *Matcher) addressed(a Audience) ([]*candidate, bool) {
	var of []*candidate
	switch {
	case a.EndpointID != ID{}:
		of = m.byEndpoint[a.EndpointID]
	case a.OwnerID != "":
		of = m.byOwner[a.OwnerID]
	default:
		return nil, false
	}
	return of, len(of) <= maxAddressed
}

// MatchReason is why an event went to a subscription or did not, from a
// closed list.
type MatchReason string

// The closed list of reasons, in the order they are looked at.
const (
	ReasonSent     MatchReason = "sent"
	ReasonUnknown  MatchReason = "unknown"  // there is no such subscription
	ReasonInvalid  MatchReason = "invalid"  // its types or its filter do not compile
	ReasonEndpoint MatchReason = "endpoint" // the event is for another endpoint, or this one is gone
	ReasonOwner    MatchReason = "owner"    // the event is for another owner's endpoints
	ReasonSource   MatchReason = "source"   // the event came from another source
	ReasonType     MatchReason = "type"     // none of its types is the event's
	ReasonFilter   MatchReason = "filter"   // a clause of its filter does not hold
)

// Explanation is why an event went to a subscription or did not.
type Explanation struct {
	Reason MatchReason
	// Miss is the clause that does not hold, where Reason is ReasonFilter.
	Miss Miss
	// Fault is what does not compile, where Reason is ReasonInvalid.
	Fault error
}

// Explain says why an event goes to a subscription or does not.
func (m *Matcher) Explain(e Event, subscription ID) Explanation {
	c := m.byID[subscription]
	if c == nil {
		return Explanation{Reason: ReasonUnknown}
	}
	doc := DocumentOf(e)
	reason, broken := c.judge(e, doc)
	x := Explanation{Reason: reason}
	switch reason {
	case ReasonInvalid:
		x.Fault = c.fault
	case ReasonFilter:
		x.Miss = broken.miss(doc)
	}
	return x
}

// judge is what it means to match; the index only spares the asking.
func (c *candidate) judge(e Event, doc Document) (MatchReason, *clause) {
	switch {
	case c.fault != nil:
		return ReasonInvalid, nil
	case c.endpoint == nil, e.Audience.EndpointID != ID{} && e.Audience.EndpointID != c.endpoint.ID:
		return ReasonEndpoint, nil
	case e.Audience.OwnerID != "" && e.Audience.OwnerID != c.endpoint.OwnerID:
		return ReasonOwner, nil
	case c.subscription.SourceID != ID{} && c.subscription.SourceID != e.SourceID:
		return ReasonSource, nil
	case !c.wants(e.Type):
		return ReasonType, nil
	}
	if broken := c.filter.broken(doc); broken != nil {
		return ReasonFilter, broken
	}
	return ReasonSent, nil
}

func (c *candidate) wants(eventType string) bool {
	for _, p := range c.patterns {
		if p.Matches(eventType) {
			return true
		}
	}
	return false
}
