package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
)

// takeAll answers each line of a batch with 201, but for those that contain
// "bad" or "again".
func takeAll(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var entries []string
	for i, line := range bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n")) {
		switch {
		case bytes.Contains(line, []byte("bad")):
			entries = append(entries, fmt.Sprintf(`{"index":%d,"status":400,"message":"it is bad"}`, i))
		default:
			entries = append(entries, fmt.Sprintf(`{"index":%d,"status":201,"duplicate":%t}`, i, bytes.Contains(line, []byte("again"))))
		}
	}
	succeed(w, "["+strings.Join(entries, ",")+"]")
}

func TestSendingCountsEveryLine(t *testing.T) {
	var in strings.Builder
	for i := range 2000 {
		switch {
		case i%100 == 7:
			fmt.Fprintf(&in, "{\"bad\":%d}\n\n", i)
		case i%100 == 8:
			fmt.Fprintf(&in, "{\"again\":%d}\r\n", i)
		default:
			fmt.Fprintf(&in, "{\"n\":%d}\n", i)
		}
	}
	var now, most atomic.Int32
	c := api(t, func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		takeAll(w, r)
		now.Add(-1)
	})
	refused := map[int]string{}
	var last app.SendCounts
	counts, err := app.Sending{
		Client: c, Concurrency: 3,
		Progress: func(c app.SendCounts) { last = c },
		Refused:  func(line int, reason string) { refused[line] = reason },
	}.Run(t.Context(), strings.NewReader(in.String()))
	if err != nil {
		t.Fatal(err)
	}
	if counts.Sent != 1960 || counts.Duplicates != 20 || counts.Failed != 20 || last != counts {
		t.Errorf("%+v, the last progress %+v", counts, last)
	}
	if len(refused) != 20 || refused[8] != "it is bad" || refused[109] != "it is bad" { // an empty line came before
		t.Errorf("refused: %v", refused)
	}
	if most.Load() > 3 {
		t.Errorf("%d batches were under way at once", most.Load())
	}
}

func TestSendingDoesNotWaitForMoreLines(t *testing.T) {
	arrived := make(chan struct{}, 1)
	c := api(t, func(w http.ResponseWriter, r *http.Request) { takeAll(w, r); arrived <- struct{}{} })
	r, w := io.Pipe()
	var sending sync.WaitGroup
	sending.Go(func() {
		if counts, err := (app.Sending{Client: c, Concurrency: 2}).Run(t.Context(), r); err != nil || counts.Sent != 2 {
			t.Errorf("%+v, %v", counts, err)
		}
	})
	for range 2 { // the second is written only when the first has arrived
		fmt.Fprintln(w, "{}")
		<-arrived
	}
	_ = w.Close()
	sending.Wait()
}

func TestSendingEndsWithAnAPIThatTakesNothing(t *testing.T) {
	c := api(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status":false,"message":"not now","code":"unavailable"}`)
	})
	r, w := io.Pipe() // nothing more comes, and it does not end
	defer func() { _ = w.Close() }()
	go func() { _, _ = fmt.Fprintln(w, "{}") }()
	counts, err := app.Sending{Client: c, Concurrency: 1}.Run(t.Context(), r)
	if millrace.CodeOf(err) != millrace.CodeUnavailable || counts.Sent != 0 {
		t.Errorf("%+v, %v", counts, err)
	}
}

func TestSendingEndsWhenItIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := api(t, func(w http.ResponseWriter, r *http.Request) { takeAll(w, r); cancel() })
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	go func() { _, _ = fmt.Fprintln(w, "{}") }()
	if _, err := (app.Sending{Client: c, Concurrency: 2}).Run(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
