package millracetest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/pipeline"
)

func TestEachRoleRestartsInTheMiddleAndNothingIsLostOrRepeated(t *testing.T) {
	t.Parallel()
	gw := New(t, Apart())
	r := gw.Receiver()
	ids := gw.Under(Load{Events: 2000, Ack: "queued", Meanwhile: []func(){gw.Agent.Restart, gw.Server.Restart, gw.Egress.Restart}})
	r.Want(Came(ids...), Once())
}

func TestEachRoleIsKilledInTheMiddleAndNothingIsLostAndLittleRepeated(t *testing.T) {
	t.Parallel()
	const inFlight = 64
	gw := New(t, Apart(), quickTakeover(), Set(fmt.Sprintf("stages.deliver.concurrency=%d", inFlight)))
	r := gw.Receiver(Tries(20))
	ids := gw.Under(Load{Events: 2000, Ack: "queued", Meanwhile: []func(){gw.Agent.Revive, gw.Server.Revive, gw.Egress.Revive}})
	// What the killed agent had sent and not noted, and what the killed egress
	// carried, comes again.
	r.Want(Came(ids...), Repeats(2*inFlight))
}

func TestEachRoleIsKilledInTheMiddleAndAKeyStaysOneEvent(t *testing.T) {
	t.Parallel()
	const inFlight = 64
	gw := New(t, Apart(), quickTakeover(), Set(fmt.Sprintf("stages.deliver.concurrency=%d", inFlight)))
	r := gw.Receiver(Tries(20))
	ids := gw.Under(Load{Events: 1000, Keyed: true, Meanwhile: []func(){gw.Server.Revive, gw.Agent.Revive}})
	r.Want(Events(ids...), Repeats(inFlight), bodies(1000))
}

func TestAnAgentThatWasFrozenTakesNothingBack(t *testing.T) {
	t.Parallel()
	const inFlight = 16
	gw := New(t, Apart(), quickTakeover(), Set(fmt.Sprintf("stages.deliver.concurrency=%d", inFlight)))
	gw.AnotherAgent()
	r := gw.Receiver(Slow(100*time.Millisecond), Tries(20))
	ids := gw.Under(Load{Events: 300, Ack: "queued", Meanwhile: []func(){gw.Agent.Freeze}})
	r.Want(Came(ids...))
	before := gw.deliveries("delivered", len(ids))
	gw.Agent.Thaw()
	after := gw.Under(Load{Events: 100, Ack: "queued"})
	r.Want(Came(append(after, ids...)...), Repeats(inFlight))
	gw.deliveries("delivered", len(before)+len(after))
}

func TestTwoEntriesOfOneTurnAreOneRequest(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Slow(5 * time.Second))
	sent := gw.Send(Event("order.paid")).UID
	gw.claimed(1)
	// A publisher whose reply was lost adds its entry again.
	gw.Redis.repeat(string(pipeline.Due))
	r.Want(Events(sent), Attempts(1))
}

