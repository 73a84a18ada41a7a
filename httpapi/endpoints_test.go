package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// withEndpoint puts an endpoint with everything set into the store.
func withEndpoint(a *api) millrace.ID {
	e := millrace.DefaultEndpoint()
	e.ID, e.ProjectID, e.Name, e.URL, e.Description = millrace.NewID(testNow), a.project, "Hook", "https://example.com/hook", "old"
	e.Timeout, e.RateLimit, e.RateLimitWindow = 15*time.Second, 5, time.Minute
	e.Secrets = []millrace.Secret{{Value: "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAABB", CreatedAt: testNow}}
	e.Authentication = &millrace.Authentication{Type: millrace.AuthBasic, Basic: &millrace.BasicAuth{Username: "u", Password: "a-long-password"}}
	e.Strategy = &millrace.Strategy{Type: millrace.StrategyLinear, Base: 10 * time.Second, Retries: 3}
	a.store.endpoints = append(a.store.endpoints, e)
	return e.ID
}

func TestCreateEndpoint(t *testing.T) {
	a := newAPI(t)
	ans := a.call("POST", "endpoints", `{"url":"https://example.com/hook","name":"Hook","owner_id":"","support_email":null,"http_timeout":0,"advanced_signatures":null,"authentication":{"type":"","api_key":null}}`)
	data := ans.want(201)
	equal(t, "the message", ans.body.Message, "Endpoint created successfully")
	for name, want := range map[string]any{
		"url": "https://example.com/hook", "name": "Hook", "status": "active", "is_disabled": false, "http_timeout": 10.0, "http_method": "POST", "rate_limit": 0.0,
		"rate_limit_duration": 0.0, "content_type": "application/json", "advanced_signatures": true, "authentication": nil, "strategy": nil, "project_id": a.project.String(),
	} {
		equal(t, name, data[name], want)
	}
	secret := data["secrets"].([]any)[0].(map[string]any)["value"].(string)
	if !strings.HasPrefix(secret, "whsec_") || len(secret) < 40 {
		t.Errorf("the secret is not in clear: %s", secret)
	}
	equal(t, "who did it", a.store.actor, "mr_p")

	listed := a.call("GET", "endpoints", "")
	if strings.Contains(string(listed.raw), secret) || !strings.Contains(string(listed.raw), `"****`+secret[len(secret)-4:]) {
		t.Errorf("the list shows secrets otherwise than by their last four: %s", listed.raw)
	}
}

func TestCreateEndpointWithEverything(t *testing.T) {
	a := newAPI(t)
	a.call("POST", "endpoints", `{"url":"https://example.com","name":"n","description":"d","secret":"my own secret","owner_id":"o","http_timeout":"20s","rate_limit":7,"rate_limit_duration":"1m",
		"content_type":"application/x-www-form-urlencoded","advanced_signatures":false,"is_disabled":true,"support_email":"a@example.com","slack_webhook_url":"https://slack.example.com","http_method":"PUT",
		"authentication":{"type":"oauth2","oauth2":{"url":"https://auth.example.com","client_id":"i","client_secret":"s","authentication_type":"shared_secret","field_mapping":{"access_token":"t"}}},
		"strategy":{"type":"list","schedule":[0,"500ms",30]},"signature_schemes":["v1","v1a"]}`).want(201)
	e := a.store.endpoints[0]
	got, _ := json.Marshal([]any{e.Description, e.Secrets[0].Value.Reveal(), e.OwnerID, e.Timeout, e.RateLimit, e.RateLimitWindow, e.ContentType, e.AdvancedSignatures, e.Status, e.SupportEmail,
		e.SlackWebhookURL, e.Method, e.Authentication.OAuth2.ClientSecret.Reveal(), e.Authentication.OAuth2.FieldMapping, e.Strategy.Schedule, e.SignatureSchemes})
	equal(t, "the endpoint", string(got), `["d","my own secret","o",20000000000,7,60000000000,"application/x-www-form-urlencoded",false,"inactive","a@example.com",`+
		`"https://slack.example.com","PUT","s",{"access_token":"t"},[0,500000000,30000000000],["v1","v1a"]]`)
	data := a.call("GET", "endpoints/"+e.ID.String(), "").want(200)
	shown, _ := json.Marshal(data["strategy"])
	equal(t, "the strategy", string(shown), `{"duration":0,"max_retry_seconds":0,"retry_count":2,"schedule":[0,"500ms",30],"type":"list"}`)
}

