package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

// What a broker says is kept with what the others say: it must not spoil that.
func TestAFaultIsTextThatCanBeKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rule, said, kept string }{
		{"plain words stay as they are", "queue orders does not exist", "queue orders does not exist"},
		{"control characters are spaces", "a\x00b\r\n\tc", "a b c"},
		{"what is no text is left out", "a\xff\xfeb", "ab"},
		{"a letter is not cut in two", strings.Repeat("x", longestFault-1) + "é", strings.Repeat("x", longestFault-1)},
		{"it has an end", strings.Repeat("x", 10*longestFault), strings.Repeat("x", longestFault)},
	} {
		t.Run(c.rule, func(t *testing.T) {
			h := newHealth(millrace.ID{})
			h.unhealthy(errors.New(c.said))
			if got := h.State().Error; got != c.kept {
				t.Errorf("it says %q, want %q", got, c.kept)
			}
		})
	}
}

func TestALineOfTheLogHasAnEndToo(t *testing.T) {
	t.Parallel()
	logged := new(bytes.Buffer)
	l := newLink(BrokerConfig{Logger: slog.New(slog.NewTextHandler(logged, nil))}, 1)
	l.lost(errors.New(strings.Repeat("x", 10*longestFault)))
	if n := logged.Len(); n == 0 || n > 2*longestFault {
		t.Errorf("%d bytes were logged", n)
	}
}

func TestWhatSQSSaysIsCutShort(t *testing.T) {
	t.Parallel()
	said := fmt.Sprintf(`{"__type": "Odd", "message": "no\u0000%s"}`, strings.Repeat("x", 1<<20))
	odd := standIn(t, func(w http.ResponseWriter, _ string) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(said)) // the source may hang up
	})
	a := startAgent(t, agentConfig{source: sqsSourceOf(odd, "orders")})
	s := a.wantState(millrace.SourceUnhealthy)
	if !strings.HasPrefix(s.Error, "SQS refuses: no x") || len(s.Error) > longestFault {
		t.Errorf("its error has %d bytes, and begins with %.100q", len(s.Error), s.Error)
	}
}

func TestAnAnswerWithoutEndIsNotReadForEver(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	endless := standIn(t, func(w http.ResponseWriter, _ string) {
		for next := `{"QueueUrl": "`; written.Load() < 8*sqsLongest; next = strings.Repeat("x", 1<<20) {
			n, err := io.WriteString(w, next)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	a := startAgent(t, agentConfig{source: sqsSourceOf(endless, "orders")})
	a.wantState(millrace.SourceUnhealthy)
	if n := written.Load(); n > 2*sqsLongest {
		t.Errorf("%d MiB of the answer were read", n>>20)
	}
}

func TestSQSIsNotFollowedElsewhere(t *testing.T) {
	t.Parallel()
	var followed atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	t.Cleanup(server.Close)
	a := startAgent(t, agentConfig{source: sqsSourceOf(server.URL, "orders")})
	a.wantState(millrace.SourceUnhealthy)
	if n := followed.Load(); n != 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
}

// answering is a server that answers the calls of SQS as told, by their names.
func answering(t *testing.T, answers map[string]string) string {
	t.Helper()
	return standIn(t, func(w http.ResponseWriter, call string) {
		_, _ = io.WriteString(w, answers[call]) // the source may hang up
	})
}

// standIn is a server in the place of SQS. It reads a call before it answers:
// net/http hangs up on who answers sooner, and the SDK then has half an answer.
func standIn(t *testing.T, answer func(w http.ResponseWriter, call string)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, call, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		answer(w, call)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestASourceSurvivesWhateverAnswersInThePlaceOfSQS(t *testing.T) {
	t.Parallel()
	const queue = `{"QueueUrl": "http://q/orders"}`
	for _, c := range []struct {
		rule    string
		answers map[string]string
	}{
		{"nothing at all", nil},
		{"no queue's URL", map[string]string{"GetQueueUrl": `{}`}},
		{"a message without an id", map[string]string{"GetQueueUrl": queue, "ReceiveMessage": `{"Messages": [{"Body": "x", "ReceiptHandle": "r"}]}`}},
		{"a message without a receipt", map[string]string{"GetQueueUrl": queue, "ReceiveMessage": `{"Messages": [{"Body": "x", "MessageId": "m"}]}`}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			a := startAgent(t, agentConfig{source: sqsSourceOf(answering(t, c.answers), "orders")})
			if s := a.wantState(millrace.SourceUnhealthy); s.Error == "" {
				t.Error("it does not say why")
			}
		})
	}
}

func TestSQSGivesNoMoreThanWasAskedFor(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`{"MessageId": "m", "ReceiptHandle": "r", "Body": "x"},`, 50)
	source := sqsSourceOf(answering(t, map[string]string{
		"GetQueueUrl": `{"QueueUrl": "http://q/orders"}`, "ReceiveMessage": `{"Messages": [` + strings.TrimSuffix(many, ",") + `]}`,
		"DeleteMessageBatch": `{"Failed": [{"SenderFault": true}], "Successful": []}`,
	}), "orders")
	source.PubSub.Raw, source.PubSub.Workers = true, 2
	var inFlight, most atomic.Int32
	a := startAgent(t, agentConfig{source: source, handle: func(context.Context, millrace.Submission) error {
		n := inFlight.Add(1)
		defer inFlight.Add(-1)
		for had := most.Load(); n > had && !most.CompareAndSwap(had, n); had = most.Load() {
		}
		return nil
	}})
	for range 100 {
		a.next()
	}
	if n := most.Load(); n > 2 {
		t.Errorf("%d messages were in flight by two workers", n)
	}
}
