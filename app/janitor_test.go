package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store/storetest"
)

func TestTheJanitorKeepsWhatRetentionSays(t *testing.T) {
	s := storetest.New(t)
	project, err := s.CreateProject(t.Context(), millrace.Project{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	held := func(days int) millrace.StoredEvent {
		e, err := s.AppendEvent(t.Context(), millrace.Event{
			ID: millrace.NewID(time.Now().AddDate(0, 0, -days)), ProjectID: project.ID, Type: "order.paid", Payload: []byte(`{}`),
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		target := millrace.Target{SubscriptionID: millrace.NewID(time.Now()), EndpointID: millrace.NewID(time.Now()), Hold: millrace.HoldPaused}
		if _, err := s.FanOut(t.Context(), millrace.FanOut{Event: e, ConfigVersion: 1, Targets: []millrace.Target{target}}); err != nil {
			t.Fatal(err)
		}
		return e
	}
	gone, kept := held(40), held(10)
	clock, err := NewClock(t.Context(), s.Now)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	a := &agent{process: &process{store: s, clock: clock, logger: slog.New(slog.NewTextHandler(&said, nil))}}
	a.keepHouse(t.Context())
	if _, err := s.Event(t.Context(), project.ID, gone.ID); millrace.CodeOf(err) != millrace.CodeNotFound {
		t.Errorf("the event of 40 days ago: %v", err)
	}
	if _, err := s.Event(t.Context(), project.ID, kept.ID); err != nil {
		t.Errorf("the event of 10 days ago: %v", err)
	}
	if line := said.String(); !strings.Contains(line, "msg=retention expired=1") || strings.Contains(line, "WARN") {
		t.Errorf("it says %s", line)
	}
}