func TestCreateEndpointRefuses(t *testing.T) {
	const ok = `"url":"https://example.com","name":"n"`
	for rule, c := range map[string]struct {
		body   string
		code   millrace.Code
		fields []string
	}{
		"all that is missing, at once":      {`{}`, millrace.CodeBadRequest, []string{"name", "url"}},
		"a URL that may not be called":      {`{"url":"http://localhost/x","name":"n"}`, millrace.CodeInvalid, []string{"url"}},
		"both URLs, at once":                {`{"url":"http://localhost/x","name":"n","authentication":{"type":"oauth2","oauth2":{"url":"http://localhost"}}}`, millrace.CodeInvalid, []string{"url", "authentication.oauth2.url"}},
		"a token URL that may not":          {`{` + ok + `,"authentication":{"type":"oauth2","oauth2":{"url":"http://localhost"}}}`, millrace.CodeInvalid, []string{"authentication.oauth2.url"}},
		"a deadline beyond a minute":        {`{` + ok + `,"http_timeout":61}`, millrace.CodeInvalid, []string{"http_timeout"}},
		"a method that is none":             {`{` + ok + `,"http_method":"GET"}`, millrace.CodeInvalid, []string{"http_method"}},
		"a strategy without its delay":      {`{` + ok + `,"strategy":{"type":"linear","retry_count":3}}`, millrace.CodeInvalid, []string{"strategy.duration"}},
		"a way to authenticate that is not": {`{` + ok + `,"authentication":{"type":"magic"}}`, millrace.CodeInvalid, []string{"authentication.type"}},
		"half a client certificate":         {`{` + ok + `,"mtls_client_cert":{"client_cert":"x"}}`, millrace.CodeBadRequest, []string{"mtls_client_cert.client_key"}},
		"the names of older clients":        {`{"target_url":"https://example.com","title":"n"}`, millrace.CodeBadRequest, []string{"name", "url"}},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			a.call("POST", "endpoints", c.body).refused(c.code, c.fields...)
			equal(t, "endpoints made", len(a.store.endpoints), 0)
		})
	}
}

func TestUpdateEndpointLeavesWhatIsNotNamed(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	before := a.store.endpoints[0]
	// What Convoy's SDKs send for members that are not set.
	a.call("PUT", "endpoints/"+id.String(), `{"name":"","support_email":"","owner_id":"","slack_webhook_url":"","url":"","advanced_signatures":null,"authentication":null,"http_timeout":""}`).want(202)
	x, _ := json.Marshal(before)
	y, _ := json.Marshal(a.store.endpoints[0])
	equal(t, "the endpoint", string(y), string(x))

	a.call("PUT", "endpoints/"+id.String(), `{"description":"new","authentication":{"basic_auth":{"username":"v"}},"strategy":{"retry_count":9},"http_timeout":20}`).want(202)
	e := a.store.endpoints[0]
	equal(t, "the description", e.Description, "new")
	equal(t, "the user", *e.Authentication.Basic, millrace.BasicAuth{Username: "v", Password: "a-long-password"})
	equal(t, "the strategy's delay", e.Strategy.Base, 10*time.Second)
	equal(t, "the strategy's count", e.Strategy.Retries, 9)
	equal(t, "the deadline", e.Timeout, 20*time.Second)
	equal(t, "the count before is another's", before.Strategy.Retries, 3)
}

func TestUpdateEndpointForgetsTheOtherWayToAuthenticate(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	a.call("PUT", "endpoints/"+id.String(), `{"authentication":{"type":"bearer","bearer":{"token":"t"}}}`).want(202)
	e := a.store.endpoints[0]
	if e.Authentication.Basic != nil || e.Authentication.Bearer != "t" {
		t.Errorf("it has %+v", e.Authentication)
	}
}

func TestRefusedUpdateChangesNothing(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	for _, body := range []string{`{"name":"new","strategy":{"retry_count":-1}}`, `{"name":"new","url":"http://localhost"}`, `{"name":"new","secret":"whsec_!"}`} {
		if status := a.call("PUT", "endpoints/"+id.String(), body).status; status != 422 {
			t.Errorf("%s is answered with %d", body, status)
		}
	}
	equal(t, "the name", a.store.endpoints[0].Name, "Hook")
	equal(t, "the count", a.store.endpoints[0].Strategy.Retries, 3)
}

