package millrace

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// readJSON reads one JSON value as far as someone looks at it: its objects and
// arrays are *object and *array, all else is as parseJSON has it. What
// parseJSON refuses it refuses.
func readJSON(raw []byte) (any, bool) {
	text := string(raw)
	if !validJSON(text) {
		return nil, false
	}
	return readValue(strings.Trim(text, " \t\r\n")), true
}

// readValue reads the value that a valid text is, without what is in it.
func readValue(text string) any {
	switch text[0] {
	case '{':
		return &object{written: written{text: text}}
	case '[':
		return &array{written: written{text: text}}
	case '"':
		return unquote(text)
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	}
	return json.Number(text)
}

// unquote reads a valid string; one that is as it looks costs no copy.
func unquote(text string) string {
	inner := text[1 : len(text)-1]
	if strings.IndexByte(inner, '\\') < 0 && utf8.ValidString(inner) {
		return inner
	}
	var s string
	_ = json.Unmarshal([]byte(text), &s) // a valid string is always read
	return s
}

// written is an object or array as it was written.
type written struct {
	text  string
	whole any // once asked for
}

// plain is the value with all that is in it, as parseJSON has it.
func (w *written) plain() any {
	if w.whole == nil {
		w.whole, _ = parseJSON([]byte(w.text))
	}
	return w.whole
}

// plain is a value with all that is in it, as parseJSON has it.
func plain(v any) any {
	if w, ok := v.(interface{ plain() any }); ok {
		return w.plain()
	}
	return v
}

// node is a value that is read when someone looks.
type node struct {
	text  string
	value any
	read  bool
}

func (n *node) look() any {
	if !n.read {
		n.value, n.read = readValue(n.text), true
	}
	return n.value
}

// object is a JSON object. Its members are found when the first one is asked
// for.
type object struct {
	written
	members []member
	// byName is there where members are many.
	byName map[string]int
	found  bool
}

type member struct {
	name string
	node
}

// fewMembers are looked through faster than hashed.
const fewMembers = 8

// member is the member of a name; of several, the last.
func (o *object) member(name string) (any, bool) {
	if !o.found {
		o.find()
	}
	if o.byName != nil {
		i, ok := o.byName[name]
		if !ok {
			return nil, false
		}
		return o.members[i].look(), true
	}
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name == name {
			return o.members[i].look(), true
		}
	}
	return nil, false
}

func (o *object) find() {
	o.found = true
	for i := pastSpace(o.text, 1); o.text[i] != '}'; {
		colon := pastString(o.text, i)
		name := unquote(o.text[i:colon])
		from := pastSpace(o.text, pastSpace(o.text, colon)+1)
		i = pastValue(o.text, from)
		o.members = append(o.members, member{name: name, node: node{text: o.text[from:i]}})
		i = pastComma(o.text, i)
	}
	if len(o.members) > fewMembers {
		o.byName = make(map[string]int, len(o.members))
		for i, m := range o.members {
			o.byName[m.name] = i
		}
	}
}

// array is a JSON array. Its elements are found when the first one is asked
// for.
type array struct {
	written
	elements []node
	found    bool
}

func (a *array) all() []node {
	if a.found {
		return a.elements
	}
	a.found = true
	for i := pastSpace(a.text, 1); a.text[i] != ']'; {
		end := pastValue(a.text, i)
		a.elements = append(a.elements, node{text: a.text[i:end]})
		i = pastComma(a.text, end)
	}
	return a.elements
}
