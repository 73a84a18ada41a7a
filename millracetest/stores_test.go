package millracetest

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/pipeline"
)

func TestFlushAllInTheMiddleLosesNothingThatWasPersisted(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	ids := gw.Under(Load{Events: 600, Ack: "persisted", Meanwhile: []func(){gw.Redis.FlushAll, gw.Redis.FlushAll, gw.Redis.FlushAll}})
	r.Want(Events(ids...), Once())
}

func TestFlushAllInTheMiddleLosesOfTheQueuedEventsThoseAloneThatReachedNothingElse(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	gw.Under(Load{Events: 600, Ack: "queued", Meanwhile: []func(){gw.Redis.FlushAll, gw.Redis.FlushAll, gw.Redis.FlushAll}})
	eventually(t, "the gateway comes to rest", gw.resting)
	stored, err := gw.list(`SELECT id FROM events`)
	if err != nil {
		t.Fatal(err)
	}
	r.Want(Events(stored...), Once())
	after := gw.Send(Event("order.paid")).UID
	r.Want(Events(append(stored, after)...), Once())
}

func TestFlushAllTakesNothingForLostThatIsBeingSent(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Slow(8 * time.Second)) // twice the sweep's grace
	ids := gw.Under(Load{Events: 40, Ack: "persisted"})
	gw.claimed(len(ids))
	gw.Redis.FlushAll()
	r.Want(Events(ids...), Once())
}

func TestWhateverRedisLosesNothingIsLostThatWasPersisted(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*Redis){
		"it restarts on what it kept":    (*Redis).Revive,
		"it restarts empty":              (*Redis).Empty,
		"a consumer group is destroyed":  (*Redis).DestroyGroup,
		"the stream of events is lost":   func(r *Redis) { r.Delete(string(pipeline.Persisted)) },
		"the stream of deliveries is so": func(r *Redis) { r.Delete(string(pipeline.Due)) },
	} {
		t.Run(name, func(t *testing.T) {
			gw := New(t)
			r := gw.Receiver()
			ids := gw.Under(Load{Events: 600, Ack: "persisted", Meanwhile: []func(){func() { lose(gw.Redis) }}})
			r.Want(Events(ids...), Once())
		})
	}
}

func TestARedisThatIsSilentForAWhileLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	// What was sent to it meanwhile it does when it wakes, though its client
	// has given up and done otherwise.
	ids := gw.Under(Load{Events: 900, Ack: "queued", Meanwhile: []func(){gw.Redis.Freeze, gw.Redis.Thaw}})
	r.Want(Events(ids...), Once(), bodies(900))
}

func TestWhatIsAskedForWithoutRedisIsDoneWhenItIsBack(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r, paused := gw.Receiver(Types("paid")), gw.Receiver(Types("held"))
	toggle(gw, paused)
	sent, held := gw.Send(Event("paid")).UID, gw.Send(Event("held")).UID
	r.Want(Attempts(1))
	d := gw.deliveries("delivered", 1)[0]
	gw.deliveries("held", 1)
	gw.Redis.Kill()
	gw.Must(http.MethodPut, "/events/"+sent+"/replay", nil, nil)
	gw.Must(http.MethodPut, "/eventdeliveries/"+d.UID+"/resend", nil, nil)
	toggle(gw, paused)
	gw.Redis.Start()
	r.Want(Attempts(3), SameID())
	paused.Want(Events(held), Attempts(1))
}

func TestAClientGetsTheAnswerThatItPrefersOrABetterOne(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	var ids []string
	prefers := func(e map[string]any, prefer, want string) {
		t.Helper()
		eventually(t, "the event is taken", func() error {
			sent, err := gw.Try("/events", e, "Prefer", prefer)
			if err != nil {
				return err
			}
			if sent.Ack != want || sent.Applied != "ack="+want {
				t.Errorf("%q was answered as %q, %q, want %s", prefer, sent.Ack, sent.Applied, want)
			}
			ids = append(ids, sent.UID)
			return nil
		})
	}
	prefers(Event("order.paid"), "ack=queued", "queued")
	prefers(Event("order.paid"), "ack=persisted", "persisted")
	prefers(Event("order.paid", "idempotency_key", "one"), "ack=queued", "persisted")
	gw.Redis.Kill()
	for range 20 {
		prefers(Event("order.paid"), "ack=queued", "persisted")
	}
	gw.Redis.Start()
	r.Want(Events(ids...), Once())
}

func TestWithNeitherStoreAClientIsToldToComeAgain(t *testing.T) {
	t.Parallel()
	gw := New(t, OwnPostgres())
	r := gw.Receiver()
	first := gw.Send(Event("order.paid")).UID
	r.Want(Events(first))
	gw.Redis.Kill()
	gw.Postgres.Stop()
	for _, ack := range []string{"queued", "persisted"} {
		_, err := gw.Try("/events", Event("order.paid"), "Prefer", "ack="+ack)
		if got := Refused(err); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			t.Errorf("with no store, %s was answered with %v, Retry-After %q", ack, err, got.Header.Get("Retry-After"))
		}
	}
	gw.Postgres.Start()
	gw.Redis.Start()
	again := gw.Under(Load{Events: 10, Ack: "queued"})
	r.Want(Came(append(again, first)...), Once())
}

func TestAPostgresThatRestartsInTheMiddleLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	gw := New(t, OwnPostgres())
	r := gw.Receiver()
	queues := func() {
		for i := range 20 {
			sent, err := gw.Try("/events", Event("order.paid"), "Prefer", "ack=queued")
			if err != nil || sent.Ack != "queued" {
				t.Errorf("without PostgreSQL, event %d was answered as %q, %v", i, sent.Ack, err)
			}
		}
	}
	ids := gw.Under(Load{Events: 1000, Ack: "queued", Meanwhile: []func(){
		func() { gw.Postgres.Stop(); queues(); gw.Postgres.Start() },
		func() { gw.Postgres.Kill(); queues(); gw.Postgres.Start() },
	}})
	r.Want(Came(ids...), Attempts(len(ids)+40), Once())
}

func TestKeyedEventsOfClientsThatInsistAreOnceWhateverPostgresDoes(t *testing.T) {
	t.Parallel()
	gw := New(t, OwnPostgres())
	r := gw.Receiver()
	ids := gw.Under(Load{Events: 600, Keyed: true, Meanwhile: []func(){
		func() { gw.Postgres.Kill(); gw.Postgres.Start() },
	}})
	r.Want(Events(ids...), Once(), bodies(600))
}

// bodies wants so many different bodies: one for each event of a load.
func bodies(n int) Expectation {
	return func(got []Request) error {
		came := map[string]bool{}
		for _, q := range got {
			came[q.Body] = true
		}
		if len(came) != n {
			return fmt.Errorf("%d different bodies came, want %d", len(came), n)
		}
		return nil
	}
}
