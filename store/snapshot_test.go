package store_test

import (
	"reflect"
	"strconv"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestASnapshotHasAllOfAProjectAndNothingElse(t *testing.T) {
	w := newWorld(t)
	e, gone := w.endpoint(secretive), w.endpoint()
	sub, goneSub := w.subscription(e.ID), w.subscription(e.ID)
	w.subscription(gone.ID)
	noError(t, w.DeleteEndpoint(t.Context(), w.project, gone.ID))
	noError(t, w.DeleteSubscription(t.Context(), w.project, goneSub.ID))
	foreign := w.newProject()
	if _, err := w.CreateEndpoint(t.Context(), millrace.Endpoint{ProjectID: foreign, Name: "theirs", URL: "https://example.com"}); err != nil {
		t.Fatal(err)
	}
	got := must[*millrace.Snapshot](t)(w.Snapshot(t.Context(), w.project))
	if !reflect.DeepEqual(got.Endpoints, map[millrace.ID]millrace.Endpoint{e.ID: e}) {
		t.Errorf("its endpoints are %#v, want %#v", got.Endpoints, e)
	}
	if !reflect.DeepEqual(got.Subscriptions, []millrace.Subscription{sub}) {
		t.Errorf("its subscriptions are %+v", got.Subscriptions)
	}
	if got.Project.ConfigVersion != int64(w.version()) {
		t.Errorf("it is of version %d, want %d", got.Project.ConfigVersion, w.version())
	}
	_, err := w.Snapshot(t.Context(), newID())
	wantCode(t, err, millrace.CodeNotFound)
}

// Each change writes the version that it makes into an endpoint's name, so a
// snapshot that mixes two moments has a name that is not its version.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	named := func() {
		_, err := w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error {
			n, _ := strconv.Atoi(e.Name)
			e.Name = strconv.Itoa(n + 1)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.Name = strconv.Itoa(w.version() + 1); return nil }); err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for range 100 {
			named()
		}
	}()
	for done := false; !done; {
		select {
		case <-changed:
			done = true
		default:
		}
		got := must[*millrace.Snapshot](t)(w.Snapshot(t.Context(), w.project))
		if name := got.Endpoints[e.ID].Name; name != strconv.FormatInt(got.Project.ConfigVersion, 10) {
			t.Errorf("the snapshot of version %d has what version %s wrote", got.Project.ConfigVersion, name)
		}
	}
}

func TestVersionsAreReadForThoseProjectsThatAreThere(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	got := must[map[millrace.ID]int64](t)(w.ConfigVersions(t.Context(), []millrace.ID{w.project, newID()}))
	if !reflect.DeepEqual(got, map[millrace.ID]int64{w.project: 2}) {
		t.Errorf("the versions are %v", got)
	}
	if got := must[map[millrace.ID]int64](t)(w.ConfigVersions(t.Context(), nil)); len(got) != 0 {
		t.Errorf("the versions of none are %v", got)
	}
}

// An event accepted after a change carries a version that includes it.
func TestAnEventKnowsTheVersionOfEveryChangeBeforeIt(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	for range 3 {
		w.subscription(e.ID)
		if got := w.appended().ConfigVersion; got != int64(w.version()) {
			t.Errorf("the event knows version %d, the change made %d", got, w.version())
		}
	}
}
