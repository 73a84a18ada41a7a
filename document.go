package millrace

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Part is one of the parts of an event that a filter looks at, from a closed
// list.
type Part string

// The closed list of parts.
const (
	PartHeaders Part = "headers"
	PartBody    Part = "body"
	PartQuery   Part = "query"
	PartPath    Part = "path"
)

// Document is what filters look at: an event by its parts. Each part is read
// once, when the first filter asks for it. It is good for one goroutine.
type Document struct {
	parts DocumentParts
	read  map[Part]reading
}

// reading is what came of reading a part.
type reading struct {
	value any
	ok    bool
}

// DocumentParts is what a Document is made of. The body is any bytes; query
// and path are JSON, and empty where there is none.
type DocumentParts struct {
	Headers map[string]string
	Body    []byte
	Query   json.RawMessage
	Path    json.RawMessage
}

// NewDocument makes a document and reads none of it yet.
func NewDocument(p DocumentParts) Document {
	return Document{parts: p, read: map[Part]reading{}}
}

// DocumentOf is an event as filters see it.
func DocumentOf(e Event) Document {
	return NewDocument(DocumentParts{Headers: e.Headers, Body: e.Payload})
}

// value is a part as a JSON value, read as far as someone looked; false where
// it is none.
func (d Document) value(p Part) (any, bool) {
	r, done := d.read[p]
	if !done {
		r = d.parts.reading(p)
		d.read[p] = r
	}
	return r.value, r.ok
}

func (p DocumentParts) reading(part Part) reading {
	raw := p.Path
	switch part {
	case PartHeaders:
		return reading{foldedHeaders(p.Headers), true}
	case PartBody:
		v, ok := readJSON(p.Body)
		return reading{v, ok}
	case PartQuery:
		raw = p.Query
	}
	if len(raw) == 0 {
		return reading{map[string]any{}, true}
	}
	v, ok := readJSON(raw)
	return reading{v, ok}
}

// foldedHeaders makes header names lower case, as filters have them. Of names
// that differ in case alone the last in their order counts.
func foldedHeaders(h map[string]string) map[string]any {
	folded := make(map[string]any, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		folded[strings.ToLower(name)] = h[name]
	}
	return folded
}

// anyElement is the name in a path that stands for any element of an array.
const anyElement = "$"

// path is where a clause looks: names with dots between them. A name is a
// member of an object, an index of an array, or anyElement.
type path struct {
	text string
	// ends is where each name ends in text.
	ends []int
}

func parsePath(text string) path {
	p := path{text: text}
	if text == "" {
		return p
	}
	for i := range len(text) {
		if text[i] == '.' {
			p.ends = append(p.ends, i)
		}
	}
	p.ends = append(p.ends, len(text))
	return p
}

// names is the text of names i to j.
func (p path) names(i, j int) string {
	if i == 0 {
		return p.text[:p.ends[j]]
	}
	return p.text[p.ends[i-1]+1 : p.ends[j]]
}

// single tells whether the path leads to one value at most.
func (p path) single() bool {
	for i := range p.ends {
		if p.names(i, i) == anyElement {
			return false
		}
	}
	return true
}

// step goes from v by name i, and answers the name to go on with. Where an
// object has no such member, one whose own name has dots may be meant.
func (p path) step(v any, i int) (child any, next int, ok bool) {
	switch v := v.(type) {
	case map[string]any:
		for j := i; j < len(p.ends); j++ {
			if child, ok = v[p.names(i, j)]; ok {
				return child, j + 1, true
			}
		}
	case *object:
		for j := i; j < len(p.ends); j++ {
			if child, ok = v.member(p.names(i, j)); ok {
				return child, j + 1, true
			}
		}
	case *array:
		if n, ok := index(p.names(i, i)); ok && n < len(v.all()) {
			return v.all()[n].look(), i + 1, true
		}
	}
	return nil, 0, false
}

func index(name string) (int, bool) {
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(name)
	return n, err == nil
}

// find is the value at the path, which stops before any anyElement.
func (p path) find(v any) (any, bool) {
	for i := 0; i < len(p.ends) && p.names(i, i) != anyElement; {
		var ok bool
		if v, i, ok = p.step(v, i); !ok {
			return nil, false
		}
	}
	return v, true
}

// some tells whether the value from name i on passes the test, or with
// anyElement, whether one of them does. Where the path leads nowhere, the
// answer is missing.
func (p path) some(v any, i int, test func(any) bool, missing bool) bool {
	for i < len(p.ends) {
		if p.names(i, i) == anyElement {
			return p.someElement(v, i, test, missing)
		}
		var ok bool
		if v, i, ok = p.step(v, i); !ok {
			return missing
		}
	}
	return test(v)
}

func (p path) someElement(v any, i int, test func(any) bool, missing bool) bool {
	list, ok := v.(*array)
	if !ok || len(list.all()) == 0 {
		return missing
	}
	for n := range list.all() {
		if p.some(list.all()[n].look(), i+1, test, missing) {
			return true
		}
	}
	return false
}

// Text is the text, number or truth that stands at a dotted path of the body;
// empty where there is none.
func (d Document) Text(dotted string) string {
	body, ok := d.value(PartBody)
	if !ok {
		return ""
	}
	v, _ := parsePath(dotted).find(body)
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}
