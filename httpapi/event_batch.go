package httpapi

import (
	"bytes"
	"net/http"
	"sync"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
)

// maxBatch is how many events one batch may have.
const maxBatch = 1000

// entryOut is what became of one entry of a batch. Its status is the one that
// a request of its own would have been answered with.
type entryOut struct {
	Index     int                   `json:"index"`
	Status    int                   `json:"status"`
	UID       string                `json:"uid,omitempty"`
	Ack       millrace.AckLevel     `json:"ack,omitempty"`
	Duplicate bool                  `json:"duplicate,omitempty"`
	Code      millrace.Code         `json:"code,omitempty"`
	Message   string                `json:"message,omitempty"`
	Errors    []millrace.FieldError `json:"errors,omitempty"`
}

// createEvents takes in a batch, each entry for itself.
func (s *Server) createEvents(c *call) error {
	ack, err := preferredAck(c.r.Header)
	if err != nil {
		return err
	}
	if c.r.Header.Get("Idempotency-Key") != "" {
		return millrace.Errorf(millrace.CodeBadRequest, "a batch has no Idempotency-Key of its own: give each event an idempotency_key")
	}
	entries, err := s.batchEntries(c)
	if err != nil {
		return err
	}
	out := make([]entryOut, len(entries))
	s.each(len(entries), func(i int) {
		out[i] = s.submitEntry(c, entries[i], ack)
		out[i].Index = i
	})
	return c.respond(http.StatusMultiStatus, "Batch processed", out)
}

func (s *Server) submitEntry(c *call, raw []byte, ack millrace.AckLevel) entryOut {
	e, err := decodeEvent(raw)
	if err != nil {
		return c.refusedEntry(err)
	}
	receipt, err := s.submit(c, e, oneOrAll, ack)
	if err != nil {
		return c.refusedEntry(err)
	}
	return entryOut{Status: http.StatusCreated, UID: receipt.Event.ID.String(), Ack: receipt.Ack, Duplicate: receipt.Duplicate}
}

func (c *call) refusedEntry(err error) entryOut {
	e := asError(c, err)
	return entryOut{Status: e.Code.HTTPStatus(), Code: e.Code, Message: e.Message, Errors: e.Fields}
}

// each runs f for each index, as many at once as a batch may.
func (s *Server) each(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, s.config.BatchConcurrency) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// batchEntries reads the raw entries of {"events":[…]} or of NDJSON.
func (s *Server) batchEntries(c *call) ([][]byte, error) {
	split := batchArray
	switch t := c.mediaType(); t {
	case "application/json":
	case "application/x-ndjson", "application/ndjson", "application/jsonl":
		split = batchLines
	default:
		return nil, millrace.Errorf(millrace.CodeUnsupportedMedia, "the body must be application/json or application/x-ndjson, not %q", t)
	}
	b, err := c.readBody(s.config.MaxBatchBytes)
	if err != nil {
		return nil, err
	}
	entries, err := split(b)
	switch {
	case err != nil:
		return nil, err
	case len(entries) == 0:
		return nil, millrace.Missing("events")
	case len(entries) > maxBatch:
		return nil, millrace.Errorf(millrace.CodeTooLarge, "the batch has more than %d events", maxBatch)
	}
	return entries, nil
}

func batchArray(b []byte) ([][]byte, error) {
	if !utf8.Valid(b) {
		return nil, millrace.Errorf(millrace.CodeBadRequest, "the body is not valid UTF-8")
	}
	var entries [][]byte
	s := scanner{b: b}
	seen := false
	err := s.object(func(name []byte) error {
		if string(name) != "events" {
			_, err := s.value()
			return err
		}
		if seen {
			return millrace.Errorf(millrace.CodeBadRequest, `the body has the member "events" twice`)
		}
		seen = true
		return s.array(func() error {
			raw, err := s.value()
			if entries = append(entries, raw); len(entries) > maxBatch+1 {
				entries = entries[:maxBatch+1] // only that it is too many matters
			}
			return err
		})
	})
	if err == nil {
		err = s.end()
	}
	return entries, err
}

// batchLines takes a line for an entry. Empty lines are none; a line that is
// no event is that entry's fault alone.
func batchLines(b []byte) ([][]byte, error) {
	var entries [][]byte
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if entries = append(entries, line); len(entries) > maxBatch {
			break
		}
	}
	return entries, nil
}
