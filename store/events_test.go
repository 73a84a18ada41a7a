package store_test

import (
	"bytes"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestAnEventIsStoredAsItCame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.event()
	e.SourceID, e.Audience = newID(), millrace.Audience{EndpointID: newID(), OwnerID: "acme"}
	e.Payload = []byte("{ \"a\" :\t1}\x00\xff not even UTF-8")
	w.exec(`UPDATE projects SET config_version = 7 WHERE id = $1`, w.project)
	stored := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false))
	if stored.ConfigVersion != 7 {
		t.Errorf("the config version is %d, want the project's 7", stored.ConfigVersion)
	}
	if age := time.Since(stored.StoredAt); age < -time.Minute || age > time.Minute {
		t.Errorf("stored at %s", stored.StoredAt)
	}
	read := must[millrace.EventRecord](t)(w.Event(t.Context(), w.project, e.ID))
	if !reflect.DeepEqual(read.StoredEvent, stored) || !reflect.DeepEqual(read.Event, e) {
		t.Errorf("read\n%+v, appended\n%+v", read.StoredEvent, stored)
	}
	if payload := must[[]byte](t)(w.Payload(t.Context(), e.ID)); !bytes.Equal(payload, e.Payload) {
		t.Errorf("the payload is %q", payload)
	}
}

func TestAnEventWithoutATraceHasNoneInTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, key := range []string{"", "key"} {
		e := w.event()
		e.IdempotencyKey, e.TraceParent = key, ""
		must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false))
		if read := must[millrace.EventRecord](t)(w.Event(t.Context(), w.project, e.ID)); read.TraceParent != "" {
			t.Errorf("with key %q its trace reads %q", key, read.TraceParent)
		}
	}
	if n := w.count(`SELECT count(*) FROM events WHERE traceparent IS NULL`); n != 2 {
		t.Errorf("%d events have no trace in the log, want 2", n)
	}
}

func TestAnIdMetAgainIsTheSameEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, key := range []string{"", "key"} {
		e := w.event()
		e.IdempotencyKey = key
		first := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, true))
		w.exec(`UPDATE projects SET config_version = config_version + 1`)
		again := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, true))
		if !reflect.DeepEqual(first, again) || again.DuplicateOf != (millrace.ID{}) {
			t.Errorf("with key %q: first %+v, again %+v", key, first, again)
		}
	}
	if n := w.count(`SELECT count(*) FROM events`); n != 2 {
		t.Errorf("%d events are stored, want 2", n)
	}
}

func TestAnIdOfAnotherProjectsEventIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stored := w.appended()
	other := w.event()
	other.ID, other.ProjectID = stored.ID, w.newProject()
	_, err := w.AppendEvent(t.Context(), other, false)
	wantCode(t, err, millrace.CodeConflict)
}

func TestAnUnknownOrDeletedProjectRefusesItsEventAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deleted := w.newProject()
	w.exec(`UPDATE projects SET deleted_at = now() WHERE id = $1`, deleted)
	projects := []millrace.ID{w.project, newID(), deleted}
	in(30, func(i int) {
		for _, key := range []string{"", name("key %d", i)} {
			e := w.event()
			e.ProjectID, e.IdempotencyKey = projects[i%3], key
			_, err := w.AppendEvent(t.Context(), e, false)
			if i%3 == 0 {
				if err != nil {
					t.Error(err)
				}
				continue
			}
			wantCode(t, err, millrace.CodeNotFound)
		}
	})
	if n := w.count(`SELECT count(*) FROM events`); n != 20 {
		t.Errorf("%d events are stored, want 20", n)
	}
}

func TestABadRowFailsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var refused atomic.Int32
	in(64, func(i int) {
		e := w.event()
		if i%16 == 5 {
			e.Type = "no\x00text"
		}
		switch _, err := w.AppendEvent(t.Context(), e, false); {
		case i%16 == 5:
			wantCode(t, err, millrace.CodeInvalid)
			refused.Add(1)
		case err != nil:
			t.Error(err)
		}
	})
	if n := w.count(`SELECT count(*) FROM events`); n != 60 || refused.Load() != 4 {
		t.Errorf("%d events are stored and %d refused, want 60 and 4", n, refused.Load())
	}
}

func TestPayloadsOfAnySizeAreStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in(24, func(i int) {
		e := w.event()
		e.Payload = []byte(strings.Repeat("x", i*50_000))
		if _, err := w.AppendEvent(t.Context(), e, false); err != nil {
			t.Error(err)
		}
	})
	if n := w.count(`SELECT sum(octet_length(payload)) FROM events`); n != 23*24/2*50_000 {
		t.Errorf("%d bytes are stored", n)
	}
}
