package millrace

import (
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// FuzzFilter holds the filter against a slow one that takes each clause at
// its word.
func FuzzFilter(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":1,"b.c":{"$gt":"x"}}`, `{"a":1.0,"b":{"c":"y"}}`},
		{`{"items.$.sku":{"$nin":["a"]},"$or":[{"a":{"$exist":false}},{"a":null}]}`, `{"items":[{"sku":"a"},{}]}`},
		{`{"$not":{"a.0":[1,{"x":2}]}}`, `{"a":[[1,{"x":2.0}]]}`},
		{`{"a":{"$regex":"^x","$startsWith":"x","$endsWith":"y"}}`, `{"a":"xy"}`},
		{`{"a.b":{"$lte":10,"$gte":-1e3,"$neq":5}}`, `{"a.b":9007199254740993}`},
		{`{"$and":[{"$.a":{"$in":[true,"t",[]]}},{"0.a":{"$exist":true}}]}`, `[{"a":true}]`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, filter, body string) {
		compiled, err := CompileFilter(FilterSet{Body: raw(filter), Headers: raw(filter)})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is no *Error", err)
			}
			return
		}
		compiled.Match(NewDocument(DocumentParts{Headers: map[string]string{filter: body}, Body: []byte(body)}))
		compiled, err = CompileFilter(FilterSet{Body: raw(filter)})
		if err != nil {
			t.Fatalf("%s: %v", filter, err)
		}
		want, known := slowMatch(filter, body)
		if got, miss := compiled.Match(NewDocument(DocumentParts{Body: []byte(body)})); known && got != want {
			t.Fatalf("%s on %s: %v, the slow matcher says %v (%+v)", filter, body, got, want, miss)
		}
	})
}

// TestFilterAgreesWithTheSlowOne draws filters that compile and bodies that
// they nearly fit, which fuzzing bytes seldom finds.
func TestFilterAgreesWithTheSlowOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		filter, err := json.Marshal(drawConditions(t, 3))
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(drawValue(t, 3))
		if err != nil {
			t.Fatal(err)
		}
		compiled, err := CompileFilter(FilterSet{Body: filter})
		if err != nil {
			t.Fatalf("%s: %v", filter, err)
		}
		want, _ := slowMatch(string(filter), string(body))
		if got, miss := compiled.Match(NewDocument(DocumentParts{Body: body})); got != want {
			t.Fatalf("%s on %s: %v, the slow matcher says %v (%+v)", filter, body, got, want, miss)
		}
	})
}

func drawConditions(t *rapid.T, depth int) map[string]any {
	o := map[string]any{}
	for range rapid.IntRange(1, 2).Draw(t, "members") {
		name := rapid.SampledFrom([]string{"a", "b", "a.b", "$", "a.$", "a.$.b", "0", "$or", "$and", "$not", "$op"}).Draw(t, "name")
		switch {
		case name == "$op":
			op := rapid.SampledFrom(Operators[:len(Operators)-3]).Draw(t, "operator")
			o[string(op)] = drawOperand(t, op)
		case depth == 0 && name[0] == '$' && name != anyElement:
			o["a"] = 1
		case name == "$or", name == "$and":
			o[name] = []any{drawConditions(t, depth-1), drawConditions(t, depth-1)}
		case name == "$not", depth > 0 && rapid.Bool().Draw(t, "nested"):
			o[name] = drawConditions(t, depth-1)
		default:
			o[name] = drawScalar(t)
		}
	}
	return o
}

func drawOperand(t *rapid.T, op Operator) any {
	switch op {
	case OpIn, OpNin:
		return []any{drawScalar(t), drawValue(t, 1)}
	case OpExist:
		return rapid.Bool().Draw(t, "exist")
	case OpRegex, OpStartsWith, OpEndsWith:
		return rapid.SampledFrom([]string{"", "1", "x", "xy"}).Draw(t, "text")
	case OpGt, OpGte, OpLt, OpLte:
		return rapid.SampledFrom([]any{1, json.Number("1.0"), 2, "x", "1"}).Draw(t, "bound")
	}
	return drawValue(t, 1)
}

func drawScalar(t *rapid.T) any {
	return rapid.SampledFrom([]any{1, 2, json.Number("1.0"), "1", "x", "xy", true, nil}).Draw(t, "scalar")
}

