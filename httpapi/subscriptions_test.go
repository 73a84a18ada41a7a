package httpapi

import (
	"encoding/json"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

func TestSubscriptions(t *testing.T) {
	a := newAPI(t)
	endpoint := withEndpoint(a)
	data := a.call("POST", "subscriptions", `{"name":"Orders","endpoint_id":"`+endpoint.String()+`","source_id":"","function":"",
		"filter_config":{"event_types":["order.*"],"filter":{"body":{"amount":{"$gt":1.50}},"headers":null}}}`).want(201)
	equal(t, "type", data["type"], any("api"))
	equal(t, "delivery_mode", data["delivery_mode"], any("at_least_once"))
	equal(t, "the endpoint's name", data["endpoint_metadata"].(map[string]any)["name"], any("Hook"))
	equal(t, "source_metadata", data["source_metadata"], nil)
	config, _ := json.Marshal(data["filter_config"])
	equal(t, "filter_config", string(config), `{"event_types":["order.*"],"filter":{"body":{"amount":{"$gt":1.5}},"headers":{},"path":{},"query":{}}}`)
	equal(t, "the filter is kept as it was given", string(a.store.subs[0].Filter.Body), `{"amount":{"$gt":1.50}}`)
	id := data["uid"].(string)

	data = a.call("PUT", "subscriptions/"+id, `{"name":"","filter_config":{"filter":{"headers":{"x-a":"1"}}}}`).want(202)
	config, _ = json.Marshal(data["filter_config"])
	equal(t, "filter_config after a change", string(config), `{"event_types":["order.*"],"filter":{"body":{"amount":{"$gt":1.5}},"headers":{"x-a":"1"},"path":{},"query":{}}}`)
	equal(t, "the name after a change", data["name"], any("Orders"))

	equal(t, "the name", a.call("GET", "subscriptions/"+id, "").want(200)["name"], any("Orders"))
	var page pageOut[map[string]any]
	a.call("GET", "subscriptions?name=Ord&endpointId="+endpoint.String(), "").wantInto(200, &page)
	equal(t, "the endpoint's name in the list", page.Content[0]["endpoint_metadata"].(map[string]any)["name"], any("Hook"))
	equal(t, "the name asked for", a.store.asked.(millrace.SubscriptionQuery).Name, "Ord")
	a.call("DELETE", "subscriptions/"+id, "").want(200)
	a.call("DELETE", "subscriptions/"+millrace.NewID(testNow).String(), "").refused(millrace.CodeNotFound)
}

func TestSubscriptionWithoutTypesTakesAll(t *testing.T) {
	a := newAPI(t)
	data := a.call("POST", "subscriptions", `{"name":"All","endpoint_id":"`+withEndpoint(a).String()+`"}`).want(201)
	types, _ := json.Marshal(data["filter_config"].(map[string]any)["event_types"])
	equal(t, "event_types", string(types), `["*"]`)
}

func TestSubscriptionOfAnEndpointThatIsGone(t *testing.T) {
	a := newAPI(t)
	a.store.subs = []millrace.Subscription{{ID: millrace.NewID(testNow), ProjectID: a.project, EndpointID: millrace.NewID(testNow)}}
	equal(t, "endpoint_metadata", a.call("GET", "subscriptions/"+a.store.subs[0].ID.String(), "").want(200)["endpoint_metadata"], nil)
}

func TestCreateSubscriptionRefuses(t *testing.T) {
	for rule, c := range map[string]struct {
		body   string
		code   millrace.Code
		fields []string
	}{
		"all that is missing, at once":      {`{}`, millrace.CodeBadRequest, []string{"name", "endpoint_id"}},
		"an endpoint that cannot be":        {`{"name":"n","endpoint_id":"7"}`, millrace.CodeInvalid, []string{"endpoint_id"}},
		"a type with a star in the middle":  {`{"name":"n","endpoint_id":"E","filter_config":{"event_types":["a*b"]}}`, millrace.CodeInvalid, []string{"filter_config.event_types"}},
		"a function, which nothing runs":    {`{"name":"n","endpoint_id":"E","function":"x"}`, millrace.CodeInvalid, []string{"function"}},
		"deliveries at most once":           {`{"name":"n","endpoint_id":"E","delivery_mode":"at_most_once"}`, millrace.CodeInvalid, []string{"delivery_mode"}},
		"a filter with an operator unknown": {`{"name":"n","endpoint_id":"E","filter_config":{"filter":{"body":{"a":{"$near":1}}}}}`, millrace.CodeInvalid, nil},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			ans := a.call("POST", "subscriptions", strings.ReplaceAll(c.body, `"E"`, `"`+millrace.NewID(testNow).String()+`"`))
			if c.fields == nil {
				equal(t, "the code", ans.body.Code, c.code)
				return
			}
			ans.refused(c.code, c.fields...)
		})
	}
}

func TestTestFilter(t *testing.T) {
	for rule, c := range map[string]struct {
		body string
		want bool
	}{
		"a body that passes":                  {`{"schema":{"body":{"amount":{"$gt":100}}},"request":{"body":{"amount":120}}}`, true},
		"a body that does not":                {`{"schema":{"body":{"amount":{"$gt":100}}},"request":{"body":{"amount":80}}}`, false},
		"headers, by any case":                {`{"schema":{"headers":{"x-tenant":"7"}},"request":{"headers":{"X-Tenant":"7"}}}`, true},
		"headers as Convoy calls them":        {`{"schema":{"headers":{"x-tenant":"7"}},"request":{"header":{"X-Tenant":["7","8"]}}}`, true},
		"the query":                           {`{"schema":{"query":{"a":"1"}},"request":{"query":{"a":"1"}}}`, true},
		"the path":                            {`{"schema":{"path":{"a":"1"}},"request":{"path":{"a":"2"}}}`, false},
		"a key that is missing never matches": {`{"schema":{"body":{"a":1,"b":2}},"request":{"body":{"b":2}}}`, false},
		"an empty filter lets all pass":       {`{"schema":{},"request":{"body":{"a":1}}}`, true},
	} {
		t.Run(rule, func(t *testing.T) {
			var passes bool
			newAPI(t).call("POST", "subscriptions/test_filter", c.body).wantInto(200, &passes)
			equal(t, "it passes", passes, c.want)
		})
	}
	newAPI(t).call("POST", "subscriptions/test_filter", `{"request":{}}`).refused(millrace.CodeBadRequest, "schema")
	equal(t, "a broken filter", newAPI(t).call("POST", "subscriptions/test_filter", `{"schema":{"body":{"a":{"$near":1}}}}`).status, 422)
}
