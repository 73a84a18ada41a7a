package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	millrace "github.com/millrace-dev/millrace"
)

// NewEvent is an event to be sent. Its data is sent as it stands.
type NewEvent struct {
	Type           string            `json:"event_type"`
	EndpointID     string            `json:"endpoint_id,omitempty"`
	OwnerID        string            `json:"owner_id,omitempty"`
	Headers        map[string]string `json:"custom_headers,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Data           []byte            `json:"-"`
}

// Receipt is the API's answer to an event.
type Receipt struct {
	ID        string            `json:"uid"`
	Type      string            `json:"event_type"`
	Ack       millrace.AckLevel `json:"ack"`
	Duplicate bool              `json:"duplicate"`
}

// Send sends one event; ack is queued, persisted or empty.
func (c *Client) Send(ctx context.Context, e NewEvent, ack string) (r Item[Receipt], err error) {
	body, err := e.body()
	if err != nil {
		return r, err
	}
	return r, c.call(ctx, request{method: http.MethodPost, path: c.ofProject("/events"), header: prefer(ack), body: body}, &r)
}

// body puts the data in by hand: an encoder would change its bytes.
func (e NewEvent) body() ([]byte, error) {
	if !json.Valid(e.Data) {
		return nil, errors.New("the data is not JSON; write it in single quotes, such as '{\"id\":42}'")
	}
	head, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	body := append(head[:len(head)-1], `,"data":`...)
	return append(append(body, bytes.TrimSpace(e.Data)...), '}'), nil
}

func prefer(ack string) http.Header {
	if ack == "" {
		return nil
	}
	return http.Header{"Prefer": {"ack=" + ack}}
}

// Sending sends many events, each one line of NDJSON with the members of
// POST /events, in batches, several at once.
type Sending struct {
	Client      *Client
	Concurrency int
	Ack         string
	// Progress hears of each batch, one call at a time.
	Progress func(SendCounts)
	// Refused hears of each event that was not taken, one call at a time.
	Refused func(line int, reason string)
}

// SendCounts is how many events were taken in and how many were not. Bytes is
// how much of the input is done with.
type SendCounts struct {
	Sent       int   `json:"sent"`
	Duplicates int   `json:"duplicates"`
	Failed     int   `json:"failed"`
	Bytes      int64 `json:"-"`
}

// Bounds of a batch and of the lines that wait for one.
const (
	batchLines = 250
	batchBytes = 4 << 20
	maxLine    = 66 << 20
)

// line is one event of the input.
type line struct {
	number int
	text   []byte
	read   int // bytes of the input, empty lines before it included
}

// Run sends all lines. An event that is refused is counted; an API that does
// not answer, or takes nothing, ends it with an error.
func (s Sending) Run(ctx context.Context, in io.Reader) (SendCounts, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	t := &tally{sending: s}
	lines := make(chan line, batchLines)
	var unread error
	go func() { // not waited for where it is stopped: nothing ends a read of a terminal
		unread = readLines(ctx, in, lines)
		close(lines)
	}()
	var workers sync.WaitGroup
	for range max(s.Concurrency, 1) {
		workers.Go(func() {
			if err := s.work(ctx, t, lines); err != nil {
				stop(err)
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return t.counts, context.Cause(ctx)
	}
	return t.counts, unread
}

// readLines hands on every line that is not empty.
func readLines(ctx context.Context, in io.Reader, to chan<- line) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxLine)
	for next := (line{number: 1}); scanner.Scan(); next.number++ {
		next.read += len(scanner.Bytes()) + 1
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		next.text = bytes.Clone(scanner.Bytes())
		select {
		case to <- next:
		case <-ctx.Done():
			return nil
		}
		next.read = 0
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	return nil
}

// work sends batches until there are no more lines. It takes what is there
// and waits for nothing: one line when the input is slow, many when it is not.
func (s Sending) work(ctx context.Context, t *tally, lines <-chan line) error {
	for {
		var batch []line
		select {
		case first, ok := <-lines:
			if !ok {
				return nil
			}
			batch = gather(first, lines)
		case <-ctx.Done():
			return nil
		}
		if err := s.send(ctx, t, batch); err != nil {
			return err
		}
	}
}

func gather(first line, lines <-chan line) []line {
	batch := []line{first}
	for size := len(first.text); len(batch) < batchLines && size < batchBytes; {
		select {
		case next, ok := <-lines:
			if !ok {
				return batch
			}
			batch, size = append(batch, next), size+len(next.text)
		default:
			return batch
		}
	}
	return batch
}

// entry is what became of one event of a batch.
type entry struct {
	Index     int    `json:"index"`
	Status    int    `json:"status"`
	Duplicate bool   `json:"duplicate"`
	Message   string `json:"message"`
}

func (s Sending) send(ctx context.Context, t *tally, batch []line) error {
	var body bytes.Buffer
	for _, l := range batch {
		body.Write(l.text)
		body.WriteByte('\n')
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	if s.Ack != "" {
		header.Set("Prefer", "ack="+s.Ack)
	}
	var entries []entry
	err := s.Client.call(ctx, request{
		method: http.MethodPost, path: s.Client.ofProject("/events/batch"), header: header, body: body.Bytes(),
	}, &entries)
	if err != nil {
		return err
	}
	t.add(batch, entries)
	return nil
}

// tally counts what became of the events.
type tally struct {
	sending Sending
	mu      sync.Mutex
	counts  SendCounts
}

func (t *tally) add(batch []line, entries []entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range batch {
		t.counts.Bytes += int64(l.read)
	}
	for _, e := range entries {
		switch {
		case e.Status >= 300:
			t.counts.Failed++
			if t.sending.Refused != nil && e.Index < len(batch) {
				t.sending.Refused(batch[e.Index].number, e.Message)
			}
		case e.Duplicate:
			t.counts.Duplicates++
		default:
			t.counts.Sent++
		}
	}
	if t.sending.Progress != nil {
		t.sending.Progress(t.counts)
	}
}
