package app

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

// soon is how long a test waits for what should happen.
const soon = 60 * time.Second

// runLeader strives for the lock until the test, or stop, ends it.
func runLeader(t *testing.T, lead func(context.Context, string) (*store.Leadership, error)) (l *leader, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l = newLeader(lead, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return l, stop
}

// leads waits until the process leads and answers with its term.
func leads(t *testing.T, l *leader) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	term, err := l.leading(ctx)
	if err != nil {
		t.Fatalf("it does not lead within %s: %v", soon, err)
	}
	return term
}

func wantOver(t *testing.T, term context.Context) {
	t.Helper()
	select {
	case <-term.Done():
	case <-time.After(soon):
		t.Fatalf("the term does not end within %s", soon)
	}
}

func TestOneLeadsAndAnotherWhenItStops(t *testing.T) {
	url := storetest.Migrated(t)
	first, stop := runLeader(t, storetest.Open(t, url).Lead)
	term := leads(t, first)
	second, _ := runLeader(t, storetest.Open(t, url).Lead)
	impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := second.leading(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two lead at once: %v", err)
	}
	stop()
	wantOver(t, term)
	leads(t, second)
}

func TestALeaderWhoseLockIsLostLeadsAgainInAnotherTerm(t *testing.T) {
	url := storetest.Migrated(t)
	s := storetest.Open(t, url, func(c *store.Config) { c.Application = "lost" })
	l, _ := runLeader(t, s.Lead)
	term := leads(t, l)
	if _, err := storetest.DB(t, url).ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lost leader agent'`); err != nil {
		t.Fatal(err)
	}
	wantOver(t, term)
	if next := leads(t, l); next.Err() != nil {
		t.Error("it leads in a term that is over")
	}
}

func TestWorkIsDoneOnlyInATermAndEndsWithTheProcess(t *testing.T) {
	l := newLeader(nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	worked, done := make(chan context.Context), make(chan struct{})
	go func() {
		defer close(done)
		l.while(ctx, time.Nanosecond, func(term context.Context) { worked <- term })
	}()
	select {
	case <-worked:
		t.Fatal("work was done before any term")
	case <-time.After(50 * time.Millisecond):
	}
	term, over := context.WithCancel(t.Context())
	defer over()
	l.begin(term)
	for range 2 {
		<-worked
	}
	l.end()
	for begun := 0; ; begun++ {
		select {
		case <-worked:
			if begun > 0 { // one may have been about to begin
				t.Fatal("work was done after the term")
			}
			continue
		case <-time.After(50 * time.Millisecond):
		}
		break
	}
	cancel()
	<-done
}

func TestWorkUnderWayEndsWithTheTermAndWithTheProcess(t *testing.T) {
	for name, endsTerm := range map[string]bool{"with the term": true, "with the process": false} {
		t.Run(name, func(t *testing.T) {
			l := newLeader(nil, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			term, over := context.WithCancel(t.Context())
			defer over()
			l.begin(term)
			began, done := make(chan context.Context, 1), make(chan struct{})
			go func() {
				defer close(done)
				l.while(ctx, time.Hour, func(ctx context.Context) {
					began <- ctx
					<-ctx.Done()
				})
			}()
			work := <-began
			if endsTerm {
				over()
			} else {
				cancel()
			}
			wantOver(t, work)
			cancel()
			<-done
		})
	}
}