func TestMaskedSecretsSentBackChangeNothing(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	shown := a.call("GET", "endpoints/"+id.String(), "").body.Data
	if !strings.Contains(string(shown), `"****AABB"`) || !strings.Contains(string(shown), `"****word"`) || strings.Contains(string(shown), "a-long-password") {
		t.Fatalf("secrets are shown as %s", shown)
	}
	a.call("PUT", "endpoints/"+id.String(), string(shown)).want(202)
	a.call("PUT", "endpoints/"+id.String(), `{"secret":"****AABB"}`).want(202)
	e := a.store.endpoints[0]
	equal(t, "the password", e.Authentication.Basic.Password.Reveal(), "a-long-password")
	equal(t, "the number of secrets", len(e.Secrets), 1)
	equal(t, "the secret", e.Secrets[0].Value.Reveal(), "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAABB")
}

func TestMasked(t *testing.T) {
	for secret, want := range map[millrace.Sensitive]string{"": "", "short": "****", "elevenchars": "****", "twelve chars": "****hars"} {
		equal(t, "of "+secret.Reveal(), masked(secret), want)
	}
}

func TestRevealIsForInstanceKeys(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	for _, path := range []string{"endpoints/" + id.String(), "endpoints"} {
		a.as = projectKey
		a.call("GET", path+"?reveal=secrets", "").refused(millrace.CodeForbidden)
		a.call("GET", path+"?reveal=all", "").refused(millrace.CodeInvalid, "reveal")
		a.as = instanceKey
		raw := string(a.call("GET", path+"?reveal=secrets", "").raw)
		if !strings.Contains(raw, "whsec_AAAA") || !strings.Contains(raw, "a-long-password") {
			t.Errorf("%s does not show the secrets: %s", path, raw)
		}
	}
}

func TestExpireSecret(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	data := a.call("PUT", "endpoints/"+id.String()+"/expire_secret", `{"expiration":24,"secret":"another secret"}`).want(200)
	got, _ := json.Marshal(data["secrets"])
	if !strings.Contains(string(got), `"expires_at":"2026-11-25T08:00:00Z","uid":"00000000-0000-0000-0000-000000000000","value":"****AABB"`) || !strings.Contains(string(got), `"expires_at":null`) ||
		!strings.Contains(string(got), `"value":"another secret"`) {
		t.Errorf("the secrets are %s", got)
	}
	a.call("PUT", "endpoints/"+id.String()+"/expire_secret", `{}`).want(200)
	equal(t, "the number of secrets", len(a.store.endpoints[0].Secrets), 3)
	a.call("PUT", "endpoints/"+id.String()+"/expire_secret", `{"expiration":-1}`).refused(millrace.CodeInvalid, "expiration")
	a.call("PUT", "endpoints/"+id.String()+"/expire_secret", `{"secret":"whsec_!"}`).refused(millrace.CodeInvalid, "secret")
	a.call("PUT", "endpoints/"+id.String(), `{"secret":"a third secret"}`).want(202)
	secrets := a.store.endpoints[0].Secrets
	equal(t, "the secrets after a change of them", len(secrets), 1)
	equal(t, "the one there is", secrets[0].Value.Reveal(), "a third secret")
}

func TestEndpointStatus(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	// Convoy's SDK sends the text "{}" where it has no body.
	step := func(method, path, body, want string) {
		t.Helper()
		equal(t, "the status after "+path+body, a.call(method, "endpoints/"+id.String()+path, body).want(202)["status"], any(want))
	}
	step("PUT", "/pause", `"{}"`, "paused")
	step("PUT", "", `{"is_disabled":false}`, "paused")
	step("PUT", "/pause", "", "active")
	step("PUT", "", `{"is_disabled":true}`, "inactive")
	a.call("PUT", "endpoints/"+id.String()+"/pause", "").refused(millrace.CodeConflict)
	step("PUT", "", `{"is_disabled":false}`, "active")
	step("PUT", "/pause", "", "paused")
	step("POST", "/activate", "", "active")
}

