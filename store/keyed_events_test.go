package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

// appending is one append of a story, and what it is to answer. Events are
// named by the number of their append, the first is 1.
type appending struct {
	key, source, coordinates string
	payload                  string
	change                   func(*millrace.Event)
	id                       int  // the append whose id it bears; 0: a new one
	answer                   bool // nobody keeps the duplicate: it is answered
	before                   string
	want                     string
}

// What an append may answer.
const (
	stored   = "stored"
	again    = "met again" // the id: nothing is stored
	conflict = "conflict"
)

func repeats(n int) string { return fmt.Sprint("repeats ", n) }      // nothing is stored
func keptAs(n int) string  { return fmt.Sprint("duplicate of ", n) } // it is stored, or was

func TestWhatAnEventIsByItsKeys(t *testing.T) {
	t.Parallel()
	const a, b = "kafka:a:1:t:0:7", "kafka:a:1:t:0:8"
	for rule, c := range map[string]struct {
		story  []appending
		reused int // alerts
	}{
		"a client's key with the same body is the same event": {story: []appending{
			{key: "k", want: stored}, {key: "k", answer: true, want: repeats(1)}, {key: "k", want: keptAs(1)}, {key: "k", want: keptAs(1)},
		}},
		"a client's key with another body is a conflict": {story: []appending{
			{key: "k", want: stored}, {key: "k", payload: "other", want: conflict}, {key: "k", payload: "other", answer: true, want: conflict},
		}},
		"a source's key alone decides": {story: []appending{
			{key: "k", source: "s", want: stored}, {key: "k", source: "s", payload: "other", want: keptAs(1)},
			{key: "k", source: "s", payload: "third", answer: true, want: repeats(1)},
		}},
		"a source's key is that source's": {story: []appending{
			{key: "k", source: "s", want: stored}, {key: "k", source: "other", want: stored}, {key: "k", want: stored},
		}},
		"no key is mistaken for one of another kind": {story: []appending{
			{coordinates: a, want: stored}, {key: a, want: stored}, {key: "broker:" + a, want: stored}, {key: "client:" + a, want: stored},
			{key: "k", source: "s", want: stored}, {key: sourceKey("s", "k"), want: stored}, {coordinates: sourceKey("s", "k"), want: stored},
			{coordinates: "client:" + a, want: stored},
		}},
		"coordinates with the same message are the same event, and no duplicate": {story: []appending{
			{coordinates: a, want: stored}, {coordinates: a, want: repeats(1)}, {coordinates: a, answer: true, want: repeats(1)},
		}},
		"other coordinates are another event": {story: []appending{
			{coordinates: a, want: stored}, {coordinates: b, want: stored}, {coordinates: a, want: repeats(1)}, {coordinates: b, want: repeats(2)},
		}},
		"coordinates are their project's": {story: []appending{
			{coordinates: a, want: stored}, {coordinates: a, change: func(e *millrace.Event) { e.ProjectID = otherProject(e.ProjectID) }, want: stored},
		}},
		"coordinates with another message are a new event, and stand for it": {reused: 1, story: []appending{
			{coordinates: a, want: stored}, {coordinates: a, payload: "other", want: stored}, {coordinates: a, payload: "other", want: repeats(2)},
		}},
		"coordinates with a message to others are a new event": {reused: 1, story: []appending{
			{coordinates: a, want: stored}, {coordinates: a, change: func(e *millrace.Event) { e.Audience.OwnerID = "acme" }, want: stored},
		}},
		"a message is the same after a change of its source's mapping": {story: []appending{
			{coordinates: a, want: stored},
			{coordinates: a, change: func(e *millrace.Event) { e.Type, e.Headers = "other", nil }, want: repeats(1)},
			{coordinates: a, key: "k", source: "s", want: repeats(1)},
			{coordinates: b, key: "k", source: "s", want: stored}, // the key was not taken
		}},
		"a message with a key is met again by both": {story: []appending{
			{coordinates: a, key: "k", want: stored}, {coordinates: a, key: "k", want: repeats(1)}, {key: "k", want: keptAs(1)}, {coordinates: a, want: repeats(1)},
		}},
		"another message with a known key is kept as a duplicate, once": {story: []appending{
			{coordinates: a, key: "k", want: stored}, {coordinates: b, key: "k", want: keptAs(1)},
			{coordinates: b, key: "k", want: repeats(2)}, {coordinates: b, key: "k", id: 2, want: keptAs(1)}, {coordinates: b, want: repeats(2)},
		}},
		"another message with a source's known key is kept, whatever it says": {story: []appending{
			{coordinates: a, key: "k", source: "s", want: stored}, {coordinates: b, key: "k", source: "s", payload: "other", want: keptAs(1)},
			{coordinates: b, key: "k", source: "s", payload: "other", want: repeats(2)},
		}},
		"another message that refuses its key leaves its coordinates free": {story: []appending{
			{coordinates: a, key: "k", want: stored}, {coordinates: b, key: "k", payload: "other", want: conflict}, {coordinates: b, want: stored},
		}},
		"a duplicate that nobody keeps is answered": {story: []appending{
			{coordinates: a, key: "k", want: stored}, {coordinates: b, key: "k", answer: true, want: repeats(1)},
		}},
		"a recreated topic's message with a known key is a duplicate, and an alert": {reused: 1, story: []appending{
			{coordinates: a, want: stored}, {key: "k", payload: "other", want: stored}, {coordinates: a, key: "k", payload: "other", want: keptAs(2)},
			{coordinates: a, key: "k", payload: "other", want: repeats(3)},
		}},
		"a recreated topic's message that refuses its key changes nothing": {story: []appending{
			{coordinates: a, want: stored}, {key: "k", want: stored}, {coordinates: a, key: "k", payload: "other", want: conflict}, {coordinates: a, want: repeats(1)},
		}},
		"an id met again is the same event, by any of its keys": {story: []appending{
			{coordinates: a, key: "k", want: stored}, {coordinates: a, key: "k", id: 1, want: again},
			{coordinates: b, want: stored}, {coordinates: b, id: 3, want: again}, {key: "l", want: stored}, {key: "l", id: 5, want: again},
		}},
		"after their window keys stand for nothing": {story: []appending{
			{coordinates: a, key: "k", want: stored}, {coordinates: a, key: "k", payload: "other", before: `UPDATE idempotency_keys SET expires_at = now()`, want: stored},
		}},
		"coordinates outlive the key of the first event": {story: []appending{
			{coordinates: a, key: "k", want: stored}, {coordinates: b, key: "k", want: keptAs(1)},
			{coordinates: b, key: "k", before: `UPDATE idempotency_keys SET expires_at = now() WHERE key LIKE 'client:%'`, want: repeats(2)},
			{coordinates: "c", key: "k", want: stored}, // the key was not taken by the one before
		}},
		"a key outlives the coordinates of the first event": {story: []appending{
			{coordinates: a, key: "k", want: stored},
			{coordinates: a, key: "k", before: `UPDATE idempotency_keys SET expires_at = now() WHERE key LIKE 'broker:%'`, want: keptAs(1)},
		}},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			other := w.newProject()
			var alerts int
			w.OnReuse = func(e millrace.Event, first millrace.ID) {
				if alerts++; e.BrokerMessageID != a || first == e.ID {
					t.Errorf("told of %s that was %s", e.BrokerMessageID, first)
				}
			}
			w.tell(c.story, other)
			if alerts != c.reused {
				t.Errorf("%d alerts, want %d", alerts, c.reused)
			}
		})
	}
}

