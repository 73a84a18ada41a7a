package millrace

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFilterOnBody(t *testing.T) {
	for _, c := range []struct{ rule, filter, body, verdict string }{
		{"no filter matches all", ``, `{"a":1}`, "yes"},
		{"an empty filter matches all", `{}`, `{"a":1}`, "yes"},
		{"null is no filter", `null`, `{"a":1}`, "yes"},
		{"an empty string is no filter", `""`, `{"a":1}`, "yes"},
		{"no filter matches a body that is not JSON", `{}`, `<xml/>`, "yes"},
		{"a body that is not JSON matches no clause", `{"a":1}`, `<xml/>`, "no"},
		{"a body that is not JSON has not even missing keys", `{"a":{"$exist":false}}`, `<xml/>`, "no"},
		{"a body that is not JSON cannot be denied", `{"$not":{"a":1}}`, `<xml/>`, "no"},
		{"an empty body is not JSON", `{"a":{"$exist":false}}`, ``, "no"},
		{"JSON with something behind it is not JSON", `{"a":1}`, `{"a":1} x`, "no"},

		{"a bare value is equality", `{"a":1}`, `{"a":1}`, "yes"},
		{"every key must hold", `{"a":1,"b":2}`, `{"a":1,"b":3}`, "no"},
		{"a missing key fails the whole", `{"a":1,"b":2}`, `{"b":2}`, "no"},
		{"keys beyond the filter do not matter", `{"a":1}`, `{"a":1,"b":2}`, "yes"},
		{"a bare null is equal to null", `{"a":null}`, `{"a":null}`, "yes"},
		{"a bare null is not a missing key", `{"a":null}`, `{}`, "no"},
		{"a bare list is equal to that list", `{"a":[1,"x"]}`, `{"a":[1.0,"x"]}`, "yes"},
		{"a list in another order is another list", `{"a":[1,2]}`, `{"a":[2,1]}`, "no"},
		{"a list is not equal to its element", `{"a":1}`, `{"a":[1]}`, "no"},
		{"$eq takes an object whole", `{"a":{"$eq":{"x":1,"y":[2]}}}`, `{"a":{"y":[2],"x":1}}`, "yes"},
		{"$eq with an object refuses one with more", `{"a":{"$eq":{"x":1}}}`, `{"a":{"x":1,"y":2}}`, "no"},
		{"a string and a number are never equal", `{"a":"1"}`, `{"a":1}`, "no"},
		{"a string and a boolean are never equal", `{"a":"true"}`, `{"a":true}`, "no"},
		{"0 is not false", `{"a":0}`, `{"a":false}`, "no"},
		{"the same number written otherwise is equal", `{"a":100}`, `{"a":1.00e2}`, "yes"},
		{"minus zero is zero", `{"a":0}`, `{"a":-0.0}`, "yes"},
		{"whole numbers beyond 2^53 are exact", `{"a":9007199254740993}`, `{"a":9007199254740992}`, "no"},
		{"fractions are exact", `{"a":0.1}`, `{"a":0.10000000000000000001}`, "no"},
		{"equality is of case too", `{"a":"X"}`, `{"a":"x"}`, "no"},
		{"a body that is a bare value can be asked for", `{"$eq":5}`, `5`, "yes"},

		{"a dotted path goes into objects", `{"a.b.c":1}`, `{"a":{"b":{"c":1}}}`, "yes"},
		{"nested objects mean the same as a dotted path", `{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":1},"d":2}}`, "yes"},
		{"dots and nesting mix", `{"a.b":{"c":1}}`, `{"a":{"b":{"c":1}}}`, "yes"},
		{"an operator may end a dotted path", `{"a.b.$gt":1}`, `{"a":{"b":2}}`, "yes"},
		{"a path does not go through a string", `{"a.b":1}`, `{"a":"b"}`, "no"},
		{"a member whose own name has dots is found", `{"http.method":"GET"}`, `{"http.method":"GET"}`, "yes"},
		{"and below others", `{"a.http.method.x":1}`, `{"a":{"http.method":{"x":1}}}`, "yes"},
		{"a number is an index of an array", `{"a.1.b":2}`, `{"a":[{"b":1},{"b":2}]}`, "yes"},
		{"an index beyond the array is missing", `{"a.2":{"$exist":false}}`, `{"a":[1,2]}`, "yes"},
		{"a number is a name of an object", `{"a.1":2}`, `{"a":{"1":2}}`, "yes"},

		{"$ is any element", `{"items.$.sku":"b"}`, `{"items":[{"sku":"a"},{"sku":"b"}]}`, "yes"},
		{"$ needs one element at least", `{"items.$.sku":"c"}`, `{"items":[{"sku":"a"},{"sku":"b"}]}`, "no"},
		{"$ may be nested", `{"items":{"$":{"sku":"b"}}}`, `{"items":[{"sku":"a"},{"sku":"b"}]}`, "yes"},
		{"$ may end the path", `{"tags.$":"b"}`, `{"tags":["a","b"]}`, "yes"},
		{"$ twice is any of any", `{"a.$.b.$":3}`, `{"a":[{"b":[1]},{"b":[2,3]}]}`, "yes"},
		{"$ on what is no array is missing", `{"items.$.sku":"a"}`, `{"items":{"sku":"a"}}`, "no"},
		{"$ on an empty array is missing", `{"items.$.sku":{"$neq":"a"}}`, `{"items":[]}`, "yes"},
		{"$ with $neq is any element that differs", `{"a.$":{"$neq":1}}`, `{"a":[1,2]}`, "yes"},
		{"$ with $neq fails when all are equal", `{"a.$":{"$neq":1}}`, `{"a":[1,1]}`, "no"},
		{"$ on a body that is an array", `{"$.sku":"b"}`, `[{"sku":"a"},{"sku":"b"}]`, "yes"},

		{"$eq", `{"a":{"$eq":"x"}}`, `{"a":"x"}`, "yes"},
		{"$neq on another value", `{"a":{"$neq":"x"}}`, `{"a":"y"}`, "yes"},
		{"$neq on the same value", `{"a":{"$neq":"x"}}`, `{"a":"x"}`, "no"},
		{"$neq on a value of another type", `{"a":{"$neq":"1"}}`, `{"a":1}`, "yes"},
		{"$neq on a missing key", `{"a":{"$neq":"x"}}`, `{}`, "yes"},
		{"$gt", `{"a":{"$gt":10}}`, `{"a":10.5}`, "yes"},
		{"$gt is strict", `{"a":{"$gt":10}}`, `{"a":10}`, "no"},
		{"$gt compares numbers by value", `{"a":{"$gt":9}}`, `{"a":10}`, "yes"},
		{"$gt is exact beyond 2^53", `{"a":{"$gt":9007199254740992}}`, `{"a":9007199254740993}`, "yes"},
		{"$gt of negative numbers", `{"a":{"$gt":-10}}`, `{"a":-9}`, "yes"},
		{"$gt of a very large number", `{"a":{"$gt":1e999999999}}`, `{"a":1e1000000000}`, "yes"},
		{"$gt on strings is lexical", `{"a":{"$gt":"10"}}`, `{"a":"9"}`, "yes"},
		{"$gt with a number never passes a string", `{"a":{"$gt":1}}`, `{"a":"2"}`, "no"},
		{"$gt with a string never passes a number", `{"a":{"$gt":"1"}}`, `{"a":2}`, "no"},
		{"$gt on a missing key", `{"a":{"$gt":1}}`, `{}`, "no"},
		{"$gt of an exponent that no machine holds", `{"a":{"$gt":1}}`, `{"a":10e9223372036854775807}`, "yes"},
		{"$gte", `{"a":{"$gte":10}}`, `{"a":10.0}`, "yes"},
		{"$lt", `{"a":{"$lt":10}}`, `{"a":9.99}`, "yes"},
		{"$lt on a missing key", `{"a":{"$lt":10}}`, `{}`, "no"},
		{"$lt on null", `{"a":{"$lt":10}}`, `{"a":null}`, "no"},
		{"$lte", `{"a":{"$lte":"b"}}`, `{"a":"b"}`, "yes"},
		{"two operators on one key must both hold", `{"a":{"$gte":1,"$lt":5}}`, `{"a":5}`, "no"},
		{"$in", `{"a":{"$in":["x",2]}}`, `{"a":2.0}`, "yes"},
		{"$in without the value", `{"a":{"$in":["x","y"]}}`, `{"a":"z"}`, "no"},
		{"$in of nothing", `{"a":{"$in":[]}}`, `{"a":"z"}`, "no"},
		{"$in on a missing key", `{"a":{"$in":["x",null]}}`, `{}`, "no"},
		{"$in asks for the whole list, not its elements", `{"a":{"$in":["x"]}}`, `{"a":["x"]}`, "no"},
		{"$in may have lists", `{"a":{"$in":[["x"]]}}`, `{"a":["x"]}`, "yes"},
		{"$nin", `{"a":{"$nin":["x","y"]}}`, `{"a":"z"}`, "yes"},
		{"$nin with the value", `{"a":{"$nin":["x","y"]}}`, `{"a":"y"}`, "no"},
		{"$nin on a missing key", `{"a":{"$nin":["x"]}}`, `{}`, "yes"},
		{"$regex is found anywhere", `{"a":{"$regex":"b+"}}`, `{"a":"abbc"}`, "yes"},
		{"$regex with anchors", `{"a":{"$regex":"^b+$"}}`, `{"a":"abbc"}`, "no"},
		{"$regex on a number", `{"a":{"$regex":"1"}}`, `{"a":1}`, "no"},
		{"$regex on a missing key", `{"a":{"$regex":".*"}}`, `{}`, "no"},
		{"$exist true", `{"a":{"$exist":true}}`, `{"a":null}`, "yes"},
		{"$exist true on a missing key", `{"a":{"$exist":true}}`, `{"b":1}`, "no"},
		{"$exist false", `{"a":{"$exist":false}}`, `{"a":null}`, "no"},
		{"$exist false on a missing key", `{"a":{"$exist":false}}`, `{"b":1}`, "yes"},
		{"$startsWith", `{"a":{"$startsWith":"ab"}}`, `{"a":"abc"}`, "yes"},
		{"$startsWith on a missing key", `{"a":{"$startsWith":""}}`, `{}`, "no"},
		{"$endsWith", `{"a":{"$endsWith":"bc"}}`, `{"a":"abc"}`, "yes"},
		{"$endsWith on a missing key", `{"a":{"$endsWith":""}}`, `{}`, "no"},

		{"$or over filters", `{"$or":[{"a":1},{"b":2}]}`, `{"b":2}`, "yes"},
		{"$or with none that holds", `{"$or":[{"a":1},{"b":2}]}`, `{"a":2}`, "no"},
		{"$or beside other keys", `{"c":1,"$or":[{"a":1},{"b":2}]}`, `{"a":1}`, "no"},
		{"$or on one key", `{"a":{"$or":[{"$lt":1},{"$gt":5}]}}`, `{"a":6}`, "yes"},
		{"$or on one key takes bare values", `{"a":{"$or":[1,2]}}`, `{"a":2}`, "yes"},
		{"$or below a key", `{"a":{"$or":[{"b":1},{"c":2}]}}`, `{"a":{"c":2}}`, "yes"},
		{"$or in which every key of an alternative must hold", `{"$or":[{"a":1,"b":1}]}`, `{"a":1}`, "no"},
		{"$and", `{"$and":[{"a":1},{"b":2}]}`, `{"a":1,"b":2}`, "yes"},
		{"$and with one that does not hold", `{"$and":[{"a":1},{"b":2}]}`, `{"a":1,"b":1}`, "no"},
		{"$and of $or", `{"$and":[{"$or":[{"a":1},{"a":2}]},{"b":2}]}`, `{"a":2,"b":2}`, "yes"},
		{"$not denies a filter", `{"$not":{"a":1}}`, `{"a":1}`, "no"},
		{"$not of what does not hold", `{"$not":{"a":1}}`, `{"a":2}`, "yes"},
		{"$not of several keys denies all of them together", `{"$not":{"a":1,"b":1}}`, `{"a":1,"b":2}`, "yes"},
		{"$not on one key", `{"a":{"$not":{"$gt":5}}}`, `{"a":6}`, "no"},
		{"$not of a bare value is $neq", `{"a":{"$not":5}}`, `{"a":6}`, "yes"},
		{"$not of $eq is $neq, of a missing key as well", `{"a":{"$not":{"$eq":5}}}`, `{}`, "yes"},
		{"$not of any element is none of them", `{"$not":{"a.$":1}}`, `{"a":[2,1]}`, "no"},
		{"$not twice", `{"$not":{"$not":{"a":1}}}`, `{"a":1}`, "yes"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			f, err := CompileFilter(FilterSet{Body: json.RawMessage(c.filter)})
			if err != nil {
				t.Fatal(err)
			}
			ok, miss := f.Match(NewDocument(DocumentParts{Body: []byte(c.body)}))
			if want := c.verdict == "yes"; ok != want {
				t.Errorf("%s on %s: %v, want %v (%+v)", c.filter, c.body, ok, want, miss)
			}
			if ok != (miss.Part == "") {
				t.Errorf("matched: %v, and yet missed %+v", ok, miss)
			}
		})
	}
}

