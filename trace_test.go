package millrace

import "testing"

func TestATraceParentIsTakenOverInTheFormOfVersion00Alone(t *testing.T) {
	const taken = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for rule, c := range map[string]struct{ text, want string }{
		"one that is sampled":             {taken, taken},
		"one that is not":                 {taken[:53] + "00", taken[:53] + "00"},
		"none":                            {"", ""},
		"one that is too short":           {taken[:54], ""},
		"one with a member more":          {taken + "-01", ""},
		"one of another version":          {"01" + taken[2:], ""},
		"the version that is forbidden":   {"ff" + taken[2:], ""},
		"one in upper case":               {"00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01", ""},
		"one with other than hexadecimal": {"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", ""},
		"one with a dash for a digit":     {"00-4bf92f3577b34da6a3ce929d0e0e473--00f067aa0ba902b7-01", ""},
		"one with a digit for a dash":     {"00-4bf92f3577b34da6a3ce929d0e0e4736000f067aa0ba902b7-01", ""},
		"a NUL":                           {"00-4bf92f3577b34da6a3ce929d0e0e473\x00-00f067aa0ba902b7-01", ""},
		"a trace of zeros":                {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""},
		"a parent of zeros":               {"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", ""},
	} {
		if got := TraceParent(c.text); got != c.want {
			t.Errorf("%s: it is taken over as %q, want %q", rule, got, c.want)
		}
	}
}
