package millrace

// typeIndex finds the candidates for an event's type without looking at the
// others.
type typeIndex struct {
	exact map[string]*valueIndex
	// below is by prefix, its last dot included.
	below map[string]*valueIndex
	any   *valueIndex
}

func newTypeIndex(all []*candidate) typeIndex {
	exact, below := map[string][]*candidate{}, map[string][]*candidate{}
	var any []*candidate
	for _, c := range all {
		for _, p := range c.patterns {
			name, isPrefix := p.prefix()
			switch {
			case c.fault != nil:
			case p == AnyType:
				any = append(any, c)
			case isPrefix:
				below[name] = append(below[name], c)
			default:
				exact[name] = append(exact[name], c)
			}
		}
	}
	return typeIndex{exact: valueIndexes(exact), below: valueIndexes(below), any: newValueIndex(any)}
}

func valueIndexes(groups map[string][]*candidate) map[string]*valueIndex {
	made := make(map[string]*valueIndex, len(groups))
	for name, group := range groups {
		made[name] = newValueIndex(group)
	}
	return made
}

// each hands over what may match. A candidate's patterns being distinct, it
// comes once.
func (t typeIndex) each(eventType string, doc Document, take func(*candidate)) {
	t.exact[eventType].each(doc, take)
	for i := range len(eventType) - 1 {
		if eventType[i] == '.' {
			t.below[eventType[:i+1]].each(doc, take)
		}
	}
	t.any.each(doc, take)
}

// valueIndex finds, among the candidates of one type, those whose filter asks
// for a value that the event has.
type valueIndex struct {
	// unsorted ask for no value in particular.
	unsorted []*candidate
	places   []placeIndex
}

// placeIndex has the candidates that ask for a value at one place, each under
// the values it takes.
type placeIndex struct {
	part     Part
	path     path
	byValues map[valueKey][]*candidate
}

// place is where a clause looks.
type place struct {
	part Part
	path string
}

// ask is one value asked for at one place.
type ask struct {
	place place
	value valueKey
}

func newValueIndex(all []*candidate) *valueIndex {
	asked, places := map[ask]int{}, map[place]int{}
	for _, c := range all {
		for k := range c.filter.keyed {
			places[k.place()]++
			for _, v := range k.keys {
				asked[ask{k.place(), v}]++
			}
		}
	}
	x := &valueIndex{}
	at := map[place]int{}
	for _, c := range all {
		k := rarest(c, asked, places)
		if k == nil {
			x.unsorted = append(x.unsorted, c)
			continue
		}
		i, known := at[k.place()]
		if !known {
			i = len(x.places)
			at[k.place()] = i
			x.places = append(x.places, placeIndex{part: k.part, path: k.path, byValues: map[valueKey][]*candidate{}})
		}
		for _, v := range k.keys {
			x.places[i].byValues[v] = append(x.places[i].byValues[v], c)
		}
	}
	return x
}

// rarest is the clause of a candidate whose values the fewest others ask for,
// and of those the one at the place that most look at, so that places are few.
func rarest(c *candidate, asked map[ask]int, places map[place]int) *clause {
	var best *clause
	var bestShared int
	for k := range c.filter.keyed {
		shared := 0
		for _, v := range k.keys {
			shared = max(shared, asked[ask{k.place(), v}])
		}
		if best == nil || shared < bestShared || (shared == bestShared && places[k.place()] > places[best.place()]) {
			best, bestShared = k, shared
		}
	}
	return best
}

func (x *valueIndex) each(doc Document, take func(*candidate)) {
	if x == nil {
		return
	}
	for _, c := range x.unsorted {
		take(c)
	}
	for _, p := range x.places {
		part, ok := doc.value(p.part)
		if !ok {
			continue
		}
		v, ok := p.path.find(part)
		if !ok || !kindOf(v).scalar() { // whose key would cost its whole length, and is never asked for
			continue
		}
		for _, c := range p.byValues[keyOf(v)] {
			take(c)
		}
	}
}

// place is where the clause looks.
func (c *clause) place() place { return place{c.part, c.path.text} }

// keyed yields the clauses that must hold and pass listed values alone.
func (f *Filter) keyed(yield func(*clause) bool) {
	for _, p := range f.parts {
		for i := range p.clauses {
			if c := &p.clauses[i]; c.keys != nil && !yield(c) {
				return
			}
		}
	}
}