// otherProject stands for a project that the story makes.
func otherProject(millrace.ID) millrace.ID { return millrace.ID{} }

var sourceIDs = map[string]millrace.ID{"s": newID(), "other": newID()}

func sourceKey(source, key string) string { return "source:" + sourceIDs[source].String() + ":" + key }

// tell runs a story and holds each answer, and the tables at the end, against
// what it says.
func (w *world) tell(story []appending, other millrace.ID) {
	w.t.Helper()
	var ids []millrace.ID
	rows, duplicates := 0, 0
	for n, a := range story {
		if a.before != "" {
			w.exec(a.before)
		}
		e := w.told(a, other)
		if a.id > 0 {
			e.ID = ids[a.id-1]
		}
		ids = append(ids, e.ID)
		got, err := w.AppendEvent(w.t.Context(), e, !a.answer)
		if said := saying(e, got, err, ids); said != a.want {
			w.t.Errorf("append %d: %s, want %s (%v)", n+1, said, a.want, err)
		}
		if a.id == 0 && a.want == stored {
			rows++
		}
		if a.id == 0 && strings.HasPrefix(a.want, "duplicate") {
			rows, duplicates = rows+1, duplicates+1
		}
	}
	if n, d := w.count(`SELECT count(*) FROM events`), w.count(`SELECT count(*) FROM events WHERE duplicate_of IS NOT NULL`); n != rows || d != duplicates {
		w.t.Errorf("%d events are stored, %d of them duplicates; want %d and %d", n, d, rows, duplicates)
	}
	w.keysHold()
}

// told is the event of an append.
func (w *world) told(a appending, other millrace.ID) millrace.Event {
	e := w.event()
	e.IdempotencyKey, e.BrokerMessageID, e.Payload = a.key, a.coordinates, []byte("the same")
	if a.source != "" {
		e.KeyScope, e.SourceID = millrace.KeyOfSource, sourceIDs[a.source]
	}
	if a.payload != "" {
		e.Payload = []byte(a.payload)
	}
	if a.change != nil {
		a.change(&e)
	}
	if e.ProjectID == (millrace.ID{}) {
		e.ProjectID = other
	}
	return e
}

