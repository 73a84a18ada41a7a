package millrace

// traceParentForm is the form of a traceparent of version 00: 0 stands for a
// lower-case hexadecimal digit.
const traceParentForm = "00-00000000000000000000000000000000-0000000000000000-00"

// TraceParent takes the value of a traceparent header over: it is the text if
// that has the form of version 00 of W3C Trace Context, section 3.2, else
// empty, as what cannot be parsed is to be ignored.
func TraceParent(text string) string {
	if len(text) != len(traceParentForm) || text[:3] != "00-" {
		return ""
	}
	for i := range len(text) {
		digit := '0' <= text[i] && text[i] <= '9' || 'a' <= text[i] && text[i] <= 'f'
		if dash := traceParentForm[i] == '-'; dash != (text[i] == '-') || !dash && !digit {
			return ""
		}
	}
	trace, parent := text[3:35], text[36:52]
	if trace == traceParentForm[3:35] || parent == traceParentForm[36:52] {
		return "" // all zeros: no trace, no parent
	}
	return text
}
