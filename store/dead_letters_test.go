package store_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestADeadLetterIsKeptOnceWithAllThatIsInIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := millrace.DeadLetter{
		ID: newID(), Stage: "persist", Topic: "events.ingested", Reason: "undecodable", Error: "not JSON", History: []string{"one", "two"},
		EventID: newID(), Raw: []byte{0, 1, 0xff}, Metadata: map[string]string{"a": "b"}, CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	for range 2 {
		noError(t, w.AddDeadLetter(t.Context(), d))
	}
	if got := must[millrace.DeadLetter](t)(w.DeadLetter(t.Context(), millrace.ID{}, true, d.ID)); !reflect.DeepEqual(got, d) {
		t.Errorf("read\n%+v, kept\n%+v", got, d)
	}
	_, err := w.DeadLetter(t.Context(), w.project, false, d.ID)
	wantCode(t, err, millrace.CodeNotFound)
	noError(t, w.AddDeadLetter(t.Context(), millrace.DeadLetter{ID: newID(), ProjectID: w.project, Stage: "fanout"}))
	lists := map[string]struct {
		q    millrace.DeadLetterQuery
		want int
	}{
		"the project's":         {millrace.DeadLetterQuery{ProjectID: w.project}, 1},
		"all":                   {millrace.DeadLetterQuery{Instance: true}, 2},
		"of a stage":            {millrace.DeadLetterQuery{Instance: true, Stage: "persist"}, 1},
		"of another's project":  {millrace.DeadLetterQuery{ProjectID: newID()}, 0},
		"open ones, both still": {millrace.DeadLetterQuery{Instance: true, Open: true}, 2},
	}
	for what, c := range lists {
		if got := must[millrace.List[millrace.DeadLetter]](t)(w.DeadLetters(t.Context(), c.q)); len(got.Items) != c.want {
			t.Errorf("%s: %d listed, want %d", what, len(got.Items), c.want)
		}
	}
}

func TestADeadLetterKillsItsDeliveryAndRedrivingResendsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	delivery := w.delivery().ID
	d := millrace.DeadLetter{ID: newID(), ProjectID: w.project, DeliveryID: delivery, Stage: "deliver", Error: "a panic"}
	for range 2 {
		noError(t, w.AddDeadLetter(t.Context(), d))
	}
	if r := w.record(delivery); r.Status != millrace.Dead || r.Facts != 1 {
		t.Errorf("it reads %+v", r.State)
	}
	w.folds(delivery)
	noError(t, w.SettleDeadLetter(t.Context(), d.ID, "redriven"))
	if r := w.record(delivery); r.Status != millrace.Waiting || r.Turn != 2 {
		t.Errorf("redriven, it reads %+v", r)
	}
	w.folds(delivery)
	wantCode(t, w.SettleDeadLetter(t.Context(), d.ID, "discarded"), millrace.CodeConflict)
	wantCode(t, w.SettleDeadLetter(t.Context(), newID(), "discarded"), millrace.CodeNotFound)
	wantCode(t, w.SettleDeadLetter(t.Context(), d.ID, "nonsense"), millrace.CodeConflict)
	if open := must[millrace.List[millrace.DeadLetter]](t)(w.DeadLetters(t.Context(), millrace.DeadLetterQuery{Instance: true, Open: true})); len(open.Items) != 0 {
		t.Errorf("open still: %v", open.Items)
	}
}

func TestRedrivingADeliveryThatWasResentDoesNotResendItTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	delivery := w.delivery().ID
	d := millrace.DeadLetter{ID: newID(), ProjectID: w.project, DeliveryID: delivery, Stage: "deliver"}
	noError(t, w.AddDeadLetter(t.Context(), d))
	must[millrace.DeliveryRecord](t)(w.Resend(t.Context(), w.project, delivery))
	noError(t, w.SettleDeadLetter(t.Context(), d.ID, "redriven"))
	if r := w.record(delivery); r.Turn != 2 || r.Facts != 2 {
		t.Errorf("it reads turn %d with %d facts", r.Turn, r.Facts)
	}
}

func TestADeadLetterOfAFinalDeliveryChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	delivery := w.delivery().ID
	w.settle(attempted(delivery, 1, millrace.Delivered))
	noError(t, w.AddDeadLetter(t.Context(), millrace.DeadLetter{ID: newID(), ProjectID: w.project, DeliveryID: delivery, Stage: "deliver"}))
	if r := w.record(delivery); r.Status != millrace.Delivered {
		t.Errorf("it reads %+v", r.State)
	}
}
