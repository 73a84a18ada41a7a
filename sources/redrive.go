package sources

import (
	"strings"

	millrace "github.com/millrace-dev/millrace"
)

// SourceOf is the source whose message became a dead letter: it stands in the
// broker's coordinates.
func SourceOf(d millrace.DeadLetter) (millrace.ID, error) {
	_, rest, _ := strings.Cut(d.Topic, ":")
	id, _, _ := strings.Cut(rest, ":")
	source, err := millrace.ParseID(id)
	if err != nil {
		return source, millrace.Errorf(millrace.CodeConflict, "dead letter %s came from no source", d.ID)
	}
	return source, nil
}

// Redriven reads a dead letter of the ingest stage once more, as what its
// message would submit now.
func (s Messages) Redriven(d millrace.DeadLetter) (millrace.Submission, error) {
	_, cut := d.Metadata[cutHeader]
	m := &brokerMessage{id: d.Topic, headers: d.Metadata, body: d.Raw, cut: cut}
	return s.Submission(m.message())
}
