package store_test

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestASubscriptionIsKeptAsItWasGiven(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	made := w.subscription(e.ID, func(s *millrace.Subscription) {
		s.SourceID, s.EventTypes, s.DeliveryMode = w.webhook().ID, []string{"order.*", `odd "name", with {braces}`}, "at_least_once"
		s.Filter = millrace.FilterSet{Headers: json.RawMessage(`{"b":1,"a":2}`), Body: json.RawMessage(`{"n":{"$gt":1.50}}`)}
	})
	read := must[millrace.Subscription](t)(w.Subscription(t.Context(), w.project, made.ID))
	if !reflect.DeepEqual(made, read) {
		t.Errorf("created as\n%+v, read as\n%+v", made, read)
	}
}

func TestASubscriptionNamesASourceOfItsProjectAlone(t *testing.T) {
	w := newWorld(t)
	e, mine, gone := w.endpoint(), w.webhook(), w.webhook()
	foreign := w.webhook(func(s *millrace.Source) { s.ProjectID = w.newProject() })
	noError(t, w.DeleteSource(t.Context(), w.project, gone.ID))
	sub := w.subscription(e.ID)
	for name, source := range map[string]millrace.ID{"unknown": newID(), "of another project": foreign.ID, "deleted": gone.ID} {
		t.Run(name, func(t *testing.T) {
			_, err := w.CreateSubscription(t.Context(), millrace.Subscription{ProjectID: w.project, EndpointID: e.ID, SourceID: source, Name: "n"})
			wantCode(t, err, millrace.CodeNotFound)
			_, err = w.UpdateSubscription(t.Context(), w.project, sub.ID, func(s *millrace.Subscription) error { s.SourceID = source; return nil })
			wantCode(t, err, millrace.CodeNotFound)
		})
	}
	for _, source := range []millrace.ID{mine.ID, {}} {
		got, err := w.UpdateSubscription(t.Context(), w.project, sub.ID, func(s *millrace.Subscription) error { s.SourceID = source; return nil })
		noError(t, err)
		if read := must[millrace.Subscription](t)(w.Subscription(t.Context(), w.project, sub.ID)); got.SourceID != source || read.SourceID != source {
			t.Errorf("it names %s, read %s, want %s", got.SourceID, read.SourceID, source)
		}
	}
}

// As the schema had it before there were sources.
func TestASubscriptionThatNamesNothingThereCanStillBeChanged(t *testing.T) {
	w := newWorld(t)
	sub := w.subscription(w.endpoint().ID)
	w.exec(`ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_source_in_project`)
	w.exec(`UPDATE subscriptions SET source_id = $1`, newID())
	w.exec(`ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_source_in_project FOREIGN KEY (project_id, source_id) REFERENCES sources (project_id, id) NOT VALID`)
	if _, err := w.UpdateSubscription(t.Context(), w.project, sub.ID, func(s *millrace.Subscription) error { s.Name = "other"; return nil }); err != nil {
		t.Error(err)
	}
}

func TestASubscriptionWithoutTypesStaysWithoutTypes(t *testing.T) {
	w := newWorld(t)
	made := w.subscription(w.endpoint().ID, func(s *millrace.Subscription) { s.EventTypes = nil })
	if read := must[millrace.Subscription](t)(w.Subscription(t.Context(), w.project, made.ID)); len(read.EventTypes) != 0 {
		t.Errorf("its types are %q", read.EventTypes)
	}
}

func TestUpdatingASubscriptionChangesWhatItNames(t *testing.T) {
	w := newWorld(t)
	e, other := w.endpoint(), w.endpoint()
	sub := w.subscription(e.ID)
	got := must[millrace.Subscription](t)(w.UpdateSubscription(t.Context(), w.project, sub.ID, func(s *millrace.Subscription) error {
		s.EndpointID, s.Name = other.ID, "moved"
		return nil
	}))
	sub.EndpointID, sub.Name, sub.UpdatedAt = other.ID, "moved", got.UpdatedAt
	if !reflect.DeepEqual(got, sub) || !reflect.DeepEqual(got, must[millrace.Subscription](t)(w.Subscription(t.Context(), w.project, sub.ID))) {
		t.Errorf("changed to %+v, want %+v", got, sub)
	}
}

