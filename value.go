package millrace

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// parseJSON reads one JSON value with its numbers as they were written, and
// refuses anything after it.
func parseJSON(raw []byte) (any, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, false
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false
	}
	return v, true
}

// valueKey is a JSON value in a form that == compares: numbers by what they
// are worth, objects without regard to the order of their members.
type valueKey struct {
	kind valueKind
	text string
}

// valueKind is the JSON type of a value.
type valueKind byte

const (
	kindNull   valueKind = 'z'
	kindBool   valueKind = 'b'
	kindNumber valueKind = 'n'
	kindString valueKind = 's'
	kindArray  valueKind = 'a'
	kindObject valueKind = 'o'
)

func kindOf(v any) valueKind {
	switch v.(type) {
	case nil:
		return kindNull
	case bool:
		return kindBool
	case json.Number:
		return kindNumber
	case string:
		return kindString
	case []any, *array:
		return kindArray
	}
	return kindObject
}

// scalar tells whether values of the kind hold no others.
func (k valueKind) scalar() bool { return k != kindArray && k != kindObject }

func keyOf(v any) valueKey {
	k := valueKey{kind: kindOf(v)}
	switch v := v.(type) {
	case bool:
		k.text = strconv.FormatBool(v)
	case json.Number:
		k.text = parseDecimal(string(v)).String()
	case string:
		k.text = v
	case []any, map[string]any:
		var b strings.Builder
		writeKey(&b, v)
		k.text = b.String()
	case *object, *array:
		return keyOf(plain(v))
	}
	return k
}

// writeKey writes scalars behind their length, so that no content can pass
// for structure.
func writeKey(b *strings.Builder, v any) {
	switch v := v.(type) {
	case []any:
		b.WriteByte('[')
		for _, e := range v {
			writeKey(b, e)
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		for _, name := range slices.Sorted(maps.Keys(v)) {
			writeKey(b, name)
			writeKey(b, v[name])
		}
		b.WriteByte('}')
	default:
		k := keyOf(v)
		b.WriteByte(byte(k.kind))
		b.WriteString(strconv.Itoa(len(k.text)))
		b.WriteByte(':')
		b.WriteString(k.text)
	}
}

// decimal is a JSON number, exact whatever its size: digits × 10^exp, with no
// zero at either end of the digits. Zero has none.
type decimal struct {
	neg    bool
	digits string
	exp    int64
}

// maxExponent bounds what an exponent is taken for; numbers beyond 10^(10^18)
// are told apart by their digits alone.
const maxExponent = math.MaxInt64 / 8

func parseDecimal(s string) decimal {
	s, neg := strings.CutPrefix(s, "-")
	exponent := int64(0)
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		// Out of range, ParseInt answers the nearest it has.
		exponent, _ = strconv.ParseInt(s[i+1:], 10, 64)
		exponent = max(-maxExponent, min(exponent, maxExponent))
		s = s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	digits := whole + fraction
	significant := strings.TrimRight(digits, "0")
	exponent += int64(len(digits) - len(significant) - len(fraction))
	significant = strings.TrimLeft(significant, "0")
	if significant == "" {
		return decimal{}
	}
	return decimal{neg: neg, digits: significant, exp: exponent}
}

// String is the same for all ways to write one number.
func (d decimal) String() string {
	s := d.digits
	switch {
	case s == "":
		return "0"
	case d.exp != 0:
		s += "e" + strconv.FormatInt(d.exp, 10)
	}
	if d.neg {
		return "-" + s
	}
	return s
}

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.neg:
		return -1
	}
	return 1
}

// compare orders numbers by value: -1, 0 or 1.
func (d decimal) compare(o decimal) int {
	sign := d.sign()
	if c := cmp.Compare(sign, o.sign()); c != 0 || sign == 0 {
		return c
	}
	if c := cmp.Compare(d.magnitude(), o.magnitude()); c != 0 {
		return sign * c
	}
	return sign * strings.Compare(d.digits, o.digits)
}

// magnitude is the number of digits before the decimal point; negative where
// zeros follow it.
func (d decimal) magnitude() int64 { return int64(len(d.digits)) + d.exp }