// saying puts an answer into the story's words.
func saying(e millrace.Event, got millrace.StoredEvent, err error, ids []millrace.ID) string {
	number := func(id millrace.ID) int {
		for n := range ids {
			if ids[n] == id {
				return n + 1
			}
		}
		return 0
	}
	n := number(e.ID)
	switch {
	case millrace.CodeOf(err) == millrace.CodeConflict:
		return conflict
	case err != nil:
		return err.Error()
	case got.ConfigVersion == 0 || got.StoredAt.IsZero():
		return "not known when it was stored"
	case got.ID != e.ID && got.DuplicateOf == got.ID:
		return repeats(number(got.ID))
	case got.ID == e.ID && got.DuplicateOf != millrace.ID{}:
		return keptAs(number(got.DuplicateOf))
	case got.ID == e.ID && n < len(ids):
		return again
	case got.ID == e.ID:
		return stored
	}
	return fmt.Sprintf("event %s, duplicate of %s", got.ID, got.DuplicateOf)
}

// keysHold wants each key to stand for an event that is there, and a client's
// for one that is no duplicate.
func (w *world) keysHold() {
	w.t.Helper()
	if n := w.count(`SELECT count(*) FROM idempotency_keys k WHERE NOT EXISTS (SELECT FROM events e WHERE e.id = k.event_id AND e.project_id = k.project_id)`); n != 0 {
		w.t.Errorf("%d keys stand for events that are not there", n)
	}
	if n := w.count(`SELECT count(*) FROM idempotency_keys k JOIN events e ON e.id = k.event_id WHERE k.key NOT LIKE 'broker:%' AND e.duplicate_of IS NOT NULL`); n != 0 {
		w.t.Errorf("%d keys stand for duplicates", n)
	}
}

// two are two stores on the same tables, as two agents have them.
func (w *world) two() [2]*store.Store { return [2]*store.Store{w.Store, storetest.Open(w.t, w.url)} }

func TestFiftyDeliveriesOfAMessageAtOnceAreOneEvent(t *testing.T) {
	t.Parallel()
	for rule, key := range map[string]string{"by its coordinates": "", "with a key": "k"} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			stores := w.two()
			var mu sync.Mutex
			answers, news := map[millrace.ID]int{}, 0
			in(50, func(i int) {
				e := w.event()
				e.BrokerMessageID, e.IdempotencyKey = "sqs:a:1:m", key
				got, err := stores[i%2].AppendEvent(t.Context(), e, true)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				answers[got.ID]++
				if got.DuplicateOf == (millrace.ID{}) {
					news++
				}
			})
			if len(answers) != 1 || news != 1 {
				t.Errorf("the callers were told of %d events, and %d that theirs was new", len(answers), news)
			}
			if n := w.count(`SELECT count(*) FROM events`); n != 1 {
				t.Errorf("%d events are stored, want 1", n)
			}
			w.keysHold()
		})
	}
}

func TestFiftyMessagesUnderReusedCoordinatesAreOneNewEventAndOneAlert(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stores := w.two()
	var mu sync.Mutex
	alerts := 0
	for _, s := range stores {
		s.OnReuse = func(millrace.Event, millrace.ID) {
			mu.Lock()
			defer mu.Unlock()
			alerts++
		}
	}
	must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.told(appending{coordinates: "c"}, w.project), true))
	in(50, func(i int) {
		if _, err := stores[i%2].AppendEvent(t.Context(), w.told(appending{coordinates: "c", payload: "other"}, w.project), true); err != nil {
			t.Error(err)
		}
	})
	if n := w.count(`SELECT count(*) FROM events`); n != 2 || alerts != 1 {
		t.Errorf("%d events are stored, want 2, and %d alerts given, want 1", n, alerts)
	}
	w.keysHold()
}

// Another agent met the same and was faster.
func TestCoordinatesThatStandForSomethingElseByNowAreNotForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := 0
	w.OnReuse = func(millrace.Event, millrace.ID) { told++ }
	first := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.told(appending{coordinates: "c"}, w.project), true))
	late := w.told(appending{coordinates: "c", payload: "other"}, w.project)
	for n, c := range []struct {
		stoodFor   millrace.ID
		told, keys int
	}{{newID(), 0, 1}, {first.ID, 1, 0}, {first.ID, 1, 0}} {
		noError(t, w.ForgetCoordinates(t.Context(), late, c.stoodFor))
		if keys := w.count(`SELECT count(*) FROM idempotency_keys`); keys != c.keys || told != c.told {
			t.Errorf("the %d. time %d keys are left and %d alerts given, want %d and %d", n+1, keys, told, c.keys, c.told)
		}
	}
}

