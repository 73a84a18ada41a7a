package httpapi

import (
	"errors"
	"io"
	"sync"

	millrace "github.com/millrace-dev/millrace"
)

// strangerBytes is what is held at once of the webhooks of one source that are
// not verified yet: dozens of the largest.
const strangerBytes = 64 << 20

// strangers counts what is held of webhooks that are not verified yet, source
// by source. Whoever knows one's URL can send it bodies that never end, and
// shall wear out that source alone.
type strangers struct {
	most int

	mu   sync.Mutex
	held map[millrace.ID]int
}

// hold counts n bytes more; false: there are too many, and they do not count.
func (s *strangers) hold(source millrace.ID, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[source]+n > s.most {
		return false
	}
	s.held[source] += n
	return true
}

// letGo counts n bytes less.
func (s *strangers) letGo(source millrace.ID, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[source] -= n; s.held[source] == 0 {
		delete(s.held, source)
	}
}

// errStrangers: the source is sent more than it can verify.
var errStrangers = errors.New("too much of the source's webhooks is under way that is not verified yet")

// countedBody is a body that counts as it comes.
type countedBody struct {
	io.ReadCloser
	of     *strangers
	source millrace.ID
	held   int
	full   bool
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.of.hold(b.source, n) {
		b.full = true
		return 0, errStrangers
	}
	b.held += n
	return n, err
}

// letGo counts it no more.
func (b *countedBody) letGo() { b.of.letGo(b.source, b.held) }
