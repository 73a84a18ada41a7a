package store_test

import (
	"reflect"
	"sync"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestAnEventIsFannedOutOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := millrace.FanOut{Event: w.appended(), ConfigVersion: 3, Targets: targets(5)}
	var mu sync.Mutex
	told := map[millrace.ID]bool{}
	in(20, func(int) {
		made, err := w.FanOut(t.Context(), f)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, d := range made {
			told[d.ID] = true
		}
	})
	if n := w.count(`SELECT count(*) FROM deliveries`); n != 5 || len(told) != 5 {
		t.Errorf("%d deliveries are stored and %d told, want 5", n, len(told))
	}
	if n := w.count(`SELECT count(*) FROM matches WHERE matched = 5 AND config_version = 3`); n != 1 {
		t.Errorf("%d matches rows, want 1", n)
	}
}

func TestFanOutAnswersWhatIsToBePublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.appended()
	e.IdempotencyKey = "key"
	f := millrace.FanOut{Event: e, ConfigVersion: 1, Targets: append(targets(1), millrace.Target{EndpointID: newID()})}
	made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
	sources := []millrace.ID{f.Targets[0].SubscriptionID, f.Targets[1].EndpointID}
	for i, d := range made {
		want := millrace.Delivery{
			ID: millrace.DeliveryID(e.ID, sources[i], millrace.ID{}), ProjectID: w.project, EventID: e.ID,
			EndpointID: f.Targets[i].EndpointID, SubscriptionID: f.Targets[i].SubscriptionID, Turn: 1,
			EventType: e.Type, Headers: e.Headers, IdempotencyKey: "key", TraceParent: e.TraceParent, Payload: e.Payload,
		}
		if !reflect.DeepEqual(d, want) {
			t.Errorf("made\n%+v, want\n%+v", d, want)
		}
		if r := w.record(d.ID); r.Status != millrace.Queued || r.QueuedAt.IsZero() || r.Turn != 1 || r.EventType != e.Type {
			t.Errorf("stored %+v", r)
		}
		w.folds(d.ID)
	}
}

func TestFanOutRunAgainAnswersWhatNobodyTook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := millrace.FanOut{Event: w.appended(), ConfigVersion: 1, Targets: targets(4)}
	f.Targets[3].Hold = millrace.HoldBehind
	made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
	if len(made) != 3 {
		t.Fatalf("%d deliveries to publish, want 3", len(made))
	}
	must[bool](t)(w.Claim(t.Context(), made[0].ID, 1, "entry"))
	w.handBack(millrace.Due{DeliveryID: made[1].ID, Turn: 1, Why: millrace.DueLost})
	f.Targets = targets(2) // what matches now is not what matched
	again := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
	if !reflect.DeepEqual(again, made[2:]) {
		t.Errorf("again it answers %+v, want %+v", again, made[2:])
	}
}

func TestAnEventThatMatchesNothingIsFannedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.appended()
	if made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: e, ConfigVersion: 1})); len(made) != 0 {
		t.Errorf("made %v of nothing", made)
	}
	if r := must[millrace.EventRecord](t)(w.Event(t.Context(), w.project, e.ID)); !r.FannedOut || r.Matched != 0 {
		t.Errorf("it reads %+v", r)
	}
}

func TestAReplayIsFannedOutBesidesTheEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.appended()
	f := millrace.FanOut{Event: e, ConfigVersion: 1, Targets: targets(2)}
	first := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
	w.exec(`UPDATE projects SET config_version = 9 WHERE id = $1`, w.project)
	f.Event = must[millrace.StoredEvent](t)(w.ReplayEvent(t.Context(), w.project, e.ID))
	if f.Event.ReplayID == (millrace.ID{}) || f.Event.ConfigVersion != 9 || f.Event.ID != e.ID {
		t.Fatalf("the replay is %+v", f.Event)
	}
	second := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
	if len(second) != 2 || second[0].ID == first[0].ID || second[0].ReplayID != f.Event.ReplayID || second[0].EventID != e.ID {
		t.Errorf("the replay made %+v", second)
	}
	list := must[millrace.List[millrace.DeliveryRecord]](t)(w.Deliveries(t.Context(), millrace.DeliveryQuery{ProjectID: w.project, EventID: e.ID}))
	if len(list.Items) != 4 {
		t.Errorf("the event has %d deliveries, want 4", len(list.Items))
	}
	r := must[millrace.EventRecord](t)(w.Event(t.Context(), w.project, e.ID))
	if r.Matched != 2 || r.Deliveries[millrace.Queued] != 4 || len(r.EndpointIDs) != 2 {
		t.Errorf("it reads %+v", r)
	}
	_, err := w.ReplayEvent(t.Context(), w.newProject(), e.ID)
	wantCode(t, err, millrace.CodeNotFound)
}

func TestManyFanOutsAtOnceWithHeldOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	endpoints := []millrace.ID{newID(), newID(), newID()}
	in(100, func(i int) {
		e, err := w.AppendEvent(t.Context(), w.event(), false)
		if err != nil {
			t.Error(err)
			return
		}
		f := millrace.FanOut{Event: e, ConfigVersion: 1}
		for j := range endpoints { // in turning order, so that the locks would cross
			f.Targets = append(f.Targets, millrace.Target{SubscriptionID: newID(), EndpointID: endpoints[(i+j)%3], Hold: millrace.HoldPaused})
		}
		if _, err := w.FanOut(t.Context(), f); err != nil {
			t.Error(err)
		}
	})
	if n := w.count(`SELECT count(*) FROM deliveries WHERE status = 'held'`); n != 300 {
		t.Errorf("%d held, want 300", n)
	}
	if n := w.count(`SELECT count(*) FROM facts WHERE kind = 'held' AND counted AND number = 1 AND reason = 'paused'`); n != 300 {
		t.Errorf("%d facts, want 300", n)
	}
	if n := len(must[[]millrace.HeldEndpoint](t)(w.HeldEndpoints(t.Context()))); n != 3 {
		t.Errorf("%d endpoints hold, want 3", n)
	}
}
