package httpapi

import (
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

func withDeadLetter(a *api, project millrace.ID) *millrace.DeadLetter {
	a.store.deadLetters = append(a.store.deadLetters, millrace.DeadLetter{
		ID: millrace.NewID(testNow), ProjectID: project, Stage: "fanout", Topic: "events.persisted", Reason: "redeliveries", Raw: []byte{0xff, 0x00}, CreatedAt: testNow,
	})
	return &a.store.deadLetters[len(a.store.deadLetters)-1]
}

func TestDeadLetters(t *testing.T) {
	a := newAPI(t)
	id := withDeadLetter(a, a.project).ID.String()
	nobodys := withDeadLetter(a, millrace.ID{}).ID.String()
	for _, c := range []struct {
		as, path string
		instance bool
	}{{projectKey, "dead-letters", false}, {instanceKey, "/api/v1/dead-letters", true}} {
		a.as = c.as
		var page pageOut[deadLetterOut]
		a.call("GET", c.path+"?stage=fanout", "").wantInto(200, &page)
		q := a.store.asked.(millrace.DeadLetterQuery)
		equal(t, "the query", [4]any{q.Instance, q.ProjectID == a.project, q.Open, q.Stage}, [4]any{c.instance, !c.instance, true, "fanout"})
		equal(t, "the list shows the bytes", page.Content[0].Raw, "")
		a.call("GET", c.path+"?settled=true", "").want(200)
		equal(t, "with the settled ones", a.store.asked.(millrace.DeadLetterQuery).Open, false)
		data := a.call("GET", c.path+"/"+id, "").want(200)
		equal(t, "the bytes", data["raw"], any("/wA="))
		equal(t, "settled_at", data["settled_at"], nil)
		equal(t, "the one of no project", a.call("GET", c.path+"/"+nobodys, "").status, map[bool]int{true: 200, false: 404}[c.instance])
	}
	a.call("GET", "/api/v1/dead-letters?settled=perhaps", "").refused(millrace.CodeInvalid, "settled")
}

func TestRedriveAndDiscard(t *testing.T) {
	a := newAPI(t)
	letter := withDeadLetter(a, a.project)
	id := letter.ID.String()
	equal(t, "settled", a.call("POST", "dead-letters/"+id+"/redrive", "").want(200)["settled"], any("redriven"))
	equal(t, "settled", a.call("DELETE", "dead-letters/"+id, "").want(200)["settled"], any("discarded"))
	equal(t, "what was done", strings.Join(a.store.did, "; "), "redrive "+id+"; redriven "+id+"; discarded "+id)

	letter.Settled, letter.SettledAt = "redriven", testNow
	a.call("POST", "dead-letters/"+id+"/redrive", "").refused(millrace.CodeConflict)
	a.call("DELETE", "dead-letters/"+id, "").refused(millrace.CodeConflict)
	for _, path := range []string{millrace.NewID(testNow).String(), "7"} {
		a.call("POST", "dead-letters/"+path+"/redrive", "").refused(millrace.CodeNotFound)
	}
}

func TestRedriveThatFailsSettlesNothing(t *testing.T) {
	a := newAPI(t, func(a *api) { a.deps.Redriver = &fakeStore{err: millrace.Errorf(millrace.CodeConflict, "unreadable")} })
	id := withDeadLetter(a, a.project).ID.String()
	a.call("POST", "dead-letters/"+id+"/redrive", "").refused(millrace.CodeConflict)
	equal(t, "what was done", len(a.store.did), 0)
}
