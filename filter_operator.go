package millrace

import (
	"encoding/json"
	"regexp"
	"regexp/syntax"
	"strings"
)

// test gives a clause its test, from its operator and operand.
func (c *filterCompiler) test(made *clause) error {
	var problem string
	switch made.op {
	case OpEq, OpNeq:
		made.within([]any{made.want})
	case OpIn, OpNin:
		problem = made.among()
	case OpGt, OpGte, OpLt, OpLte:
		problem = made.ordered()
	case OpExist:
		problem = made.exists()
	case OpStartsWith:
		problem = made.onText(strings.HasPrefix)
	case OpEndsWith:
		problem = made.onText(strings.HasSuffix)
	case OpRegex:
		if c.regexes++; c.regexes > maxFilterRegexes {
			return c.refuse(made.path.text, "is one $regex too many; at most %d are allowed", maxFilterRegexes)
		}
		problem = made.matches()
	}
	if problem != "" {
		return c.refuse(made.path.text, "has a %s that %s", made.op, problem)
	}
	return nil
}

func (c *clause) among() (problem string) {
	list, ok := c.want.([]any)
	switch {
	case !ok:
		return "is not a list"
	case len(list) > maxFilterValues:
		return "has more than 1000 values"
	}
	c.within(list)
	return ""
}

// within makes the clause pass the listed values, or all but them.
func (c *clause) within(list []any) {
	kinds := map[valueKind]bool{}
	set := map[valueKey]bool{}
	scalars := true
	for _, v := range list {
		k := keyOf(v)
		kinds[k.kind] = true
		scalars = scalars && k.kind.scalar()
		if !set[k] {
			set[k] = true
			c.keys = append(c.keys, k)
		}
	}
	denies := c.op == OpNeq || c.op == OpNin
	if denies || !scalars || !c.path.single() {
		c.keys = nil
	}
	c.missing = denies
	// The kind goes first, as the key of an array costs its whole length.
	c.test = func(v any) bool { return (kinds[kindOf(v)] && set[keyOf(v)]) != denies }
}

func (c *clause) ordered() (problem string) {
	pass := func(order int) bool { return order > 0 }
	switch c.op {
	case OpGte:
		pass = func(order int) bool { return order >= 0 }
	case OpLt:
		pass = func(order int) bool { return order < 0 }
	case OpLte:
		pass = func(order int) bool { return order <= 0 }
	}
	switch want := c.want.(type) {
	case json.Number:
		bound := parseDecimal(string(want))
		c.test = func(v any) bool {
			n, ok := v.(json.Number)
			return ok && pass(parseDecimal(string(n)).compare(bound))
		}
	case string:
		c.test = func(v any) bool {
			s, ok := v.(string)
			return ok && pass(strings.Compare(s, want))
		}
	default:
		return "is neither a number nor a string"
	}
	return ""
}

func (c *clause) exists() (problem string) {
	want, ok := c.want.(bool)
	if !ok {
		return "is neither true nor false"
	}
	c.missing = !want
	c.test = func(any) bool { return want }
	return ""
}

func (c *clause) onText(holds func(s, operand string) bool) (problem string) {
	want, ok := c.want.(string)
	if !ok {
		return "is not a string"
	}
	c.test = func(v any) bool {
		s, ok := v.(string)
		return ok && holds(s, want)
	}
	return ""
}

func (c *clause) matches() (problem string) {
	want, ok := c.want.(string)
	switch {
	case !ok:
		return "is not a string"
	case len(want) > maxRegexBytes:
		return "is longer than 1024 bytes"
	}
	if problem := tooCostly(want); problem != "" {
		return problem
	}
	re, err := regexp.Compile(want)
	if err != nil {
		return "is no regular expression (RE2): " + err.Error()
	}
	c.test = func(v any) bool {
		s, ok := v.(string)
		return ok && re.MatchString(s)
	}
	return ""
}

// tooCostly judges an expression by its size with its repetitions written
// out, which is what a byte of text may cost: `(x{99}){9}` is short, and large.
func tooCostly(expression string) (problem string) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return "is no regular expression (RE2): " + err.Error()
	}
	if writtenOut(parsed) > maxRegexSize {
		return "is too large once its repetitions are written out"
	}
	return ""
}

func writtenOut(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		size += writtenOut(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return size
}