// Messages whose coordinates and keys cross in every way, in the flushes of
// two processes.
func TestCrossingKeysAreTakenBothOrNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stores := w.two()
	const keys, messages = 40, 160
	in(32, func(i int) {
		dice := rand.New(rand.NewPCG(7, uint64(i)))
		for range 60 {
			message := dice.IntN(messages)
			e := w.told(appending{coordinates: fmt.Sprint("m", message), key: fmt.Sprint("k", message%keys)}, w.project)
			if dice.IntN(4) == 0 {
				e.BrokerMessageID = "" // the same event, by the API
			}
			if _, err := stores[i%2].AppendEvent(t.Context(), e, dice.IntN(2) == 0 || e.BrokerMessageID != ""); err != nil {
				t.Error(err)
			}
		}
	})
	w.keysHold()
	if n := w.count(`SELECT count(*) FROM events WHERE duplicate_of IS NULL`); n != keys {
		t.Errorf("%d events are no duplicates, want one of each of %d keys", n, keys)
	}
	if n := w.count(`SELECT count(*) - count(DISTINCT event_id) FROM idempotency_keys WHERE key LIKE 'broker:%'`); n != 0 {
		t.Errorf("%d messages share an event with another", n)
	}
}

// The key is taken by another between the statement's beginning and its turn.
func TestAKeyTakenMeanwhileLeavesNoHalf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.event()
	tx, err := w.db.BeginTx(t.Context(), nil)
	noError(t, err)
	for _, statement := range []string{
		`INSERT INTO events (id, project_id, type, payload, config_version) VALUES ($1, $2, 'order.paid', 'the same', 1)`,
		`INSERT INTO idempotency_keys (project_id, key, event_id, body_hash, expires_at) VALUES ($2, 'source:` + sourceIDs["s"].String() + `:k', $1, sha256(''), now() + interval '1 hour')`,
	} {
		_, err := tx.ExecContext(t.Context(), statement, first.ID, w.project)
		noError(t, err)
	}
	second := w.told(appending{coordinates: "m", key: "k", source: "s"}, w.project)
	answer := make(chan millrace.StoredEvent, 1)
	go func() {
		got, err := w.AppendEvent(context.WithoutCancel(t.Context()), second, true)
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	eventually(t, "the wait for the key", func() bool {
		return w.count(`SELECT count(*) FROM pg_locks waits JOIN pg_locks has USING (pid) WHERE NOT waits.granted AND has.relation = 'idempotency_keys'::regclass`) > 0
	})
	noError(t, tx.Commit())
	if got := <-answer; got.ID != second.ID || got.DuplicateOf != first.ID {
		t.Errorf("stored %s as the duplicate of %s, want %s of %s", got.ID, got.DuplicateOf, second.ID, first.ID)
	}
	if n := w.count(`SELECT count(*) FROM idempotency_keys WHERE key = 'broker:m' AND event_id = $1`, second.ID); n != 1 {
		t.Error("its coordinates do not stand for it")
	}
	w.keysHold()
}

func TestAKeyTooLongForItsIndexIsRefusedAndHoldsUpNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all sync.WaitGroup
	for _, c := range []struct {
		long appending
		code millrace.Code
	}{
		{appending{coordinates: strings.Repeat("x", 3000)}, millrace.CodeInvalid},
		{appending{key: strings.Repeat("x", 3000)}, millrace.CodeInvalid},
		{appending{coordinates: "a\x00b"}, millrace.CodeInvalid},
	} {
		all.Go(func() {
			_, err := w.AppendEvent(t.Context(), w.told(c.long, w.project), true)
			wantCode(t, err, c.code)
		})
	}
	for _, a := range []appending{{coordinates: "a"}, {key: "a"}, {coordinates: strings.Repeat("x", 1024)}} {
		all.Go(func() {
			if _, err := w.AppendEvent(t.Context(), w.told(a, w.project), true); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAnEventIsFoundByTheCoordinatesThatStandForIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var last millrace.StoredEvent
	for _, payload := range []string{"old", "new"} {
		last = must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), w.told(appending{coordinates: "c", payload: payload}, w.project), true))
	}
	for project, want := range map[millrace.ID][]millrace.ID{w.project: {last.ID}, w.newProject(): {}} {
		list := must[millrace.List[millrace.EventRecord]](t)(w.Events(t.Context(), millrace.EventQuery{ProjectID: project, BrokerMessageID: "c"}))
		wantIDs(t, want, idsIn(list.Items, func(e millrace.EventRecord) millrace.ID { return e.ID }))
	}
}
