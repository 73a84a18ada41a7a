package millrace

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Bounds of one FilterSet. What a filter may cost is bounded by them and by
// the size of the event, whatever a tenant writes.
const (
	maxFilterBytes   = 64 << 10 // of each part
	maxFilterDepth   = 16
	maxFilterClauses = 256
	maxFilterValues  = 1000 // of one $in or $nin
	maxFilterRegexes = 16
	maxRegexBytes    = 1 << 10
	maxRegexSize     = 2000 // with its repetitions written out
	maxPathNames     = 32
)

// CompileFilter makes a filter ready to match. Its error is an *Error that
// names the path that is refused.
func CompileFilter(set FilterSet) (*Filter, error) {
	var f Filter
	var c filterCompiler
	for _, p := range []struct {
		part Part
		raw  json.RawMessage
	}{{PartHeaders, set.Headers}, {PartBody, set.Body}, {PartQuery, set.Query}, {PartPath, set.Path}} {
		c.part = p.part
		clauses, err := c.whole(p.raw)
		if err != nil {
			return nil, err
		}
		if len(clauses) > 0 {
			f.parts = append(f.parts, partFilter{p.part, clauses})
		}
	}
	return &f, nil
}

// filterCompiler compiles the parts of one set, and counts over all of them.
type filterCompiler struct {
	part    Part
	clauses int
	regexes int
}

func (c *filterCompiler) refuse(at string, format string, args ...any) error {
	field := "filter_config.filter." + string(c.part)
	if at != "" {
		field += "." + at
	}
	return Invalid(field, format, args...)
}

func (c *filterCompiler) whole(raw json.RawMessage) ([]clause, error) {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", `""`:
		return nil, nil
	}
	if len(raw) > maxFilterBytes {
		return nil, c.refuse("", "has %d bytes; at most %d are allowed", len(raw), maxFilterBytes)
	}
	v, ok := parseJSON(raw)
	o, isObject := v.(map[string]any)
	if !ok || !isObject {
		return nil, c.refuse("", "must be a JSON object")
	}
	return c.object("", o, 1)
}

// object compiles the members of an object that stands at a path; all of them
// must hold.
func (c *filterCompiler) object(at string, o map[string]any, depth int) ([]clause, error) {
	if depth > maxFilterDepth {
		return nil, c.refuse(at, "is nested deeper than %d levels", maxFilterDepth)
	}
	var all []clause
	for _, name := range slices.Sorted(maps.Keys(o)) {
		clauses, err := c.member(at, name, o[name], depth)
		if err != nil {
			return nil, err
		}
		all = append(all, clauses...)
	}
	return all, nil
}

func (c *filterCompiler) member(at, name string, v any, depth int) ([]clause, error) {
	to, op, err := c.target(at, name)
	switch {
	case err != nil:
		return nil, err
	case op == "":
		return c.value(to, v, depth)
	}
	return c.operation(to, op, v, depth)
}

// target is the path that a member's name leads to, and the operator that the
// name is or ends with.
func (c *filterCompiler) target(at, name string) (string, Operator, error) {
	var op Operator
	names := strings.Split(name, ".")
	if last := names[len(names)-1]; isOperator(last) {
		op = Operator(last)
		if !slices.Contains(Operators, op) {
			return "", "", c.refuse(at, "has %q, which is no operator; there are %v", last, Operators)
		}
		names = names[:len(names)-1]
	}
	for _, n := range names {
		if n == "" {
			return "", "", c.refuse(at, "has an empty name in %q", name)
		}
		if isOperator(n) {
			return "", "", c.refuse(at, "has %q, where only the last name may be an operator", name)
		}
	}
	to := strings.Join(names, ".")
	if at != "" && to != "" {
		to = at + "." + to
	} else if to == "" {
		to = at
	}
	if c.part == PartHeaders {
		to = strings.ToLower(to)
	}
	if strings.Count(to, ".") >= maxPathNames {
		return "", "", c.refuse(to, "has more than %d names", maxPathNames)
	}
	return to, op, nil
}

func isOperator(name string) bool { return name != anyElement && strings.HasPrefix(name, "$") }

// value compiles what stands at a path without an operator: more names and
// operators, or the value to equal.
func (c *filterCompiler) value(at string, v any, depth int) ([]clause, error) {
	o, ok := v.(map[string]any)
	switch {
	case ok && len(o) == 0:
		return nil, c.refuse(at, `is an empty object, which asks nothing; to ask for one write {"$eq": {}}`)
	case ok:
		return c.object(at, o, depth+1)
	case at == "":
		return nil, c.refuse(at, "must be an object here, not a bare value")
	}
	return c.operation(at, OpEq, v, depth)
}

// operation compiles an operator with its operand.
func (c *filterCompiler) operation(at string, op Operator, operand any, depth int) ([]clause, error) {
	if c.clauses++; c.clauses > maxFilterClauses {
		return nil, c.refuse(at, "is one clause too many; at most %d are allowed", maxFilterClauses)
	}
	made := clause{part: c.part, path: parsePath(at), op: op, want: operand}
	switch op {
	case OpAnd, OpOr:
		inner, err := c.list(at, op, operand, depth)
		if op == OpAnd || err != nil {
			return slices.Concat(inner...), err
		}
		made.inner = inner
	case OpNot:
		inner, err := c.value(at, operand, depth)
		if err != nil {
			return nil, err
		}
		made.inner = [][]clause{inner}
	default:
		if err := c.test(&made); err != nil {
			return nil, err
		}
	}
	return []clause{made}, nil
}

// list compiles the operand of $and and $or.
func (c *filterCompiler) list(at string, op Operator, operand any, depth int) ([][]clause, error) {
	alternatives, _ := operand.([]any)
	if len(alternatives) == 0 {
		return nil, c.refuse(at, "must have a list of at least one filter for %s", op)
	}
	var all [][]clause
	for _, a := range alternatives {
		clauses, err := c.value(at, a, depth)
		if err != nil {
			return nil, err
		}
		all = append(all, clauses)
	}
	return all, nil
}
