package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"

	millrace "github.com/millrace-dev/millrace"
)

// scanner walks over JSON (RFC 8259) once, telling where values begin and end.
// It decodes nothing that it is not asked for.
type scanner struct {
	b []byte
	i int
}

// deepest is how far a value may be nested: a tenth of what encoding/json takes,
// so that all who read the payload later can, whatever they wrap around it.
const deepest = 1_000

// object walks over an object. At each member, take is called with its name
// and must move past its value.
func (s *scanner) object(take func(name []byte) error) error {
	if !s.next('{') {
		return s.fault("a JSON object")
	}
	if s.next('}') {
		return nil
	}
	for {
		name, err := s.name()
		if err != nil {
			return err
		}
		if err := take(name); err != nil {
			return err
		}
		switch {
		case s.next(','):
		case s.next('}'):
			return nil
		default:
			return s.fault(`"," or "}"`)
		}
	}
}

// array walks over an array. At each element, take is called and must move
// past it.
func (s *scanner) array(take func() error) error {
	if !s.next('[') {
		return s.fault("a list")
	}
	if s.next(']') {
		return nil
	}
	for {
		if err := take(); err != nil {
			return err
		}
		switch {
		case s.next(','):
		case s.next(']'):
			return nil
		default:
			return s.fault(`"," or "]"`)
		}
	}
}

// name reads a member's name and moves past the colon after it.
func (s *scanner) name() ([]byte, error) {
	s.space()
	start := s.i
	if err := s.quoted(); err != nil {
		return nil, err
	}
	quoted := s.b[start:s.i]
	if !s.next(':') {
		return nil, s.fault(`":"`)
	}
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		return []byte(unquote(quoted)), nil
	}
	return name, nil
}

// value moves past one value and returns exactly its bytes.
func (s *scanner) value() ([]byte, error) {
	s.space()
	start := s.i
	if err := s.skip(); err != nil {
		return nil, err
	}
	return s.b[start:s.i], nil
}

// end refuses anything after the value.
func (s *scanner) end() error {
	s.space()
	if s.i < len(s.b) {
		return s.fault("nothing more")
	}
	return nil
}

func (s *scanner) fault(wanted string) error {
	found := "its end"
	if s.i < len(s.b) {
		found = fmt.Sprintf("%q", s.b[s.i])
	}
	return millrace.Errorf(millrace.CodeBadRequest, "the body is not JSON: at byte %d there should be %s, and there is %s", s.i, wanted, found)
}

// next moves past the byte if it comes next, after any space.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// skip moves past one value of any kind. The brackets still to be closed stand
// in a list, so that no depth can exhaust the stack.
func (s *scanner) skip() error {
	var room [64]byte
	open := room[:0]
	for {
		closing, err := s.begin()
		if err != nil {
			return err
		}
		if closing != 0 && !s.next(closing) {
			if open = append(open, closing); len(open) > deepest {
				return millrace.Errorf(millrace.CodeBadRequest, "the body is nested more than %d deep", deepest)
			}
			if err := s.skipName(closing); err != nil {
				return err
			}
			continue
		}
		for len(open) > 0 && s.next(open[len(open)-1]) {
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return nil
		}
		if !s.next(',') {
			return s.fault(fmt.Sprintf(`"," or "%c"`, open[len(open)-1]))
		}
		if err := s.skipName(open[len(open)-1]); err != nil {
			return err
		}
	}
}

// begin moves past a scalar or an opening bracket, and returns what will close
// that.
func (s *scanner) begin() (closing byte, err error) {
	s.space()
	if s.i >= len(s.b) {
		return 0, s.fault("a value")
	}
	ok := false
	switch s.b[s.i] {
	case '{':
		s.i++
		return '}', nil
	case '[':
		s.i++
		return ']', nil
	case '"':
		ok = s.skipString()
	case 't':
		ok = s.skipWord("true")
	case 'f':
		ok = s.skipWord("false")
	case 'n':
		ok = s.skipWord("null")
	default:
		ok = s.skipNumber()
	}
	if !ok {
		return 0, s.fault("a value")
	}
	return 0, nil
}

// skipName moves past a member's name, if it is an object that is open.
func (s *scanner) skipName(closing byte) error {
	if closing != '}' {
		return nil
	}
	s.space()
	if err := s.quoted(); err != nil {
		return err
	}
	if !s.next(':') {
		return s.fault(`":"`)
	}
	return nil
}

// quoted moves past a string.
func (s *scanner) quoted() error {
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return s.fault("a member's name")
	}
	if !s.skipString() {
		return s.fault("the rest of a string")
	}
	return nil
}

func (s *scanner) skipWord(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

// skipString moves past a string; where it is none, it stops at the fault.
func (s *scanner) skipString() bool {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return true
		case c == '\\':
			if !s.skipEscape() {
				return false
			}
		case c < ' ':
			return false
		}
	}
	return false
}

// skipEscape moves from a backslash to the last byte of its escape.
func (s *scanner) skipEscape() bool {
	if s.i++; s.i >= len(s.b) {
		return false
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if s.i++; s.i >= len(s.b) || !isHex(s.b[s.i]) {
				return false
			}
		}
		return true
	}
	return false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) skipNumber() bool {
	s.accept('-')
	if !s.accept('0') && s.digits() == 0 {
		return false
	}
	if s.accept('.') && s.digits() == 0 {
		return false
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		return s.digits() > 0
	}
	return true
}

func (s *scanner) accept(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) digits() (n int) {
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
		n++
	}
	return n
}

// unquote decodes a string that was scanned.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return string(quoted) // it was scanned; there is nothing to fail
	}
	return text
}
