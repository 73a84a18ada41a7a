package millrace

import (
	"encoding/json"
	"fmt"
)

// Operator is what a clause of a filter asks, from a closed list.
type Operator string

// The closed list of operators.
const (
	OpEq         Operator = "$eq"  // the same value; also what a bare value means
	OpNeq        Operator = "$neq" // another value, or none
	OpGt         Operator = "$gt"  // numbers by value, strings byte by byte, never one with the other
	OpGte        Operator = "$gte"
	OpLt         Operator = "$lt"
	OpLte        Operator = "$lte"
	OpIn         Operator = "$in"    // one of a list
	OpNin        Operator = "$nin"   // none of a list, or no value
	OpRegex      Operator = "$regex" // a string in which the expression (RE2) is found
	OpExist      Operator = "$exist" // the key is there, or with false, is not
	OpStartsWith Operator = "$startsWith"
	OpEndsWith   Operator = "$endsWith"
	OpOr         Operator = "$or"  // one of a list of filters holds
	OpAnd        Operator = "$and" // all of a list of filters hold
	OpNot        Operator = "$not" // a filter that does not hold
)

// Operators lists every operator once.
var Operators = []Operator{
	OpEq, OpNeq, OpGt, OpGte, OpLt, OpLte, OpIn, OpNin, OpRegex, OpExist, OpStartsWith, OpEndsWith, OpOr, OpAnd, OpNot,
}

// Filter is a FilterSet made ready to match. It does not change and may be
// shared. A nil Filter lets everything pass.
type Filter struct {
	parts []partFilter
}

// partFilter is the clauses on one part, all of which must hold.
type partFilter struct {
	part    Part
	clauses []clause
}

// clause is one condition.
type clause struct {
	part Part
	path path
	op   Operator
	// want is the operand as it was written.
	want any
	// test judges the value at the path; nil for OpOr and OpNot.
	test func(any) bool
	// missing is the answer where there is no value.
	missing bool
	// keys are the only values that pass; nil where that cannot be said.
	keys []valueKey
	// inner is the alternatives of OpOr, or what OpNot denies.
	inner [][]clause
}

// Miss is why a filter did not match: the clause that did not hold, and what
// was found instead.
type Miss struct {
	Part Part
	// Path is in dotted form; empty for the whole part.
	Path string
	// Operator is empty where the part is not JSON at all.
	Operator Operator
	// Want is the operand.
	Want any
	// Value is what stands at the path (before any `$` in it), where Found;
	// $or and $not look at no one value.
	Value any
	Found bool
}

// Clause describes the clause for people, such as `body.amount $gt 100`.
func (m Miss) Clause() string {
	if m.Operator == "" {
		return fmt.Sprintf("%s is JSON", m.Part)
	}
	where := string(m.Part)
	if m.Path != "" {
		where += "." + m.Path
	}
	want, err := json.Marshal(m.Want)
	if err != nil {
		return fmt.Sprintf("%s %s %v", where, m.Operator, m.Want)
	}
	return fmt.Sprintf("%s %s %s", where, m.Operator, want)
}

// Match tells whether every clause of the filter holds for the document, and
// where not, which one is the first that does not.
func (f *Filter) Match(doc Document) (bool, Miss) {
	c := f.broken(doc)
	if c == nil {
		return true, Miss{}
	}
	return false, c.miss(doc)
}

func (c *clause) miss(doc Document) Miss {
	m := Miss{Part: c.part, Path: c.path.text, Operator: c.op, Want: c.want}
	if v, ok := doc.value(c.part); ok && c.inner == nil {
		v, m.Found = c.path.find(v)
		m.Value = plain(v)
	}
	return m
}

// broken is the first clause that does not hold, or nil.
func (f *Filter) broken(doc Document) *clause {
	if f == nil {
		return nil
	}
	for _, p := range f.parts {
		v, ok := doc.value(p.part)
		if !ok {
			return &clause{part: p.part}
		}
		if c := firstBroken(p.clauses, v); c != nil {
			return c
		}
	}
	return nil
}

func firstBroken(clauses []clause, v any) *clause {
	for i := range clauses {
		if !clauses[i].holds(v) {
			return &clauses[i]
		}
	}
	return nil
}

// holds judges the clause on the value of its whole part.
func (c *clause) holds(v any) bool {
	switch c.op {
	case OpOr:
		for _, alternative := range c.inner {
			if firstBroken(alternative, v) == nil {
				return true
			}
		}
		return false
	case OpNot:
		return firstBroken(c.inner[0], v) != nil
	}
	return c.path.some(v, 0, c.test, c.missing)
}
