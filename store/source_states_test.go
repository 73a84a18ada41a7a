package store_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// reported says how an agent sees sources.
func (w *world) reported(agent string, states ...millrace.SourceState) {
	w.t.Helper()
	noError(w.t, w.ReportSources(w.t.Context(), agent, states))
}

// sourceState is how a source stands, but for the time.
func (w *world) sourceState(id millrace.ID) millrace.SourceState {
	w.t.Helper()
	state := must[map[millrace.ID]millrace.SourceState](w.t)(w.SourceStates(w.t.Context(), []millrace.ID{id}))[id]
	if state.SourceID != id {
		w.t.Errorf("the state of %s is that of %s", id, state.SourceID)
	}
	state.SourceID, state.At = millrace.ID{}, time.Time{}
	return state
}

func TestASourceIsAsItsWorstReportSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	healthy := millrace.SourceState{Health: millrace.SourceHealthy, Lag: 7}
	silent := millrace.SourceState{Health: millrace.SourceHealthy, Lag: -1}
	connecting := millrace.SourceState{Health: millrace.SourceConnecting, Lag: -1}
	unhealthy := millrace.SourceState{Health: millrace.SourceUnhealthy, Error: "no such topic", Lag: 3}
	for name, c := range map[string]struct {
		reports []millrace.SourceState
		want    millrace.SourceState
	}{
		"no report is connecting":                          {nil, connecting},
		"one report is what it says":                       {[]millrace.SourceState{unhealthy}, unhealthy},
		"unhealthy goes before all, with its error":        {[]millrace.SourceState{healthy, unhealthy, connecting}, millrace.SourceState{Health: millrace.SourceUnhealthy, Error: "no such topic", Lag: 7}},
		"connecting goes before healthy":                   {[]millrace.SourceState{healthy, connecting, healthy}, millrace.SourceState{Health: millrace.SourceConnecting, Lag: 7}},
		"all healthy is healthy":                           {[]millrace.SourceState{healthy, silent}, healthy},
		"where no broker tells a lag there is none":        {[]millrace.SourceState{silent, silent}, silent},
		"of two that are unhealthy the newest is answered": {[]millrace.SourceState{{Health: millrace.SourceUnhealthy, Error: "old"}, {Health: millrace.SourceUnhealthy, Error: "new"}}, millrace.SourceState{Health: millrace.SourceUnhealthy, Error: "new"}},
	} {
		t.Run(name, func(t *testing.T) {
			id := newID()
			for n, state := range c.reports {
				state.SourceID = id
				w.reported(name+string(rune('a'+n)), state)
			}
			if got := w.sourceState(id); got != c.want {
				t.Errorf("it is %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAReportReplacesAllThatItsAgentSaidBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kept, ended := newID(), newID()
	w.reported("a", millrace.SourceState{SourceID: kept, Health: millrace.SourceConnecting}, millrace.SourceState{SourceID: ended, Health: millrace.SourceHealthy})
	w.reported("b", millrace.SourceState{SourceID: ended, Health: millrace.SourceUnhealthy, Error: "refused"})
	w.reported("a", millrace.SourceState{SourceID: kept, Health: millrace.SourceHealthy, Lag: 5})
	if got, want := w.sourceState(kept), (millrace.SourceState{Health: millrace.SourceHealthy, Lag: 5}); got != want {
		t.Errorf("the one it still reads is %+v, want %+v", got, want)
	}
	if n := w.count(`SELECT count(*) FROM source_states WHERE source_id = $1`, ended); n != 1 {
		t.Errorf("of the one it reads no longer there are %d reports, want the other agent's", n)
	}
	w.reported("a")
	if n := w.count(`SELECT count(*) FROM source_states WHERE agent = 'a'`); n != 0 {
		t.Errorf("%d reports are left of an agent that reads nothing", n)
	}
}

func TestTheReportsOfAnAgentThatIsGoneEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := newID()
	w.reported("gone", millrace.SourceState{SourceID: id, Health: millrace.SourceUnhealthy, Error: "refused"})
	w.exec(`UPDATE source_states SET at = at - interval '29 s'`)
	if got := w.sourceState(id).Health; got != millrace.SourceUnhealthy {
		t.Errorf("after 29 seconds it is %s", got)
	}
	w.exec(`UPDATE source_states SET at = at - interval '1 s'`)
	if got := w.sourceState(id).Health; got != millrace.SourceConnecting {
		t.Errorf("after 30 seconds it is %s", got)
	}
	w.reported("here", millrace.SourceState{SourceID: id, Health: millrace.SourceHealthy})
	if n := w.count(`SELECT count(*) FROM source_states`); n != 1 {
		t.Errorf("there are %d reports, want that of the agent that is here", n)
	}
}

func TestAllAgentsMayReportAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	states := make([]millrace.SourceState, 100)
	for i := range states {
		states[i] = millrace.SourceState{SourceID: newID(), Health: millrace.SourceHealthy, Lag: int64(i)}
	}
	w.reported("gone", states...)
	w.exec(`UPDATE source_states SET at = at - interval '1 hour'`)
	in(8, func(i int) {
		for range 5 {
			if err := w.ReportSources(t.Context(), string(rune('a'+i)), states); err != nil {
				t.Error(err)
			}
		}
	})
	if n := w.count(`SELECT count(*) FROM source_states`); n != 800 {
		t.Errorf("there are %d reports, want 800", n)
	}
}

func TestStatesAreTimedByPostgreSQL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := newID()
	w.reported("a", millrace.SourceState{SourceID: id, Health: millrace.SourceHealthy, At: time.Now().Add(-time.Hour)})
	states := must[map[millrace.ID]millrace.SourceState](t)(w.SourceStates(t.Context(), []millrace.ID{id}))
	if age := time.Since(states[id].At); age > time.Minute || age < -time.Minute {
		t.Errorf("it was seen %s ago", age)
	}
	if none := must[map[millrace.ID]millrace.SourceState](t)(w.SourceStates(t.Context(), nil)); !reflect.DeepEqual(none, map[millrace.ID]millrace.SourceState{}) {
		t.Errorf("the states of none are %v", none)
	}
}
