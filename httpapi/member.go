package httpapi

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// member is a member of a request that may be absent. As in Convoy, null and
// "" mean absent.
type member[T any] struct {
	value T
	given bool
}

// UnmarshalJSON reads the value, unless there is none.
func (m *member[T]) UnmarshalJSON(b []byte) error {
	if isAbsent(b) {
		return nil
	}
	if err := json.Unmarshal(b, &m.value); err != nil {
		return err
	}
	m.given = true
	return nil
}

// into sets what the request names and leaves the rest.
func (m member[T]) into(to *T) {
	if m.given {
		*to = m.value
	}
}

func isAbsent(raw []byte) bool {
	return len(raw) == 0 || string(raw) == "null" || string(raw) == `""`
}

// seconds is a duration of the API: whole seconds in a number, or a duration
// such as "10s" in a string.
type seconds time.Duration

// UnmarshalJSON reads both forms.
func (s *seconds) UnmarshalJSON(b []byte) error {
	text := string(b)
	quoted := strings.HasPrefix(text, `"`)
	if quoted {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	const longest = int64(1<<63-1) / int64(time.Second)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= -longest && n <= longest {
		*s = seconds(time.Duration(n) * time.Second)
		return nil
	}
	if d, err := time.ParseDuration(text); err == nil && quoted {
		*s = seconds(d)
		return nil
	}
	return &json.UnmarshalTypeError{Value: string(b), Type: reflect.TypeFor[seconds]()}
}

// MarshalJSON writes whole seconds as a number, so as Convoy does, and keeps
// anything finer in a string.
func (s seconds) MarshalJSON() ([]byte, error) {
	d := time.Duration(s)
	if d%time.Second == 0 {
		return strconv.AppendInt(nil, int64(d/time.Second), 10), nil
	}
	return strconv.AppendQuote(nil, d.String()), nil
}

// sensitive is a secret of a request: it goes nowhere but into the domain.
type sensitive = member[millrace.Sensitive]

// setSecret takes a secret over. What a client only read, masked, and sends
// back as it was changes nothing.
func setSecret(given sensitive, to *millrace.Sensitive) {
	if given.given && given.value.Reveal() != masked(*to) {
		*to = given.value
	}
}

// masked is what may be shown of a secret: its last four characters, if that
// does not give away too much of it.
func masked(s millrace.Sensitive) string {
	text := s.Reveal()
	switch {
	case text == "":
		return ""
	case len(text) < 12:
		return "****"
	}
	return "****" + text[len(text)-4:]
}

// object is a JSON object whose members nobody here reads.
type object map[string]json.RawMessage

// over lays the object over what is there: objects member by member, all else
// as a whole.
func (o object) over(there json.RawMessage) json.RawMessage {
	merged := object{}
	if json.Unmarshal(there, &merged) != nil || merged == nil {
		merged = object{}
	}
	for name, v := range o {
		if isAbsent(v) {
			continue
		}
		var inner object
		if json.Unmarshal(v, &inner) == nil {
			v = inner.over(merged[name])
		}
		merged[name] = v
	}
	raw, err := json.Marshal(merged)
	if err != nil {
		return there // each part was just parsed; there is nothing to fail
	}
	return raw
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func idOrEmpty(id millrace.ID) string {
	if id == (millrace.ID{}) {
		return ""
	}
	return id.String()
}