func TestFilterOnOtherParts(t *testing.T) {
	doc := func() Document {
		return NewDocument(DocumentParts{
			Headers: map[string]string{"X-Tenant": "acme", "x-count": "5", "a.b": "c"},
			Body:    []byte(`{"a":1}`),
			Query:   json.RawMessage(`{"page":"2","tag":["a","b"]}`),
			Path:    json.RawMessage(`"/hooks/acme"`),
		})
	}
	for _, c := range []struct {
		rule string
		set  FilterSet
		want bool
	}{
		{"a header by its name in any case", FilterSet{Headers: raw(`{"x-TENANT":"acme"}`)}, true},
		{"a header's value in its own case", FilterSet{Headers: raw(`{"X-Tenant":"ACME"}`)}, false},
		{"a header is a string, not a number", FilterSet{Headers: raw(`{"X-Count":5}`)}, false},
		{"a header that is not there", FilterSet{Headers: raw(`{"X-Other":{"$exist":false}}`)}, true},
		{"a header with a dot in its name", FilterSet{Headers: raw(`{"A.B":"c"}`)}, true},
		{"a query parameter", FilterSet{Query: raw(`{"page":"2"}`)}, true},
		{"any of a parameter's values", FilterSet{Query: raw(`{"tag.$":"b"}`)}, true},
		{"the path", FilterSet{Path: raw(`{"$startsWith":"/hooks/"}`)}, true},
		{"all parts must hold", FilterSet{Headers: raw(`{"X-Tenant":"acme"}`), Body: raw(`{"a":2}`)}, false},
		{"all parts hold", FilterSet{Headers: raw(`{"X-Tenant":"acme"}`), Body: raw(`{"a":1}`), Query: raw(`{"page":"2"}`)}, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if ok, miss := mustCompile(t, c.set).Match(doc()); ok != c.want {
				t.Errorf("%v, want %v: %s", ok, c.want, miss.Clause())
			}
		})
	}
	t.Run("what an event has no part for is empty", func(t *testing.T) {
		f := mustCompile(t, FilterSet{Query: raw(`{"page":{"$exist":false}}`)})
		if ok, miss := f.Match(DocumentOf(Event{Payload: []byte(`{}`)})); !ok {
			t.Errorf("missed %s", miss.Clause())
		}
	})
}

