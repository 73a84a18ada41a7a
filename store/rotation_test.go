package store_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

func TestRotationSealsAllAnewAndMayBeRunAgain(t *testing.T) {
	w := newWorld(t)
	older, newer := store.NewKey(), store.NewKey()
	before := w.openWith(older)
	var made []millrace.Endpoint
	for range 3 {
		e := millrace.Endpoint{ProjectID: w.project, Name: "n", URL: "https://example.com"}
		secretive(&e)
		made = append(made, must[millrace.Endpoint](t)(before.CreateEndpoint(t.Context(), e)))
	}
	topic := must[millrace.Source](t)(before.CreateSource(t.Context(), millrace.Source{
		ProjectID: w.project, Name: "n", Type: millrace.SourcePubSub, PubSub: brokers()["kafka"],
	}))
	version := w.version()
	both := w.openWith(newer, older)
	// Two secrets, a signing key and the credentials of each, and the source's.
	if n := must[int](t)(both.RotateKeys(t.Context())); n != 13 {
		t.Errorf("%d texts were sealed anew, want 13", n)
	}
	if n := must[int](t)(both.RotateKeys(t.Context())); n != 0 {
		t.Errorf("%d more texts were sealed anew, want none", n)
	}
	if w.version() != version {
		t.Error("it raised the version, but nothing is changed")
	}
	after := w.openWith(newer)
	for _, e := range made {
		if got := must[millrace.Endpoint](t)(after.Endpoint(t.Context(), w.project, e.ID)); !reflect.DeepEqual(got, e) {
			t.Errorf("without the old key it is %#v, was %#v", got, e)
		}
	}
	if got := must[millrace.Source](t)(after.Source(t.Context(), w.project, topic.ID)); !reflect.DeepEqual(got, topic) {
		t.Errorf("without the old key the source is %#v, was %#v", got, topic)
	}
}

func TestRotationGoesThroughAllBatches(t *testing.T) {
	w := newWorld(t)
	key := store.NewKey()
	const many = 1203 // more than two batches
	// What is rotated in bulk need not be readable as an endpoint's secret:
	// these rows are copies that open in their own place alone.
	ring, err := store.NewKeyring([]string{key})
	noError(t, err)
	e := w.endpoint()
	w.exec(`DELETE FROM endpoint_secrets`)
	for range many {
		id := newID()
		sealed := must[[]byte](t)(ring.Seal([]byte("x"), "endpoint_secrets/"+id.String()+"/"+e.ID.String()+"/secret"))
		w.exec(`INSERT INTO endpoint_secrets (id, endpoint_id, kind, sealed) VALUES ($1, $2, 'secret', $3)`, id, e.ID, sealed)
	}
	if n := must[int](t)(w.openWith(store.NewKey(), key).RotateKeys(t.Context())); n != many {
		t.Errorf("%d texts were sealed anew, want %d", n, many)
	}
}

func TestRotationWithoutTheOldKeyNamesItAndLosesNothing(t *testing.T) {
	w := newWorld(t)
	key := store.NewKey()
	id, _, _ := strings.Cut(key, ":")
	before := w.openWith(key)
	e := must[millrace.Endpoint](t)(before.CreateEndpoint(t.Context(), millrace.Endpoint{ProjectID: w.project, Name: "n", URL: "https://example.com"}))
	_, err := w.openWith(store.NewKey()).RotateKeys(t.Context())
	if !errors.Is(err, store.ErrUnknownKey) || !strings.Contains(err.Error(), id) {
		t.Errorf("got %v, want the key %s named", err, id)
	}
	if got := must[millrace.Endpoint](t)(before.Endpoint(t.Context(), w.project, e.ID)); !reflect.DeepEqual(got, e) {
		t.Errorf("it is %#v, was %#v", got, e)
	}
}

// As while processes are restarted one by one: some seal under the old key
// still, and all of them know both.
func TestChangesDuringARotationAreNotLost(t *testing.T) {
	w := newWorld(t)
	older, newer := store.NewKey(), store.NewKey()
	before, both := w.openWith(older, newer), w.openWith(newer, older)
	e := millrace.Endpoint{ProjectID: w.project, Name: "n", URL: "https://example.com", SlackWebhookURL: "https://x"}
	e = must[millrace.Endpoint](t)(before.CreateEndpoint(t.Context(), e))
	const changes = 30
	in(2, func(i int) {
		for range changes {
			var err error
			if i == 0 {
				_, err = both.RotateKeys(t.Context())
			} else {
				_, err = before.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.SlackWebhookURL += "x"; return nil })
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	got := must[millrace.Endpoint](t)(both.Endpoint(t.Context(), w.project, e.ID))
	if want := e.SlackWebhookURL + strings.Repeat("x", changes); got.SlackWebhookURL != want || !reflect.DeepEqual(got.Secrets, e.Secrets) {
		t.Errorf("after %d changes it is %q with %#v", changes, got.SlackWebhookURL, got.Secrets)
	}
}

func TestTheKeysInUseAreCountedAndMissed(t *testing.T) {
	w := newWorld(t)
	older, newer := store.NewKey(), store.NewKey()
	oldID, _, _ := strings.Cut(older, ":")
	newID, _, _ := strings.Cut(newer, ":")
	before, both := w.openWith(older), w.openWith(newer, older)
	e := millrace.Endpoint{ProjectID: w.project, Name: "n", URL: "https://example.com"}
	secretive(&e)
	must[millrace.Endpoint](t)(before.CreateEndpoint(t.Context(), e))
	must[millrace.Source](t)(before.CreateSource(t.Context(), millrace.Source{
		ProjectID: w.project, Name: "n", Type: millrace.SourcePubSub, PubSub: brokers()["sqs"],
	}))
	clear, _, err := before.CreateAPIKey(t.Context(), millrace.APIKey{ProjectID: w.project, Name: "ci"})
	noError(t, err)
	_, revoked, err := before.CreateAPIKey(t.Context(), millrace.APIKey{Name: "ci"})
	noError(t, err)
	noError(t, w.RevokeAPIKey(t.Context(), revoked.ID))
	uses := func() map[string][2]int {
		counted := map[string][2]int{}
		for _, use := range must[[]store.KeyUse](t)(both.KeysInUse(t.Context())) {
			counted[use.KeyID] = [2]int{use.Sealed, use.Hashed}
		}
		return counted
	}
	if got, want := uses(), (map[string][2]int{oldID: {5, 1}}); !reflect.DeepEqual(got, want) {
		t.Errorf("in use are %v, want %v", got, want)
	}
	must[int](t)(both.RotateKeys(t.Context()))
	if got, want := uses(), (map[string][2]int{oldID: {0, 1}, newID: {5, 0}}); !reflect.DeepEqual(got, want) {
		t.Errorf("after the rotation in use are %v, want %v", got, want)
	}
	err = w.openWith(newer).CheckKeys(t.Context())
	if !errors.Is(err, store.ErrUnknownKey) || !strings.Contains(err.Error(), oldID) || !strings.Contains(err.Error(), "1 API keys") {
		t.Errorf("a ring without the old key is %v", err)
	}
	must[millrace.APIKey](t)(both.Authenticate(t.Context(), clear))
	noError(t, both.Close())
	noError(t, w.openWith(newer).CheckKeys(t.Context()))
}
