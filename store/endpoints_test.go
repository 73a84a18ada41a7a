package store_test

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func (w *world) readEndpoint(id millrace.ID) millrace.Endpoint {
	w.t.Helper()
	return must[millrace.Endpoint](w.t)(w.Endpoint(w.t.Context(), w.project, id))
}

func TestAnEndpointIsKeptAsItWasGiven(t *testing.T) {
	w := newWorld(t)
	made := w.endpoint(secretive, func(e *millrace.Endpoint) {
		e.Description, e.OwnerID, e.Status, e.Method = "d", "o", millrace.EndpointPaused, "PUT"
		e.Timeout, e.ContentType, e.AdvancedSignatures = 1500*time.Millisecond, "application/x-www-form-urlencoded", false
		e.Strategy = &millrace.Strategy{Type: millrace.StrategyExponential, Base: time.Second, Retries: 3, Cap: time.Hour}
		e.RateLimit, e.RateLimitWindow, e.SupportEmail = 5, time.Minute, "a@example.com"
	})
	read := w.readEndpoint(made.ID)
	if !reflect.DeepEqual(made, read) {
		t.Errorf("created as\n%#v, read as\n%#v", made, read)
	}
	if read.Method != "PUT" || read.AdvancedSignatures || read.Timeout != 1500*time.Millisecond || read.Strategy.Cap != time.Hour {
		t.Errorf("read as %#v", read)
	}
}

func TestARefusedEndpointIsNotThere(t *testing.T) {
	w := newWorld(t)
	_, err := w.CreateEndpoint(t.Context(), millrace.Endpoint{ProjectID: w.project})
	wantCode(t, err, millrace.CodeBadRequest)
	_, err = w.CreateEndpoint(t.Context(), millrace.Endpoint{ProjectID: newID(), Name: "n", URL: "https://example.com"})
	wantCode(t, err, millrace.CodeNotFound)
	e := w.endpoint()
	_, err = w.CreateEndpoint(t.Context(), e)
	wantCode(t, err, millrace.CodeConflict)
	_, err = w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.Secrets = nil; return nil })
	wantCode(t, err, millrace.CodeInvalid)
	if n := w.count(`SELECT count(*) FROM endpoints`); n != 1 {
		t.Errorf("there are %d endpoints", n)
	}
}

func TestConcurrentUpdatesOfAnEndpointComeOneAfterTheOther(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(func(e *millrace.Endpoint) { e.Name = "x" })
	in(20, func(int) {
		if _, err := w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.Name += "x"; return nil }); err != nil {
			t.Error(err)
		}
	})
	if got := w.readEndpoint(e.ID).Name; got != strings.Repeat("x", 21) {
		t.Errorf("after 20 updates its name is %q", got)
	}
}

func TestAForeignEndpointIsUnknown(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	foreign := w.newProject()
	for name, do := range map[string]func(ctx context.Context, id millrace.ID) error{
		"to read": func(ctx context.Context, id millrace.ID) error { _, err := w.Endpoint(ctx, foreign, id); return err },
		"to update": func(ctx context.Context, id millrace.ID) error {
			_, err := w.UpdateEndpoint(ctx, foreign, id, func(*millrace.Endpoint) error { return nil })
			return err
		},
		"to delete":  func(ctx context.Context, id millrace.ID) error { return w.DeleteEndpoint(ctx, foreign, id) },
		"to disable": func(ctx context.Context, id millrace.ID) error { return w.DisableEndpoint(ctx, foreign, id, "") },
		"to expire its secrets": func(ctx context.Context, id millrace.ID) error {
			_, err := w.ExpireSecret(ctx, foreign, id, "", time.Now())
			return err
		},
		"to subscribe": func(ctx context.Context, id millrace.ID) error {
			_, err := w.CreateSubscription(ctx, millrace.Subscription{ProjectID: foreign, EndpointID: id, Name: "all"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, do(t.Context(), e.ID), millrace.CodeNotFound)
			wantCode(t, do(t.Context(), newID()), millrace.CodeNotFound)
		})
	}
	if got := w.readEndpoint(e.ID); !reflect.DeepEqual(got, e) {
		t.Errorf("it was changed to %#v", got)
	}
	list := must[millrace.List[millrace.Endpoint]](t)(w.Endpoints(t.Context(), millrace.EndpointQuery{ProjectID: foreign, IDs: []millrace.ID{e.ID}}))
	if len(list.Items) != 0 {
		t.Error("a foreign list has it")
	}
}

func TestEndpointsAreListedBothWaysInBothOrders(t *testing.T) {
	w := newWorld(t)
	var all []millrace.ID
	for n := range 7 {
		e := w.endpoint(func(e *millrace.Endpoint) { e.ID = millrace.NewID(time.Now().Add(time.Duration(n) * time.Second)) })
		all = append(all, e.ID)
	}
	noError(t, w.DeleteEndpoint(t.Context(), w.project, all[6]))
	pages(t, all[:6], func(e millrace.Endpoint) millrace.ID { return e.ID },
		func(ctx context.Context, p millrace.Page) (millrace.List[millrace.Endpoint], error) {
			return w.Endpoints(ctx, millrace.EndpointQuery{ProjectID: w.project, Page: p})
		})
}