// repeat adds once more what is in a topic.
func (r *Redis) repeat(topic string) {
	r.t.Helper()
	entries, err := r.Client.XRange(context.Background(), prefix+topic, "-", "+").Result()
	if err != nil || len(entries) == 0 {
		r.t.Fatalf("%d entries of %s are there to repeat: %v", len(entries), topic, err)
	}
	for _, e := range entries {
		if err := r.Client.XAdd(context.Background(), &redis.XAddArgs{Stream: prefix + topic, Values: e.Values}).Err(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestWhatWaitsAndWhatIsHeldOutlivesRestarts(t *testing.T) {
	t.Parallel()
	gw := New(t)
	const events = 20
	once := append(slices.Repeat([]int{500}, events), 200)
	held, waiting := gw.Receiver(), gw.Receiver(Replies(once...), Endpoint("strategy", map[string]any{"type": "list", "schedule": append([]int{0}, slices.Repeat([]int{3}, events)...)}))
	toggle(gw, held)
	var ids []string
	for range events {
		ids = append(ids, gw.Send(Event("order.paid")).UID)
	}
	gw.deliveries("held", len(ids))
	waiting.Want(Events(ids...))
	for _, r := range []*Role{gw.Agent, gw.Server, gw.Egress} {
		r.Restart()
	}
	waiting.Want(Events(ids...), Attempts(2*len(ids)))
	toggle(gw, held)
	held.Want(Events(ids...), Once())
}

func TestOneOfTwoEgressesIsEnoughAndNoAttemptIsChargedForTheOther(t *testing.T) {
	t.Parallel()
	gw := New(t, Apart(), TwoEgresses())
	r := gw.Receiver()
	ids := gw.Under(Load{Events: 100, Ack: "queued"})
	r.Want(Events(ids...), Once())
	// An answer that is still on its way would be lost with the egress.
	gw.deliveries("delivered", len(ids))
	gw.Egress.Kill()
	ids = append(ids, gw.Under(Load{Events: 100, Ack: "queued"})...)
	r.Want(Events(ids...), Once())
	for _, d := range gw.deliveries("delivered", len(ids)) {
		if d.Metadata.NumTrials != 1 {
			t.Errorf("delivery %s was charged %d tries", d.UID, d.Metadata.NumTrials)
		}
	}
}

// quickTakeover lets an agent take over soon what a dead one held.
func quickTakeover() Setup {
	return Set("streams.lease=3s", "streams.renew_interval=900ms", "streams.claim_interval=1s")
}

func TestANewStageTuningInTheMiddleLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	retune := func(concurrency int) func() {
		var settings []string
		for _, stage := range []string{"ingest", "persist", "fanout", "deliver"} {
			settings = append(settings, fmt.Sprintf("stages.%s.concurrency=%d", stage, concurrency))
		}
		return func() {
			gw.Server.Reload(settings...)
			gw.Agent.Reload(settings...)
		}
	}
	ids := gw.Under(Load{Events: 1000, Ack: "queued", Meanwhile: []func(){retune(3), retune(40)}})
	r.Want(Events(ids...), Once())
}

func TestTwoAgentsShareTheWorkAndOneGoesOnWhenTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	gw := New(t, Apart(), quickTakeover())
	leader := gw.Agent
	eventually(t, "the first agent leads", func() error {
		leaders, err := gw.list(`SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
			AND (classid::bigint << 32 | objid::bigint) = hashtextextended('millrace.lead.' || current_schema() || '.agent', 0)`)
		if err == nil && len(leaders) == 0 {
			err = errNotYet
		}
		return err
	})
	other := gw.AnotherAgent()
	r := gw.Receiver(Slow(20*time.Millisecond), Replies(500), Endpoint("strategy", map[string]any{"type": "list", "schedule": append([]int{0}, slices.Repeat([]int{3}, 30)...)}))
	ids := gw.Under(Load{Events: 300, Ack: "queued"})
	r.Want(Came(ids...))
	for name, agent := range map[string]*Role{"first": leader, "second": other} {
		if n := agent.handled("deliver"); n == 0 {
			t.Errorf("the %s agent did none of the work", name)
		}
	}
	r.Answer(200)
	leader.Kill()
	gw.deliveries("delivered", len(ids))
}

// handled is how many messages a stage of the role has handled, by its
// metrics.
func (r *Role) handled(stage string) int {
	r.gateway.t.Helper()
	n, _ := r.metric(fmt.Sprintf(`millrace_stage_messages_total{result="ok",stage=%q}`, stage))
	return n
}

// metric is what a role says of itself; false: it has no such figure.
func (r *Role) metric(name string) (n int, found bool) {
	t := r.gateway.t
	t.Helper()
	answer, err := http.Get("http://" + r.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, is := strings.CutPrefix(lines.Text(), name+" "); is {
			if n, err = strconv.Atoi(value); err != nil {
				t.Fatal(err)
			}
			return n, true
		}
	}
	return 0, false
}
