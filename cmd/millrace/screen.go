package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// screen is where a command's output goes: data to out, everything else to
// err.
type screen struct {
	out, err io.Writer
	json     bool
}

// note tells a person something that is no data.
func (s *screen) note(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) }

// data prints data as JSON if that is asked for, and otherwise in words.
func (s *screen) data(data any, words func()) error {
	if !s.json {
		words()
		return nil
	}
	text, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		return fmt.Errorf("print as JSON: %w", err)
	}
	_, err = fmt.Fprintln(s.out, string(text))
	return err
}

// line prints one piece of a stream of data: a line of JSON, or words.
func (s *screen) line(data any, words func()) error {
	if !s.json {
		words()
		return nil
	}
	return json.NewEncoder(s.out).Encode(data)
}

// say prints a sentence as a command's result.
func (s *screen) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// table prints rows in columns, or says that there are none.
func (s *screen) table(none, head string, rows [][]string) {
	if len(rows) == 0 {
		s.say("%s", none)
		return
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 3, ' ', 0)
	fmt.Fprintln(w, head)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush()
}

// pairs prints names with their values.
func (s *screen) pairs(pairs ...string) {
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", pairs[i], pairs[i+1])
		}
	}
	_ = w.Flush()
}

// when shows a moment in the reader's own time.
func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// whenever shows a moment that may not be.
func whenever(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return when(*t)
}

// terminal tells whether someone looks on.
func terminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