func TestEndpointIDs(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	a.store.endpoints[0].ProjectID = a.foreign
	for _, path := range []string{id.String(), millrace.NewID(testNow).String(), "7"} {
		a.call("GET", "endpoints/"+path, "").refused(millrace.CodeNotFound)
		a.call("PUT", "endpoints/"+path, "{}").refused(millrace.CodeNotFound)
		a.call("DELETE", "endpoints/"+path, "").refused(millrace.CodeNotFound)
		a.call("PUT", "endpoints/"+path+"/expire_secret", "{}").refused(millrace.CodeNotFound)
		a.call("PUT", "endpoints/"+path+"/pause", "").refused(millrace.CodeNotFound)
		a.call("POST", "endpoints/"+path+"/activate", "").refused(millrace.CodeNotFound)
		a.call("POST", "endpoints/"+path+"/test", "").refused(millrace.CodeNotFound)
	}
	equal(t, "events sent", len(a.pipeline.taken), 0)
}

func TestDeleteEndpoint(t *testing.T) {
	a := newAPI(t)
	id := withEndpoint(a)
	ans := a.call("DELETE", "endpoints/"+id.String(), "")
	ans.want(200)
	equal(t, "the endpoints left", len(a.store.endpoints), 0)
}

func TestEndpointForOlderClients(t *testing.T) {
	for version, legacy := range map[string]bool{"": false, "0001-01-01": true, "2024-03-31": true, "2024-04-01": false, "2025-11-24": false, "yesterday": false} {
		a := newAPI(t)
		data := a.call("POST", "endpoints", `{"url":"https://example.com","name":"n","http_timeout":"20s","rate_limit_duration":60}`, "X-Convoy-Version: "+version).want(201)
		got, _ := json.Marshal([]any{data["url"], data["name"], data["target_url"], data["title"], data["http_timeout"], data["rate_limit_duration"]})
		want := `["https://example.com","n",null,null,20,60]`
		if legacy {
			want = `["https://example.com","n","https://example.com","n","20s","1m0s"]`
		}
		equal(t, "the endpoint for "+version, string(got), want)
	}
	a := newAPI(t)
	data := a.call("POST", "endpoints", `{"target_url":"https://example.com","title":"n"}`, "X-Convoy-Version: 2024-01-01").want(201)
	equal(t, "the name", data["name"], any("n"))
}

func TestListEndpoints(t *testing.T) {
	a := newAPI(t)
	for _, query := range []string{"q=hook", "query=hook"} {
		a.call("GET", "endpoints?ownerId=o&perPage=7&"+query, "").want(200)
		q := a.store.asked.(millrace.EndpointQuery)
		equal(t, "the query", [3]any{q.OwnerID, q.Text, q.Page.Size}, [3]any{"o", "hook", 7})
	}
}

func TestTestEndpoint(t *testing.T) {
	for rule, c := range map[string]struct {
		taken []string
		want  string
	}{
		"of no subscription":       {nil, "endpoint.test"},
		"that takes everything":    {[]string{"*"}, "endpoint.test"},
		"that takes a prefix":      {[]string{"order.*"}, "order.endpoint.test"},
		"that takes a single type": {[]string{"order.paid"}, "order.paid"},
	} {
		t.Run("an endpoint "+rule, func(t *testing.T) {
			a := newAPI(t)
			id := withEndpoint(a)
			if c.taken != nil {
				a.store.subs = []millrace.Subscription{{EventTypes: c.taken}}
			}
			data := a.call("POST", "endpoints/"+id.String()+"/test", "").want(201)
			s := a.pipeline.taken[0]
			equal(t, "the type", s.Type, c.want)
			equal(t, "the endpoint", s.Audience, millrace.Audience{EndpointID: id})
			equal(t, "the level", s.Ack, millrace.AckPersisted)
			equal(t, "an id is answered", data["uid"] != "", true)
		})
	}
	a := newAPI(t)
	id := withEndpoint(a)
	a.call("POST", "endpoints/"+id.String()+"/test", `{"event_type":"mine","data":{"n": 1.0}}`).want(201)
	equal(t, "the event", a.pipeline.taken[0].Type+string(a.pipeline.taken[0].Payload), `mine{"n": 1.0}`)
}
