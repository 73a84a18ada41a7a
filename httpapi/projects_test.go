package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

func TestCreateProject(t *testing.T) {
	a := newAPI(t)
	a.as = instanceKey
	data := a.call("POST", "/api/v1/projects", `{"name":"Shop","config":{"ack":"persisted","strategy":{"type":"exponential","duration":"5s","retry_count":4,"max_retry_seconds":600},
		"signature":{"versions":[{"hash":"SHA512","encoding":"base64"}]},"ratelimit":{"count":10,"duration":60},"disable_endpoint":true}}`).want(201)
	key := data["api_key"].(map[string]any)
	equal(t, "the key", key["key"], any("mr_new_in_the_clear"))
	equal(t, "its type", key["key_type"], any("project"))
	project := data["project"].(map[string]any)
	equal(t, "the key's project", key["project_id"], project["uid"])
	equal(t, "the type", project["type"], any("outgoing"))
	signature := project["config"].(map[string]any)["signature"].(map[string]any)
	versions := signature["versions"].([]any)[0].(map[string]any)
	equal(t, "a version has an id", versions["uid"] != "", true)
	delete(versions, "uid")
	config, _ := json.Marshal(project["config"])
	equal(t, "the config", string(config), `{"ack":"persisted","disable_endpoint":true,"multiple_endpoint_subscriptions":true,"ratelimit":{"count":10,"duration":60},`+
		`"signature":{"convoy":true,"header":"X-Convoy-Signature","versions":[{"encoding":"base64","hash":"SHA512"}]},`+
		`"strategy":{"duration":5,"max_retry_seconds":600,"retry_count":4,"type":"exponential"}}`)
	equal(t, "who did it", a.store.actor, "mr_i")
}

func TestCreateProjectWithoutItsKeyIsTakenBack(t *testing.T) {
	a := newAPI(t, func(a *api) { a.deps.Keys = noKeys{a.store} })
	a.as = instanceKey
	a.call("POST", "/api/v1/projects", `{"name":"Shop"}`).refused(millrace.CodeUnavailable)
	equal(t, "what was done", strings.Join(a.store.did, "; "), "delete project "+a.store.projects[2].ID.String())
}

// noKeys cannot make keys.
type noKeys struct{ *fakeStore }

func (noKeys) CreateAPIKey(context.Context, millrace.APIKey) (string, millrace.APIKey, error) {
	return "", millrace.APIKey{}, millrace.Unavailable(errors.New("away"))
}

func TestCreateProjectRefuses(t *testing.T) {
	for body, field := range map[string]string{
		`{"name":"n","type":"sideways"}`:                            "type",
		`{"name":"n","config":{"ack":"maybe"}}`:                     "config.ack",
		`{"name":"n","config":{"strategy":{"type":"linear"}}}`:      "strategy.duration",
		`{"name":"n","config":{"strategy":{"duration":[1]}}}`:       "config.strategy.duration",
		`{"name":"n","config":{"signature":{"header":"X Y"}}}`:      "config.signature.header",
		`{"name":"n","config":{"ratelimit":7}}`:                     "config.ratelimit",
		`{"name":"n","config":{"signature":{"versions":[{}]}}}`:     "config.signature.versions",
		`{"name":"` + strings.Repeat("x", 256) + `","config":null}`: "name",
	} {
		a := newAPI(t)
		a.as = instanceKey
		a.call("POST", "/api/v1/projects", body).refused(millrace.CodeInvalid, field)
	}
	a := newAPI(t)
	a.as = instanceKey
	a.call("POST", "/api/v1/projects", `{}`).refused(millrace.CodeBadRequest, "name")
}

func TestProjectReadsAndChangesItself(t *testing.T) {
	a := newAPI(t)
	own := "/api/v1/projects/" + a.project.String()
	strategy, _ := json.Marshal(a.call("GET", own, "").want(200)["config"].(map[string]any)["strategy"])
	if !strings.Contains(string(strategy), `"schedule":[0,5,30,120,600,3600,10800,28800,72000,144000],"type":"list"`) {
		t.Errorf("without a strategy it shows %s", strategy)
	}
	a.call("PUT", own, `{"name":"New","config":{"signature":{"convoy":false},"circuit_breaker":{"enabled":true,"failure_threshold":70}}}`).want(202)
	data := a.call("PUT", own, `{"name":"","config":{"circuit_breaker":{"failure_threshold":50,"x":null},"ratelimit":null}}`).want(202)
	config := data["config"].(map[string]any)
	got, _ := json.Marshal([]any{data["name"], config["signature"], config["circuit_breaker"], config["ratelimit"]})
	equal(t, "the project", string(got), `["New",{"convoy":false,"header":"X-Convoy-Signature","versions":[{"encoding":"hex","hash":"SHA256"}]},{"enabled":true,"failure_threshold":50},null]`)
	equal(t, "the strategy is still the default", a.store.projects[0].Config.Strategy == nil, true)
}

func TestListAndDeleteProjects(t *testing.T) {
	a := newAPI(t)
	a.as = instanceKey
	var page pageOut[projectOut]
	a.call("GET", "/api/v1/projects?perPage=2", "").wantInto(200, &page)
	equal(t, "projects", len(page.Content), 2)
	equal(t, "the page", a.store.asked.(millrace.Page).Size, 2)
	a.call("DELETE", "/api/v1/projects/"+a.project.String(), "").want(200)
	a.call("DELETE", "/api/v1/projects/"+millrace.NewID(testNow).String(), "").refused(millrace.CodeNotFound)
	a.call("DELETE", "/api/v1/projects/7", "").refused(millrace.CodeNotFound)
}

func TestKeys(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct {
		as, path, kind string
		project        millrace.ID
	}{{projectKey, "keys", "project", a.project}, {instanceKey, "/api/v1/keys", "instance", millrace.ID{}}} {
		a.as = c.as
		data := a.call("POST", c.path, `{"name":"billing","expires_at":"2026-12-01T00:00:00Z"}`).want(201)
		equal(t, "the key", data["key"], any("mr_new_in_the_clear"))
		equal(t, "its type", data["key_type"], any(c.kind))
		equal(t, "its end", data["expires_at"], any("2026-12-01T00:00:00Z"))
		equal(t, "its project", a.store.keys[len(a.store.keys)-1].ProjectID, c.project)

		listed := a.call("GET", c.path, "")
		var keys []keyOut
		listed.wantInto(200, &keys)
		equal(t, "keys", len(keys), 1)
		if strings.Contains(string(listed.raw), "in_the_clear") {
			t.Errorf("the list shows the key: %s", listed.raw)
		}
		a.call("DELETE", c.path+"/"+keys[0].UID, "").want(200)
		equal(t, "what was done", a.store.did[len(a.store.did)-1], "revoke "+keys[0].UID)
		a.call("POST", c.path, `{}`).refused(millrace.CodeBadRequest, "name")
		a.call("POST", c.path, `{"name":"n","expires_at":"2026-11-01T00:00:00Z"}`).refused(millrace.CodeInvalid, "expires_at")
		a.call("POST", c.path, `{"name":"n","expires_at":"soon"}`).refused(millrace.CodeBadRequest)
	}
}

func TestForeignKeysCannotBeRevoked(t *testing.T) {
	a := newAPI(t)
	a.store.keys = []millrace.APIKey{{ID: millrace.NewID(testNow), ProjectID: a.foreign}, {ID: millrace.NewID(testNow)}}
	for _, k := range a.store.keys {
		a.call("DELETE", "keys/"+k.ID.String(), "").refused(millrace.CodeNotFound)
	}
	equal(t, "what was done", len(a.store.did), 0)
}
