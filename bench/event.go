package bench

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// The data of an event says which run it belongs to, its number there, and a
// key that subscriptions filter by. A delivery bears it as it stands, so it
// tells which event it is of, whatever the gateway answers or puts into headers.
const (
	runDigits, numberDigits, keyDigits = 4, 8, 6

	runAt    = len(`{"run":"`)
	numberAt = runAt + runDigits + len(`","n":"`)
	keyAt    = numberAt + numberDigits + len(`","k":"`)
	fillerAt = keyAt + keyDigits + len(`","filler":"`)
)

// template is the data of all events of a run but for number and key.
type template []byte

// newTemplate makes data of a size, in bytes.
func newTemplate(run, size int) template {
	filler := strings.Repeat("x", max(1, size-fillerAt-len(`"}`)))
	return fmt.Appendf(nil, `{"run":"%0*d","n":"%0*d","k":"%0*d","filler":"%s"}`, runDigits, run, numberDigits, 0, keyDigits, 0, filler)
}

// append adds the data of one event.
func (t template) append(to []byte, number, key int) []byte {
	at := len(to)
	to = append(to, t...)
	digits(to[at+numberAt:at+numberAt+numberDigits], number)
	digits(to[at+keyAt:at+keyAt+keyDigits], key)
	return to
}

// number is the event's that this is the data of; false if it is of no event
// of this run, or not byte for byte what was sent.
func (t template) number(data []byte) (int, bool) {
	if len(data) != len(t) || !bytes.Equal(data[:numberAt], t[:numberAt]) || !bytes.Equal(data[keyAt+keyDigits:], t[keyAt+keyDigits:]) {
		return 0, false
	}
	n, err := strconv.Atoi(string(data[numberAt : numberAt+numberDigits]))
	return n, err == nil
}

// digits writes a number with leading zeros.
func digits(to []byte, n int) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = byte('0' + n%10)
		n /= 10
	}
}

// keyText is a key as the data bears it.
func keyText(key int) string { return fmt.Sprintf("%0*d", keyDigits, key) }

// uid is an event's id as the gateway answers it, as its bytes; zero: none.
type uid [16]byte

// parseUID reads a UUID; what is none is the zero one.
func parseUID(text []byte) (id uid) {
	if len(text) != 36 {
		return id
	}
	at := 0
	for i := 0; i < len(text) && at < len(id); i++ {
		if text[i] == '-' {
			continue
		}
		if i+1 >= len(text) {
			return uid{}
		}
		high, low := nibble(text[i]), nibble(text[i+1])
		if high > 15 || low > 15 {
			return uid{}
		}
		id[at] = high<<4 | low
		at++
		i++
	}
	return id
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// answeredUID finds the event's id in the answer to it.
func answeredUID(answer []byte) uid {
	_, rest, found := bytes.Cut(answer, []byte(`"uid":"`))
	if !found || len(rest) < 36 {
		return uid{}
	}
	return parseUID(rest[:36])
}