func TestEndpointsAreFoundByOwnerTextAndIds(t *testing.T) {
	w := newWorld(t)
	a := w.endpoint(func(e *millrace.Endpoint) { e.Name, e.OwnerID = "Alpha 100%", "one" })
	b := w.endpoint(func(e *millrace.Endpoint) { e.Name, e.URL, e.OwnerID = "Beta", "https://alpha.example", "two" })
	for name, c := range map[string]struct {
		q    millrace.EndpointQuery
		want []millrace.ID
	}{
		"all":                       {millrace.EndpointQuery{}, []millrace.ID{a.ID, b.ID}},
		"an owner's":                {millrace.EndpointQuery{OwnerID: "two"}, []millrace.ID{b.ID}},
		"by part of name or URL":    {millrace.EndpointQuery{Text: "ALPHA"}, []millrace.ID{a.ID, b.ID}},
		"by a text, never a wild %": {millrace.EndpointQuery{Text: "0%"}, []millrace.ID{a.ID}},
		"by no one's text":          {millrace.EndpointQuery{Text: "a%a"}, nil},
		"by ids":                    {millrace.EndpointQuery{IDs: []millrace.ID{b.ID, newID()}}, []millrace.ID{b.ID}},
	} {
		t.Run(name, func(t *testing.T) {
			c.q.ProjectID, c.q.Page.Ascending = w.project, true
			list := must[millrace.List[millrace.Endpoint]](t)(w.Endpoints(t.Context(), c.q))
			if got := idsIn(list.Items, func(e millrace.Endpoint) millrace.ID { return e.ID }); !sameIDs(got, c.want) {
				t.Errorf("found %v, want %v", got, c.want)
			}
			for _, e := range list.Items {
				if len(e.Secrets) != 1 {
					t.Errorf("%s is listed with %d secrets", e.Name, len(e.Secrets))
				}
			}
		})
	}
}

func TestDeletingAnEndpointCancelsWhatIsOpenAndKeepsWhatHappened(t *testing.T) {
	w := newWorld(t)
	e, other := w.endpoint(secretive), w.endpoint()
	sub := w.subscription(e.ID)
	held, kept := w.heldDelivery(e.ID), w.heldDelivery(other.ID)
	noError(t, w.DeleteEndpoint(t.Context(), w.project, e.ID))
	_, err := w.Endpoint(t.Context(), w.project, e.ID)
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Subscription(t.Context(), w.project, sub.ID)
	wantCode(t, err, millrace.CodeNotFound)
	wantCode(t, w.DeleteEndpoint(t.Context(), w.project, e.ID), millrace.CodeNotFound)
	if status := w.record(held).Status; status != millrace.Cancelled {
		t.Errorf("its held delivery is %s", status)
	}
	w.folds(held)
	if status := w.record(kept).Status; status != millrace.Held {
		t.Errorf("another endpoint's held delivery is %s", status)
	}
	if n := w.count(`SELECT count(*) FROM endpoint_secrets WHERE endpoint_id = $1`, e.ID); n != 0 {
		t.Errorf("%d of its secrets are still there", n)
	}
	if n := w.count(`SELECT count(*) FROM endpoints WHERE id = $1 AND credentials IS NULL`, e.ID); n != 1 {
		t.Error("its credentials are still there")
	}
	_, err = w.CreateSubscription(t.Context(), millrace.Subscription{ProjectID: w.project, EndpointID: e.ID, Name: "late"})
	wantCode(t, err, millrace.CodeNotFound)
}

func TestAChangeOfStateHasItsHeldDeliveriesLookedAt(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	w.heldDelivery(e.ID)
	for name, do := range map[string]func() error{
		"paused": func() error {
			_, err := w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.Status = millrace.EndpointPaused; return nil })
			return err
		},
		"disabled": func() error { return w.DisableEndpoint(t.Context(), w.project, e.ID, "it answered 410") },
	} {
		w.exec(`UPDATE endpoints SET status = 'active'`)
		w.exec(`UPDATE held_endpoints SET look_at = now() + interval '1 hour'`)
		noError(t, do())
		if n := w.count(`SELECT count(*) FROM held_endpoints WHERE endpoint_id = $1 AND look_at <= now()`, e.ID); n != 1 {
			t.Errorf("%s: it is not looked at", name)
		}
	}
	w.exec(`UPDATE held_endpoints SET look_at = now() + interval '1 hour'`)
	_, err := w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.Name = "other"; return nil })
	noError(t, err)
	if n := w.count(`SELECT count(*) FROM held_endpoints WHERE look_at <= now()`); n != 0 {
		t.Error("it is looked at for another name")
	}
}

func sameIDs(a, b []millrace.ID) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
