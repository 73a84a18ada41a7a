package pipeline

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	millrace "github.com/millrace-dev/millrace"
)

// idText is how long an id is with its quotes.
const idText = 38

func (h *head) id(name string, id *millrace.ID, always bool) {
	if !h.member(name, always || *id != millrace.ID{}) {
		return
	}
	if !h.reading {
		h.b = appendID(h.b, *id)
		return
	}
	if len(h.b) < idText || h.b[0] != '"' || h.b[idText-1] != '"' {
		h.bad = true
		return
	}
	read, err := uuid.ParseBytes(h.b[1 : idText-1])
	*id, h.b, h.bad = read, h.b[idText:], h.bad || err != nil
}

func appendID(b []byte, id millrace.ID) []byte {
	b = append(b, '"')
	for i, group := range [][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, group)
	}
	return append(b, '"')
}

func (h *head) text(name string, s *string, always bool) {
	if !h.member(name, always || *s != "") {
		return
	}
	if h.reading {
		*s = h.readText()
	} else {
		h.writeText(*s)
	}
}

func (h *head) writeText(s string) {
	if !plain(s) {
		quoted, _ := json.Marshal(s) // a text can always be
		h.b = append(h.b, quoted...)
		return
	}
	h.b = append(h.b, '"')
	h.b = append(h.b, s...)
	h.b = append(h.b, '"')
}

func (h *head) readText() string {
	h.sign(`"`)
	n := bytes.IndexByte(h.b, '"')
	if n < 0 || !plain(h.b[:n]) {
		h.bad = true
		return ""
	}
	s := string(h.b[:n])
	h.b = h.b[n+1:]
	return s
}

// plain tells whether a text stands in JSON as it is.
func plain[S ~string | ~[]byte](s S) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

// texts are not written if there are none.
func (h *head) texts(name string, m *map[string]string) {
	if !h.member(name, len(*m) > 0) {
		return
	}
	h.begin()
	if h.reading {
		*m = h.readTexts()
	} else {
		h.writeTexts(*m)
	}
	h.end()
}

func (h *head) writeTexts(m map[string]string) {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i, key := range keys {
		if i > 0 {
			h.sign(",")
		}
		h.writeText(key)
		h.sign(":")
		h.writeText(m[key])
	}
}

func (h *head) readTexts() map[string]string {
	m := map[string]string{}
	for len(h.b) > 0 && h.b[0] != '}' && !h.bad {
		if len(m) > 0 {
			h.sign(",")
		}
		key := h.readText()
		h.sign(":")
		m[key] = h.readText()
	}
	return m
}

// digits is how many a number may have to be read here: it fits in any int.
const digits = 9

func (h *head) number(name string, n *int64, always bool) {
	if !h.member(name, always || *n != 0) {
		return
	}
	if !h.reading {
		h.b = strconv.AppendInt(h.b, *n, 10)
		return
	}
	*n = 0
	i := 0
	for ; i < len(h.b) && i <= digits && h.b[i] >= '0' && h.b[i] <= '9'; i++ {
		*n = 10**n + int64(h.b[i]-'0')
	}
	h.bad = h.bad || i == 0 || i > digits || i > 1 && h.b[0] == '0'
	h.b = h.b[i:]
}

// flag is written only if it is set.
func (h *head) flag(name string, f *bool) {
	if h.member(name, *f) {
		h.sign("true")
		*f = true
	}
}

func (h *head) time(name string, t *time.Time) {
	if !h.member(name, !t.IsZero()) {
		return
	}
	if !h.reading {
		written, err := t.MarshalJSON()
		h.b, h.err = append(h.b, written...), err
		return
	}
	n := 1 + bytes.IndexByte(h.b[min(1, len(h.b)):], '"') + 1
	if err := t.UnmarshalJSON(h.b[:min(n, len(h.b))]); err != nil {
		h.bad = true
	}
	h.b = h.b[min(n, len(h.b)):]
}
