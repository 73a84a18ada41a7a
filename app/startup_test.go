package app

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

func TestAStartingProcessWaitsForItsStores(t *testing.T) {
	away := millrace.Unavailable(errors.New("connection refused"))
	refused := errors.New("the schema is unknown")
	for _, c := range []struct {
		rule  string
		waits bool
		says  []error // of each try; the last one again and again
		tries int
		want  error
		lines int
	}{
		{"one that answers is tried once", true, []error{nil}, 1, nil, 0},
		{"one that comes up is waited for, with one line", true, []error{away, away, nil}, 3, nil, 1},
		{"one that refuses is not tried again", true, []error{refused}, 1, refused, 0},
		{"one that comes up and refuses is not tried again", true, []error{away, refused}, 2, refused, 1},
		{"without patience one that is away is tried once", false, []error{away}, 1, away, 0},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var lines, tries int
			s := startup{again: time.Millisecond, warn: func(string, ...any) { lines++ }}
			if c.waits {
				s.until = time.Now().Add(time.Minute)
			}
			err := s.open(t.Context(), "PostgreSQL", func(context.Context) error {
				tries++
				return c.says[min(tries, len(c.says))-1]
			})
			if !errors.Is(err, c.want) || tries != c.tries || lines != c.lines {
				t.Errorf("it says %v after %d tries and %d lines; want %v, %d, %d", err, tries, lines, c.want, c.tries, c.lines)
			}
		})
	}
}

func TestThePatienceOfAStartEnds(t *testing.T) {
	away := millrace.Unavailable(errors.New("connection refused"))
	s := startup{until: time.Now().Add(20 * time.Millisecond), again: time.Millisecond, warn: func(string, ...any) {}}
	var at []time.Time
	err := s.open(t.Context(), "Redis", func(context.Context) error {
		at = append(at, time.Now())
		return away
	})
	if !errors.Is(err, away) || !slices.ContainsFunc(at, func(a time.Time) bool { return !a.Before(s.until) }) {
		t.Errorf("it says %v, tried last %s before its time was over", err, s.until.Sub(at[len(at)-1]))
	}
}

func TestAStartThatIsStoppedWaitsNoLonger(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s := startup{until: time.Now().Add(time.Hour), again: time.Hour, warn: func(string, ...any) { stop() }}
	if err := s.open(ctx, "Redis", func(context.Context) error { return millrace.Unavailable(errors.New("away")) }); !millrace.IsUnavailable(err) {
		t.Errorf("it says %v", err)
	}
}