func TestASubscriptionStaysInItsProject(t *testing.T) {
	w := newWorld(t)
	sub := w.subscription(w.endpoint().ID)
	foreign := w.newProject()
	theirs, err := w.CreateEndpoint(t.Context(), millrace.Endpoint{ProjectID: foreign, Name: "theirs", URL: "https://example.com"})
	noError(t, err)
	_, err = w.UpdateSubscription(t.Context(), w.project, sub.ID, func(s *millrace.Subscription) error { s.EndpointID = theirs.ID; return nil })
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Subscription(t.Context(), foreign, sub.ID)
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.UpdateSubscription(t.Context(), foreign, sub.ID, func(*millrace.Subscription) error { return nil })
	wantCode(t, err, millrace.CodeNotFound)
	wantCode(t, w.DeleteSubscription(t.Context(), foreign, sub.ID), millrace.CodeNotFound)
	if _, err := w.db.ExecContext(t.Context(), `UPDATE subscriptions SET endpoint_id = $1 WHERE id = $2`, theirs.ID, sub.ID); err == nil {
		t.Error("the table itself lets a subscription cross projects")
	}
}

func TestAProjectMayAllowOneSubscriptionForEachEndpoint(t *testing.T) {
	w := newWorld(t)
	_, err := w.UpdateProject(t.Context(), w.project, func(p *millrace.Project) error {
		p.Config = millrace.DefaultProjectConfig()
		p.Config.MultipleEndpointSubscriptions = false
		return nil
	})
	noError(t, err)
	a, b := w.endpoint(), w.endpoint()
	first, other := w.subscription(a.ID), w.subscription(b.ID)
	_, err = w.CreateSubscription(t.Context(), millrace.Subscription{ProjectID: w.project, EndpointID: a.ID, Name: "second"})
	wantCode(t, err, millrace.CodeConflict)
	_, err = w.UpdateSubscription(t.Context(), w.project, other.ID, func(s *millrace.Subscription) error { s.EndpointID = a.ID; return nil })
	wantCode(t, err, millrace.CodeConflict)
	_, err = w.UpdateSubscription(t.Context(), w.project, first.ID, func(s *millrace.Subscription) error { s.Name = "same"; return nil })
	noError(t, err)
	noError(t, w.DeleteSubscription(t.Context(), w.project, first.ID))
	w.subscription(a.ID)
}

func TestSubscriptionsAreListedBothWaysInBothOrders(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	var all []millrace.ID
	for n := range 7 {
		sub := w.subscription(e.ID, func(s *millrace.Subscription) { s.ID = millrace.NewID(time.Now().Add(time.Duration(n) * time.Second)) })
		all = append(all, sub.ID)
	}
	noError(t, w.DeleteSubscription(t.Context(), w.project, all[0]))
	pages(t, all[1:], func(s millrace.Subscription) millrace.ID { return s.ID },
		func(ctx context.Context, p millrace.Page) (millrace.List[millrace.Subscription], error) {
			return w.Subscriptions(ctx, millrace.SubscriptionQuery{ProjectID: w.project, Page: p})
		})
}

func TestSubscriptionsAreFoundByEndpointAndName(t *testing.T) {
	w := newWorld(t)
	a, b := w.endpoint(), w.endpoint()
	one := w.subscription(a.ID, func(s *millrace.Subscription) { s.Name = "Paid orders" })
	two := w.subscription(b.ID)
	for name, c := range map[string]struct {
		q    millrace.SubscriptionQuery
		want []millrace.ID
	}{
		"all":                    {millrace.SubscriptionQuery{}, []millrace.ID{one.ID, two.ID}},
		"an endpoint's":          {millrace.SubscriptionQuery{EndpointIDs: []millrace.ID{b.ID}}, []millrace.ID{two.ID}},
		"by a part of the name":  {millrace.SubscriptionQuery{Name: "paid"}, []millrace.ID{one.ID}},
		"of an unknown endpoint": {millrace.SubscriptionQuery{EndpointIDs: []millrace.ID{newID()}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.q.ProjectID, c.q.Page.Ascending = w.project, true
			list := must[millrace.List[millrace.Subscription]](t)(w.Subscriptions(t.Context(), c.q))
			if got := idsIn(list.Items, func(s millrace.Subscription) millrace.ID { return s.ID }); !sameIDs(got, c.want) {
				t.Errorf("found %v, want %v", got, c.want)
			}
		})
	}
}

func TestDeletingASubscriptionLetsWhatItCausedFinish(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	sub := w.subscription(e.ID)
	made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{
		Event: w.appended(), ConfigVersion: 1, Targets: []millrace.Target{{SubscriptionID: sub.ID, EndpointID: e.ID}},
	}))
	noError(t, w.DeleteSubscription(t.Context(), w.project, sub.ID))
	if status := w.record(made[0].ID).Status; status != millrace.Queued {
		t.Errorf("its delivery is %s", status)
	}
	wantCode(t, w.DeleteSubscription(t.Context(), w.project, sub.ID), millrace.CodeNotFound)
}
