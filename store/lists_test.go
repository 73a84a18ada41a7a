package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func listed[T any](list millrace.List[T], id func(T) millrace.ID) []millrace.ID {
	var all []millrace.ID
	for _, item := range list.Items {
		all = append(all, id(item))
	}
	return all
}

func eventID(e millrace.EventRecord) millrace.ID       { return e.ID }
func deliveryID(d millrace.DeliveryRecord) millrace.ID { return d.ID }

func TestEventsArePagedBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []millrace.ID
	at := time.Now().Add(-time.Hour)
	for i := range 5 {
		e := w.event()
		e.ID = millrace.NewID(at.Add(time.Duration(i) * time.Second))
		must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false))
		all = append(all, e.ID)
	}
	other := w.event()
	other.ProjectID = w.newProject()
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), other, false))
	cases := []struct {
		rule       string
		page       millrace.Page
		want       []int
		next, prev bool
	}{
		{"the newest first", millrace.Page{Size: 2}, []int{4, 3}, true, false},
		{"the next page", millrace.Page{Size: 2, Cursor: all[3]}, []int{2, 1}, true, true},
		{"the last page", millrace.Page{Size: 2, Cursor: all[1]}, []int{0}, false, true},
		{"back from the last", millrace.Page{Size: 2, Cursor: all[0], Backward: true}, []int{2, 1}, true, true},
		{"back to the first", millrace.Page{Size: 2, Cursor: all[2], Backward: true}, []int{4, 3}, true, false},
		{"the oldest first", millrace.Page{Size: 3, Ascending: true}, []int{0, 1, 2}, true, false},
		{"the rest of them", millrace.Page{Size: 3, Ascending: true, Cursor: all[2]}, []int{3, 4}, false, true},
		{"back among the oldest", millrace.Page{Size: 3, Ascending: true, Cursor: all[3], Backward: true}, []int{0, 1, 2}, true, false},
	}
	for _, c := range cases {
		list := must[millrace.List[millrace.EventRecord]](t)(w.Events(t.Context(), millrace.EventQuery{ProjectID: w.project, Page: c.page}))
		var want []millrace.ID
		for _, i := range c.want {
			want = append(want, all[i])
		}
		if !slices.Equal(listed(list, eventID), want) || list.HasNext != c.next || list.HasPrev != c.prev {
			t.Errorf("%s: %v, next %v, prev %v", c.rule, listed(list, eventID), list.HasNext, list.HasPrev)
		}
	}
}

func TestEventsAreFiltered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add := func(change func(*millrace.Event)) millrace.ID {
		e := w.event()
		change(&e)
		must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false))
		return e.ID
	}
	source, endpoint := newID(), newID()
	typed := add(func(e *millrace.Event) { e.Type = "user.made" })
	sourced := add(func(e *millrace.Event) { e.SourceID = source })
	owned := add(func(e *millrace.Event) { e.Audience.OwnerID = "acme" })
	keyed := add(func(e *millrace.Event) { e.IdempotencyKey = "key" })
	message := add(func(e *millrace.Event) { e.BrokerMessageID = "key" })
	old := add(func(e *millrace.Event) { e.ID = millrace.NewID(time.Now().Add(-48 * time.Hour)) })
	addressed := add(func(e *millrace.Event) { e.Audience.EndpointID = endpoint })
	sent := w.appended()
	must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: sent, ConfigVersion: 1, Targets: []millrace.Target{{EndpointID: endpoint}}}))
	cases := []struct {
		rule string
		q    millrace.EventQuery
		want []millrace.ID
	}{
		{"by type", millrace.EventQuery{Types: []string{"user.made", "user.gone"}}, []millrace.ID{typed}},
		{"by source", millrace.EventQuery{SourceIDs: []millrace.ID{source}}, []millrace.ID{sourced}},
		{"by owner", millrace.EventQuery{OwnerID: "acme"}, []millrace.ID{owned}},
		{"by idempotency key", millrace.EventQuery{IdempotencyKey: "key"}, []millrace.ID{keyed}},
		{"by the broker's id", millrace.EventQuery{BrokerMessageID: "key"}, []millrace.ID{message}},
		{"by the time before", millrace.EventQuery{Until: time.Now().Add(-time.Hour)}, []millrace.ID{old}},
		{"by both bounds", millrace.EventQuery{Since: time.Now().Add(-72 * time.Hour), Until: time.Now().Add(-24 * time.Hour)}, []millrace.ID{old}},
		{"by endpoint: addressed or sent", millrace.EventQuery{EndpointIDs: []millrace.ID{endpoint}}, []millrace.ID{sent.ID, addressed}},
		{"by all at once", millrace.EventQuery{Types: []string{"user.made"}, OwnerID: "acme"}, nil},
	}
	for _, c := range cases {
		c.q.ProjectID = w.project
		list := must[millrace.List[millrace.EventRecord]](t)(w.Events(t.Context(), c.q))
		if got := listed(list, eventID); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.rule, got, c.want)
		}
	}
}

func TestEventsOfABusyEndpointAreFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	endpoint := newID()
	sent, other := w.appended(), w.appended()
	f := millrace.FanOut{Event: sent, ConfigVersion: 1}
	for range 4000 { // more than are looked through one by one, by two events
		f.Targets = append(f.Targets, millrace.Target{SubscriptionID: newID(), EndpointID: endpoint})
	}
	must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
	f.Event = must[millrace.StoredEvent](t)(w.ReplayEvent(t.Context(), w.project, sent.ID))
	must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
	list := must[millrace.List[millrace.EventRecord]](t)(w.Events(t.Context(), millrace.EventQuery{ProjectID: w.project, EndpointIDs: []millrace.ID{endpoint}}))
	if got := listed(list, eventID); !slices.Equal(got, []millrace.ID{sent.ID}) {
		t.Errorf("found %v, want %s and not %s", got, sent.ID, other.ID)
	}
	if r := list.Items[0]; r.Deliveries[millrace.Queued] != 8000 || r.Matched != 4000 || !slices.Equal(r.EndpointIDs, []millrace.ID{endpoint}) {
		t.Errorf("it reads %+v", r.Deliveries)
	}
}

func TestAnEventTellsWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := millrace.FanOut{Event: w.appended(), ConfigVersion: 1, Targets: targets(3)}
	if r := must[millrace.EventRecord](t)(w.Event(t.Context(), w.project, f.Event.ID)); r.FannedOut {
		t.Errorf("before its fan-out it reads %+v", r)
	}
	made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), f))
	w.settle(attempted(made[0].ID, 1, millrace.Delivered))
	r := must[millrace.EventRecord](t)(w.Event(t.Context(), w.project, f.Event.ID))
	if !r.FannedOut || r.Matched != 3 || r.Deliveries[millrace.Delivered] != 1 || r.Deliveries[millrace.Queued] != 2 || len(r.EndpointIDs) != 3 {
		t.Errorf("it reads %+v", r)
	}
	_, err := w.Event(t.Context(), w.newProject(), f.Event.ID)
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Payload(t.Context(), newID())
	wantCode(t, err, millrace.CodeNotFound)
}

func TestDeliveriesAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	states := w.inEachState()
	retried := w.delivery()
	w.settle(attempted(retried.ID, 1, millrace.Waiting))
	w.exec(`UPDATE deliveries SET attempts = 0 WHERE id = $1`, states[millrace.Waiting])
	processing := w.delivery()
	must[bool](t)(w.Claim(t.Context(), processing.ID, 1, "entry"))
	cases := []struct {
		rule string
		q    millrace.DeliveryQuery
		want []millrace.ID
	}{
		{"scheduled", millrace.DeliveryQuery{Statuses: []string{"Scheduled"}}, []millrace.ID{states[millrace.Queued], states[millrace.Waiting], states[millrace.Held]}},
		{"processing", millrace.DeliveryQuery{Statuses: []string{"Processing"}}, []millrace.ID{processing.ID}},
		{"to be tried again", millrace.DeliveryQuery{Statuses: []string{"Retry"}}, []millrace.ID{retried.ID}},
		{"success", millrace.DeliveryQuery{Statuses: []string{"Success"}}, []millrace.ID{states[millrace.Delivered]}},
		{"failure", millrace.DeliveryQuery{Statuses: []string{"Failure"}}, []millrace.ID{states[millrace.GivenUp], states[millrace.Dead]}},
		{"discarded", millrace.DeliveryQuery{Statuses: []string{"Discarded"}}, []millrace.ID{states[millrace.Cancelled], states[millrace.Expired]}},
		{"two at once", millrace.DeliveryQuery{Statuses: []string{"Success", "Retry"}}, []millrace.ID{states[millrace.Delivered], retried.ID}},
		{"by event", millrace.DeliveryQuery{EventID: retried.EventID}, []millrace.ID{retried.ID}},
		{"by endpoint", millrace.DeliveryQuery{EndpointIDs: []millrace.ID{retried.EndpointID}}, []millrace.ID{retried.ID}},
		{"by subscription", millrace.DeliveryQuery{SubscriptionIDs: []millrace.ID{retried.SubscriptionID}}, []millrace.ID{retried.ID}},
		{"by another type", millrace.DeliveryQuery{EventTypes: []string{"nothing"}}, nil},
		{"by time", millrace.DeliveryQuery{Until: time.Now().Add(-time.Hour)}, nil},
		{"of another project", millrace.DeliveryQuery{ProjectID: newID()}, nil},
	}
	for _, c := range cases {
		if c.q.ProjectID == (millrace.ID{}) {
			c.q.ProjectID = w.project
		}
		got := listed(must[millrace.List[millrace.DeliveryRecord]](t)(w.Deliveries(t.Context(), c.q)), deliveryID)
		slices.SortFunc(got, compareIDs)
		slices.SortFunc(c.want, compareIDs)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.rule, got, c.want)
		}
	}
	_, err := w.Deliveries(t.Context(), millrace.DeliveryQuery{ProjectID: w.project, Statuses: []string{"Nonsense"}})
	wantCode(t, err, millrace.CodeInvalid)
	page := must[millrace.List[millrace.DeliveryRecord]](t)(w.Deliveries(t.Context(), millrace.DeliveryQuery{ProjectID: w.project, Page: millrace.Page{Size: 4}}))
	if len(page.Items) != 4 || !page.HasNext || page.HasPrev {
		t.Errorf("a page of %d, next %v, prev %v", len(page.Items), page.HasNext, page.HasPrev)
	}
}

func compareIDs(a, b millrace.ID) int { return slices.Compare(a[:], b[:]) }

func TestAConvoyStatusIsFoundByItsOwnFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for status, id := range w.inEachState() {
		word := w.record(id).ConvoyStatus()
		list := must[millrace.List[millrace.DeliveryRecord]](t)(w.Deliveries(t.Context(), millrace.DeliveryQuery{ProjectID: w.project, Statuses: []string{word}}))
		if !slices.Contains(listed(list, deliveryID), id) {
			t.Errorf("%s is shown as %s, and that filter does not find it", status, word)
		}
	}
}

func TestTheLogIsFollowedInItsOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []millrace.ID
	for range 5 {
		d := w.delivery()
		f := attempted(d.ID, 1, millrace.Delivered)
		w.settle(f)
		want = append(want, f.ID)
	}
	other := w.newProject()
	var got []millrace.ID
	at := millrace.LogPosition{At: time.Now().Add(-time.Hour)}
	eventually(t, "all five facts, a second behind", func() bool {
		for {
			lines := must[[]millrace.LogEntry](t)(w.FactsSince(t.Context(), w.project, at, 2))
			for _, l := range lines {
				got, at = append(got, l.ID), l.Position
				if l.EventType != "order.paid" || l.EndpointID == (millrace.ID{}) {
					t.Errorf("a line reads %+v", l)
				}
			}
			if len(lines) < 2 {
				return len(got) >= 5
			}
		}
	})
	if !slices.Equal(got, want) {
		t.Errorf("followed %v, want %v", got, want)
	}
	if lines := must[[]millrace.LogEntry](t)(w.FactsSince(t.Context(), other, millrace.LogPosition{}, 10)); len(lines) != 0 {
		t.Errorf("another project follows %v", lines)
	}
}