func TestFilterNamesWhatMissed(t *testing.T) {
	for _, c := range []struct{ rule, filter, body, clause, value string }{
		{"the first clause that does not hold, in the order of names", `{"b":2,"a":1}`, `{"a":2,"b":3}`, `body.a $eq 1`, `2`},
		{"a key that is missing has no value", `{"a":1}`, `{}`, `body.a $eq 1`, `missing`},
		{"a value is shown exactly", `{"a":{"$gt":5}}`, `{"a":1.10}`, `body.a $gt 5`, `1.10`},
		{"inside $and the clause itself", `{"$and":[{"a":1},{"b":{"c":{"$in":[1]}}}]}`, `{"a":1,"b":{"c":2}}`, `body.b.c $in [1]`, `2`},
		{"of $or the whole", `{"a":{"$or":[1,2]}}`, `{"a":3}`, `body.a $or [1,2]`, `missing`},
		{"of $not the whole", `{"$not":{"a":1}}`, `{"a":1}`, `body $not {"a":1}`, `missing`},
		{"of any element the array", `{"a.$":1}`, `{"a":[2,3]}`, `body.a.$ $eq 1`, `[2,3]`},
		{"a body that is not JSON", `{"a":1}`, `a=1`, `body is JSON`, `missing`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			ok, miss := mustCompile(t, FilterSet{Body: raw(c.filter)}).Match(NewDocument(DocumentParts{Body: []byte(c.body)}))
			if ok || miss.Clause() != c.clause {
				t.Errorf("matched %v, missed %q, want %q", ok, miss.Clause(), c.clause)
			}
			value := "missing"
			if miss.Found {
				b, err := json.Marshal(miss.Value)
				if err != nil {
					t.Fatal(err)
				}
				value = string(b)
			}
			if value != c.value {
				t.Errorf("value %s, want %s", value, c.value)
			}
		})
	}
}

