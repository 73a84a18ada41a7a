package millrace

import (
	"reflect"
	"strings"
	"testing"
)

// written out by hand: what encoding/json has a word on.
var peculiar = []string{
	`{"a":1,"a":{"b":2},"\u0061":[3]}`, `{"a":{"b":1},"a":{"c":2}}`, `{"":0,"a.b":1,"a":{"b":2}}`,
	`[1,[2,[]],{},{"x":null}]`, ` [ 1 , { "a" : true , "b" : false } ] `, "\t\r\n1\n",
	`"\"\\\/\b\f\n\r\t\u00e9"`, `"\ud83d\ude00 \ud83d \ude00"`, "\"\xff\"", "{\"\xff\":1,\"\xfe\":2}", `"` + "\u2028" + `"`,
	`-0`, `-0.0e-00`, `1E+9`, `123456789012345678901234567890.5`, `0.1e`, `01`, `-`, `+1`, `.5`, `1.`, `1e+`, `--1`,
	``, ` `, `nul`, `nullx`, `truefalse`, `{`, `}`, `[`, `]`, `[1,]`, `[,1]`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{1:2}`, `{"a":1 "b":2}`,
	`"`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\n\"", "\"\x00\"", "\"\x7f\"", "\ufeff1", "1\x00", `1 2`, `{"a":1}}`, `[1]]`, `{"a":[}]`, `[{]}`,
	`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"a":10}`,
}

// FuzzReadJSON holds the reading of what is looked at against reading it all.
func FuzzReadJSON(f *testing.F) {
	for _, text := range peculiar {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		want, ok := parseJSON(raw)
		v, read := readJSON(raw)
		if read != ok {
			t.Fatalf("%q: read %v, encoding/json says %v", raw, read, ok)
		}
		if got := walked(v); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, encoding/json reads %#v", raw, got, want)
		}
		if got := plain(v); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q as a whole: %#v, encoding/json reads %#v", raw, got, want)
		}
	})
}

// walked looks at all there is in a value.
func walked(v any) any {
	switch v := v.(type) {
	case *object:
		o := map[string]any{}
		v.member("")
		for _, m := range v.members {
			member, _ := v.member(m.name)
			o[m.name] = walked(member)
		}
		return o
	case *array:
		list := []any{}
		for i := range v.all() {
			list = append(list, walked(v.all()[i].look()))
		}
		return list
	}
	return v
}

func TestJSONNestsAsDeepAsEncodingJSONLetsIt(t *testing.T) {
	for depth, want := range map[int]bool{maxNesting: true, maxNesting + 1: false} {
		for _, nested := range []string{
			strings.Repeat("[", depth) + strings.Repeat("]", depth),
			strings.Repeat(`{"a":`, depth-1) + "{}" + strings.Repeat("}", depth-1),
		} {
			_, plainly := parseJSON([]byte(nested))
			if _, ok := readJSON([]byte(nested)); ok != want || plainly != want {
				t.Errorf("%d deep: read %v, by encoding/json %v, want %v", depth, ok, plainly, want)
			}
		}
	}
}

func TestReadingOneValueOfALargeEventCostsLittle(t *testing.T) {
	body := []byte(`{"items":[` + strings.Repeat(`{"sku":"A-1234"},`, 10_000) + `{}],"customer":{"id":1}}`)
	allocations := testing.AllocsPerRun(10, func() {
		if got := DocumentOf(Event{Payload: body}).Text("customer.id"); got != "1" {
			t.Fatalf("read %q", got)
		}
	})
	if allocations > 20 {
		t.Errorf("%v allocations to read one value, want 20 at most", allocations)
	}
}