func drawValue(t *rapid.T, depth int) any {
	switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
	case depth == 0 || kind == 0:
		return drawScalar(t)
	case kind == 1:
		list := []any{}
		for range rapid.IntRange(0, 2).Draw(t, "elements") {
			list = append(list, drawValue(t, depth-1))
		}
		return list
	}
	o := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "members") {
		o[rapid.SampledFrom([]string{"a", "b", "a.b", "0"}).Draw(t, "name")] = drawValue(t, depth-1)
	}
	return o
}

// slowMatch interprets a filter that compiles. It does not know numbers with
// exponents that math/big would take too long for.
func slowMatch(filter, body string) (matched, known bool) {
	if regexp.MustCompile(`[eE][+-]?[0-9]{4}`).MatchString(filter + " " + body) {
		return false, false
	}
	f, _ := parseJSON([]byte(filter))
	o, _ := f.(map[string]any)
	if len(o) == 0 {
		return true, true
	}
	b, ok := parseJSON([]byte(body))
	return ok && slowAll(o, nil, b), true
}

func slowAll(o map[string]any, at []string, doc any) bool {
	for name, v := range o {
		if !slowMember(append(at[:len(at):len(at)], strings.Split(name, ".")...), v, doc) {
			return false
		}
	}
	return true
}

func slowMember(at []string, v any, doc any) bool {
	last := at[len(at)-1]
	if len(last) > 1 && last[0] == '$' {
		return slowOperator(at[:len(at)-1], last, v, doc)
	}
	return slowValue(at, v, doc)
}

func slowValue(at []string, v any, doc any) bool {
	if o, ok := v.(map[string]any); ok {
		return slowAll(o, at, doc)
	}
	return slowOperator(at, "$eq", v, doc)
}

func slowOperator(at []string, op string, want, doc any) bool {
	switch op {
	case "$not":
		return !slowValue(at, want, doc)
	case "$and", "$or":
		for _, v := range want.([]any) {
			if slowValue(at, v, doc) == (op == "$or") {
				return op == "$or"
			}
		}
		return op == "$and"
	}
	return slowAt(at, doc, func(v any, there bool) bool { return slowTest(op, v, there, want) })
}

func slowAt(at []string, v any, test func(v any, there bool) bool) bool {
	if len(at) == 0 {
		return test(v, true)
	}
	switch v := v.(type) {
	case []any:
		if at[0] == "$" && len(v) > 0 {
			for _, e := range v {
				if slowAt(at[1:], e, test) {
					return true
				}
			}
			return false
		}
		for i, e := range v {
			if strconv.Itoa(i) == strings.TrimLeft(at[0][:len(at[0])-1], "0")+at[0][len(at[0])-1:] {
				return slowAt(at[1:], e, test)
			}
		}
	case map[string]any:
		for n := 1; n <= len(at) && at[0] != "$"; n++ {
			if child, ok := v[strings.Join(at[:n], ".")]; ok {
				return slowAt(at[n:], child, test)
			}
		}
	}
	return test(nil, false)
}

func slowTest(op string, v any, there bool, want any) bool {
	among := func(list any) bool {
		for _, w := range list.([]any) {
			if slowEqual(v, w) {
				return true
			}
		}
		return false
	}
	switch op {
	case "$exist":
		return there == want.(bool)
	case "$neq":
		return !there || !slowEqual(v, want)
	case "$nin":
		return !there || !among(want)
	}
	if !there {
		return false
	}
	s, isString := v.(string)
	w, _ := want.(string)
	switch op {
	case "$eq":
		return slowEqual(v, want)
	case "$in":
		return among(want)
	case "$regex":
		return isString && regexp.MustCompile(w).MatchString(s)
	case "$startsWith":
		return isString && strings.HasPrefix(s, w)
	case "$endsWith":
		return isString && strings.HasSuffix(s, w)
	}
	if reflect.TypeOf(v) != reflect.TypeOf(want) {
		return false
	}
	order := strings.Compare(s, w)
	if n, ok := v.(json.Number); ok {
		order = rational(string(n)).Cmp(rational(string(want.(json.Number))))
	}
	return map[string]bool{"$gt": order > 0, "$gte": order >= 0, "$lt": order < 0, "$lte": order <= 0}[op]
}

func slowEqual(a, b any) bool {
	return reflect.DeepEqual(slowNormal(a), slowNormal(b))
}

func slowNormal(v any) any {
	switch v := v.(type) {
	case json.Number:
		return struct{ number string }{rational(string(v)).String()}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = slowNormal(v[i])
		}
		return list
	case map[string]any:
		o := map[string]any{}
		for name := range v {
			o[name] = slowNormal(v[name])
		}
		return o
	}
	return v
}

func rational(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic("no number: " + s)
	}
	return r
}