func TestCompileFilterRefuses(t *testing.T) {
	nested := func(open, end string, n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(end, n) }
	many := func(n int, of string) string {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"k%03d":%s`, i, of))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	for _, c := range []struct{ rule, body, field, says string }{
		{"what is not JSON", `{"a":`, "filter_config.filter.body", "must be a JSON object"},
		{"what is no object", `[1]`, "filter_config.filter.body", "must be a JSON object"},
		{"a bare string", `"a"`, "filter_config.filter.body", "must be a JSON object"},
		{"an unknown operator", `{"a":{"b":{"$ne":1}}}`, "filter_config.filter.body.a.b", `"$ne", which is no operator`},
		{"an operator inside a path", `{"a.$gt.b":1}`, "filter_config.filter.body", "only the last name may be an operator"},
		{"an empty name", `{"a..b":1}`, "filter_config.filter.body", "empty name"},
		{"an empty key", `{"a":{"":1}}`, "filter_config.filter.body.a", "empty name"},
		{"an empty object", `{"a":{}}`, "filter_config.filter.body.a", "empty object"},
		{"$gt of a boolean", `{"a":{"$gt":true}}`, "filter_config.filter.body.a", "$gt that is neither a number nor a string"},
		{"$in of a string", `{"a":{"$in":"x"}}`, "filter_config.filter.body.a", "$in that is not a list"},
		{"$exist of a number", `{"a":{"$exist":1}}`, "filter_config.filter.body.a", "$exist that is neither true nor false"},
		{"$startsWith of a number", `{"a":{"$startsWith":1}}`, "filter_config.filter.body.a", "$startsWith that is not a string"},
		{"$regex of a number", `{"a":{"$regex":1}}`, "filter_config.filter.body.a", "$regex that is not a string"},
		{"$regex that RE2 does not know", `{"a":{"$regex":"(?=x)"}}`, "filter_config.filter.body.a", "no regular expression"},
		{"$regex that is long", `{"a":{"$regex":"` + strings.Repeat("x", 1025) + `"}}`, "filter_config.filter.body.a", "longer than 1024 bytes"},
		{"$regex that is large", `{"a":{"$regex":"(abcdefghij{9}){99}"}}`, "filter_config.filter.body.a", "too large"},
		{"$or of an object", `{"a":{"$or":{"b":1}}}`, "filter_config.filter.body.a", "list of at least one filter for $or"},
		{"$and of nothing", `{"$and":[]}`, "filter_config.filter.body", "list of at least one filter for $and"},
		{"$or of a bare value on no key", `{"$or":[1]}`, "filter_config.filter.body", "must be an object here"},
		{"$not of an empty object", `{"$not":{}}`, "filter_config.filter.body", "empty object"},
		{"more than 16 levels", nested(`{"a":`, `}`, 17), "filter_config.filter.body." + strings.Repeat("a.", 15) + "a", "deeper than 16 levels"},
		{"more than 16 levels of operators", nested(`{"$not":`, `}`, 17), "filter_config.filter.body", "deeper than 16 levels"},
		{"more than 256 clauses", many(257, "1"), "filter_config.filter.body.k256", "at most 256"},
		{"more than 16 expressions", many(17, `{"$regex":"x"}`), "filter_config.filter.body.k016", "at most 16"},
		{"more than 1000 values", `{"a":{"$in":[1` + strings.Repeat(",1", 1000) + `]}}`, "filter_config.filter.body.a", "more than 1000 values"},
		{"more than 64 KiB", `{"a":"` + strings.Repeat("x", 64<<10) + `"}`, "filter_config.filter.body", "at most 65536"},
		{"a path of more than 32 names", `{"a` + strings.Repeat(".a", 32) + `":1}`, "filter_config.filter.body.a" + strings.Repeat(".a", 32), "more than 32 names"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := CompileFilter(FilterSet{Body: raw(c.body)})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is no *Error", err)
			}
			if e.Code != CodeInvalid || len(e.Fields) != 1 || e.Fields[0].Field != c.field || !strings.Contains(e.Message, c.says) {
				t.Errorf("refused with %+v, want field %s and %q", e, c.field, c.says)
			}
		})
	}
	t.Run("clauses are counted over all parts", func(t *testing.T) {
		half := raw(many(129, "1"))
		if _, err := CompileFilter(FilterSet{Headers: half, Body: half}); err == nil {
			t.Error("258 clauses were taken")
		}
	})
}

func TestFilterTakesAllWithinItsBounds(t *testing.T) {
	for _, f := range []string{
		strings.Repeat(`{"a":`, 16) + "1" + strings.Repeat("}", 16),
		`{"a` + strings.Repeat(".a", 31) + `":1}`,
		`{"a":{"$regex":"` + strings.Repeat("x", 1024) + `"}}`,
		`{"id":{"$regex":"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"}}`,
	} {
		if _, err := CompileFilter(FilterSet{Body: raw(f)}); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestDecimalsOrderAsRationals(t *testing.T) {
	mantissa := rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := mantissa.Draw(t, "a"), mantissa.Draw(t, "b")
		if rapid.Bool().Draw(t, "near") {
			b = a
			if strings.Contains(b, ".") {
				b += rapid.SampledFrom([]string{"0", "00", "1"}).Draw(t, "tail")
			}
		}
		a += fmt.Sprintf("e%+d", rapid.IntRange(-3, 3).Draw(t, "exponent of a"))
		b += fmt.Sprintf("E%d", rapid.IntRange(-3, 3).Draw(t, "exponent of b"))
		x, y := parseDecimal(a), parseDecimal(b)
		want := rational(a).Cmp(rational(b))
		if got := x.compare(y); got != want {
			t.Fatalf("compare %s with %s: %d, want %d", a, b, got, want)
		}
		if same := x.String() == y.String(); same != (want == 0) {
			t.Fatalf("%s and %s read %s and %s", a, b, x, y)
		}
	})
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func mustCompile(t *testing.T, set FilterSet) *Filter {
	t.Helper()
	f, err := CompileFilter(set)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
