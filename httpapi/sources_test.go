package httpapi

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

func (f *fakeStore) source(project, id millrace.ID) (*millrace.Source, error) {
	return find(f, f.sources, "source", func(s millrace.Source) bool { return s.ProjectID == project && s.ID == id })
}

func (f *fakeStore) Source(_ context.Context, project, id millrace.ID) (millrace.Source, error) {
	return read(f.source(project, id))
}

func (f *fakeStore) SourceByMask(_ context.Context, mask string) (millrace.Source, error) {
	return read(find(f, f.sources, "source", func(s millrace.Source) bool { return s.MaskID == mask }))
}

func (f *fakeStore) Sources(_ context.Context, q millrace.SourceQuery) (millrace.List[millrace.Source], error) {
	return list(f, q, f.sources)
}

func (f *fakeStore) SourceStates(_ context.Context, ids []millrace.ID) (map[millrace.ID]millrace.SourceState, error) {
	states := map[millrace.ID]millrace.SourceState{}
	for _, id := range ids {
		if s, told := f.states[id]; told {
			states[id] = s
		}
	}
	return states, f.err
}

func (f *fakeStore) CreateSource(_ context.Context, s millrace.Source) (millrace.Source, error) {
	s.ID, s.MaskID, s.CreatedAt = millrace.NewID(testNow), "mask", testNow
	f.sources = append(f.sources, s)
	return s, f.err
}

func (f *fakeStore) UpdateSource(_ context.Context, project, id millrace.ID, change func(*millrace.Source) error) (millrace.Source, error) {
	s, err := f.source(project, id)
	return changed(s, err, change)
}

func (f *fakeStore) DeleteSource(_ context.Context, project, id millrace.ID) error {
	_, err := f.source(project, id)
	f.sources = slices.DeleteFunc(f.sources, func(s millrace.Source) bool { return s.ID == id })
	return err
}

// asText is a part of an answer as JSON.
func asText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestInboundSource(t *testing.T) {
	a := newAPI(t)
	data := a.call("POST", "sources", `{"name":"GitHub","type":"http","provider":"github","is_disabled":false,"verifier":{"hmac":{"secret":"correct-horse-battery"}},
		"pub_sub":{"type":"","workers":0},"idempotency_keys":["req.Header.X-Id","request.QueryParam.id"],"event_type_location":"request.body.action",
		"forward_headers":["X-GitHub-Event"],"custom_response":{"body":"ok","content_type":"text/plain"},"body_function":"","header_function":null}`, "Host: hooks").want(201)
	equal(t, "the secret, once", asText(t, data["verifier"]), `{"api_key":null,"basic_auth":null,"hmac":{"encoding":"","hash":"","header":"","secret":"correct-horse-battery"},"type":"hmac"}`)
	equal(t, "the places", asText(t, data["idempotency_keys"]), `["request.header.X-Id","request.query.id"]`)
	equal(t, "pub_sub", data["pub_sub"], nil)
	equal(t, "mask_id", data["mask_id"], any("mask"))
	equal(t, "url", data["url"], any("http://example.com/ingest/mask"))
	equal(t, "state", data["state"], any("healthy"))
	equal(t, "lag", data["lag"], nil)
	id := data["uid"].(string)

	data = a.call("GET", "sources/"+id, "", "X-Forwarded-Proto: https").want(200)
	equal(t, "url behind a proxy", data["url"], any("https://example.com/ingest/mask"))
	if text := asText(t, data); strings.Contains(text, "correct-horse") || !strings.Contains(text, "****tery") {
		t.Errorf("the secret is not masked: %s", text)
	}
	a.call("GET", "sources/"+id+"?reveal=secrets", "").refused(millrace.CodeForbidden)

	data = a.call("PUT", "sources/"+id, `{"is_disabled":true,"verifier":{"hmac":{"secret":"****tery"}},"custom_response":{"body":"fine"}}`).want(202)
	equal(t, "state when disabled", data["state"], any("disabled"))
	kept := a.store.sources[0]
	equal(t, "the secret sent back masked", kept.Verifier.HMAC.Secret.Reveal(), "correct-horse-battery")
	equal(t, "the custom response", kept.CustomResponse, millrace.CustomResponse{Body: "fine", ContentType: "text/plain"})
	equal(t, "the name left alone", kept.Name, "GitHub")
	equal(t, "the location left alone", kept.EventTypeLocation, millrace.Location("request.body.action"))
	data = a.call("POST", "sources/"+id, `{"is_disabled":false,"name":"By POST"}`).want(202)
	equal(t, "is_disabled", data["is_disabled"], any(false))

	var page pageOut[map[string]any]
	a.call("GET", "sources?type=http&provider=github&q=Post", "").wantInto(200, &page)
	equal(t, "the source listed", page.Content[0]["name"], any("By POST"))
	asked := a.store.asked.(millrace.SourceQuery)
	equal(t, "what was asked for", asText(t, []any{asked.Type, asked.Provider, asked.Name}), `["http","github","Post"]`)
	a.call("DELETE", "sources/"+id, "").want(200)
	a.call("DELETE", "sources/"+id, "").refused(millrace.CodeNotFound)
}

func TestAnInstanceKeyReadsTheSecretsOfASource(t *testing.T) {
	a := newAPI(t)
	id := a.call("POST", "sources", kafkaSource).want(201)["uid"].(string)
	a.as = instanceKey
	for _, path := range []string{"sources/" + id, "sources"} {
		if ans := a.call("GET", path+"?reveal=secrets", ""); !strings.Contains(string(ans.raw), "open-sesame-42") {
			t.Errorf("%s: %s", path, ans.raw)
		}
	}
}

const kafkaSource = `{"name":"Orders","type":"pub_sub","pub_sub":{"type":"kafka","workers":"8","kafka":{"brokers":["k:9092"],
	"consumer_group_id":"g","topic_name":"orders","auth":{"type":"scram","hash":"SHA512","username":"u","password":"open-sesame-42","tls":true}}}}`

func TestBrokerSources(t *testing.T) {
	for broker, c := range map[string]struct{ body, want, secret string }{
		"kafka": {kafkaSource, `"kafka":{"auth":{"hash":"SHA512","password":"****e-42","tls":true,"type":"scram","username":"u"},"brokers":["k:9092"],"consumer_group_id":"g","topic_name":"orders"}`, "open-sesame-42"},
		"sqs": {`{"name":"n","type":"pub_sub","pub_sub":{"type":"sqs","workers":8,"sqs":{"access_key_id":"AK","secret_key":"open-sesame-42","default_region":"eu-west-1","queue_name":"q","endpoint":"http://localhost:9324"}}}`,
			`"sqs":{"access_key_id":"AK","default_region":"eu-west-1","endpoint":"http://localhost:9324","queue_name":"q","secret_key":"****e-42"}`, "open-sesame-42"},
		"google": {`{"name":"n","type":"pub_sub","pub_sub":{"type":"google","workers":8,"google":{"project_id":"p","subscription_id":"s","service_account":"eyJ0eXBlIjoic2VydmljZV9hY2NvdW50In0=","endpoint":"localhost:8085"}}}`,
			`"google":{"endpoint":"localhost:8085","project_id":"p","service_account":"****In0=","subscription_id":"s"}`, "eyJ0eXBlIjoic2VydmljZV9hY2NvdW50In0="},
		"amqp": {`{"name":"n","type":"pub_sub","pub_sub":{"type":"amqp","workers":8,"amqp":{"schema":"amqp","host":"h","port":"5672","auth":{"user":"u","password":"open-sesame-42"},
			"queue":"q","vhost":"/v","bindExchange":{"exchange":"e","routingKey":"r"},"deadLetterExchange":"d"}}}`,
			`"amqp":{"auth":{"password":"****e-42","user":"u"},"bindExchange":{"exchange":"e","routingKey":"r"},"deadLetterExchange":"d","host":"h","port":5672,"queue":"q","schema":"amqp","vhost":"/v"}`, "open-sesame-42"},
	} {
		t.Run(broker, func(t *testing.T) {
			a := newAPI(t)
			ans := a.call("POST", "sources", c.body)
			id := ans.want(201)["uid"].(string)
			if !strings.Contains(string(ans.raw), c.secret) {
				t.Errorf("the answer that makes it does not show its secret: %s", ans.raw)
			}
			data := a.call("GET", "sources/"+id, "").want(200)
			equal(t, "url", data["url"], any(""))
			equal(t, "state before an agent told", data["state"], any("connecting"))
			shown := asText(t, data["pub_sub"])
			if !strings.Contains(shown, c.want) || strings.Contains(shown, c.secret) {
				t.Errorf("shown as %s, want %s", shown, c.want)
			}
			equal(t, "workers", data["pub_sub"].(map[string]any)["workers"], any(8.0))
			equal(t, "ack", data["pub_sub"].(map[string]any)["ack"], any("persisted"))

			// What is shown may be sent back, and changes nothing.
			before := asText(t, a.store.sources[0].PubSub)
			a.call("PUT", "sources/"+id, `{"name":"Renamed","pub_sub":`+shown+`}`).want(202)
			a.store.sources[0].PubSub.Ack = millrace.AckDefault
			equal(t, "what was sent back", asText(t, a.store.sources[0].PubSub), before)
			for field, secret := range a.store.sources[0].Secrets() {
				if *secret != millrace.Sensitive(c.secret) && strings.HasPrefix(field, "pub_sub") {
					t.Errorf("%s is %q now", field, secret.Reveal())
				}
			}
		})
	}
}

func TestTheStateOfABroker(t *testing.T) {
	a := newAPI(t)
	id := a.call("POST", "sources", kafkaSource).want(201)["uid"].(string)
	source := a.store.sources[0].ID
	a.store.states = map[millrace.ID]millrace.SourceState{source: {Health: millrace.SourceUnhealthy, Error: "k:9092: connection refused", Lag: -1}}
	data := a.call("GET", "sources/"+id, "").want(200)
	equal(t, "the state", asText(t, []any{data["state"], data["error"], data["lag"]}), `["unhealthy","k:9092: connection refused",null]`)
	a.store.states[source] = millrace.SourceState{Health: millrace.SourceHealthy, Lag: 7}
	var page pageOut[map[string]any]
	a.call("GET", "sources", "").wantInto(200, &page)
	data = page.Content[0]
	equal(t, "the state", asText(t, []any{data["state"], data["error"], data["lag"]}), `["healthy","",7]`)
	a.store.sources[0].Disabled = true
	equal(t, "the state of a disabled one", a.call("GET", "sources/"+id, "").want(200)["state"], any("disabled"))
}

func TestAChangeOfASourceForgetsWhatBelongedToAnother(t *testing.T) {
	a := newAPI(t)
	id := a.call("POST", "sources", kafkaSource).want(201)["uid"].(string)
	kept := func() millrace.Source { return a.store.sources[0] }
	a.call("PUT", "sources/"+id, `{"pub_sub":{"kafka":{"topic_name":"paid","auth":{"tls":false}},"raw":true,"ack":"queued"}}`).want(202)
	k := kept().PubSub.Kafka
	equal(t, "the topic, the group, the user and TLS", asText(t, []any{k.Topic, k.GroupID, k.Auth.Username, k.Auth.TLS}), `["paid","g","u",false]`)
	equal(t, "raw and ack", asText(t, []any{kept().PubSub.Raw, kept().PubSub.Ack}), `[true,"queued"]`)
	a.call("PUT", "sources/"+id, `{"pub_sub":{"type":"sqs","sqs":{"default_region":"eu-west-1","queue_name":"q"}}}`).want(202)
	if p := kept().PubSub; p.Kafka != nil || p.SQS.Queue != "q" || p.Workers != 8 || !p.Raw {
		t.Errorf("after a change of the broker: %+v", p)
	}
	a.call("PUT", "sources/"+id, `{"type":"http","verifier":{"type":"api_key","api_key":{"header_name":"X-Key","header_value":"v"}}}`).want(202)
	if s := kept(); s.PubSub != nil || s.Verifier.APIKey.Value != "v" {
		t.Errorf("after a change of the type: %+v", s)
	}
	a.call("PUT", "sources/"+id, `{"verifier":{"type":"basic_auth","basic_auth":{"username":"u","password":"p"}}}`).want(202)
	if v := kept().Verifier; v.APIKey != nil || v.Basic.Password != "p" {
		t.Errorf("after a change of the verifier: %+v", v)
	}
	a.call("PUT", "sources/"+id, `{"verifier":{"basic_auth":{"username":"other"}}}`).want(202)
	equal(t, "the password left alone", kept().Verifier.Basic.Password.Reveal(), "p")
	a.call("PUT", "sources/"+id, `{"provider":"stripe","verifier":{"hmac":{"secret":"s"}}}`).want(202)
	if v := kept().Verifier; v.Type != millrace.VerifyHMAC || v.Basic != nil || v.HMAC.Secret != "s" {
		t.Errorf("after a provider is named: %+v", v)
	}
}

func TestSourceRefuses(t *testing.T) {
	for rule, c := range map[string]struct {
		body   string
		code   millrace.Code
		fields []string
	}{
		"all that is missing, at once":       {`{}`, millrace.CodeBadRequest, []string{"name", "type"}},
		"a broker that is not named":         {`{"name":"n","type":"pub_sub"}`, millrace.CodeBadRequest, []string{"pub_sub"}},
		"a broker for what takes webhooks":   {`{"name":"n","type":"http","pub_sub":{"type":"kafka","kafka":{}}}`, millrace.CodeInvalid, []string{"pub_sub"}},
		"a provider without a secret":        {`{"name":"n","type":"http","provider":"github"}`, millrace.CodeBadRequest, []string{"verifier.hmac.secret"}},
		"a provider that is not known":       {`{"name":"n","type":"http","provider":"acme","verifier":{"hmac":{"secret":"s"}}}`, millrace.CodeInvalid, []string{"provider"}},
		"functions, which nothing runs":      {`{"name":"n","type":"http","body_function":"x","header_function":"y"}`, millrace.CodeInvalid, []string{"body_function", "header_function"}},
		"workers that are no number":         {`{"name":"n","type":"http","pub_sub":{"workers":"many"}}`, millrace.CodeInvalid, []string{"pub_sub.workers"}},
		"a response of no media type":        {`{"name":"n","type":"http","custom_response":{"body":"b","content_type":"nonsense/"}}`, millrace.CodeInvalid, []string{"custom_response.content_type"}},
		"a response that splits the headers": {`{"name":"n","type":"http","custom_response":{"body":"b","content_type":"a/b; c=\"d\r\nX-Y: 1\""}}`, millrace.CodeInvalid, []string{"custom_response.content_type"}},
		"a place that is none":               {`{"name":"n","type":"http","event_type_location":"body.type"}`, millrace.CodeInvalid, []string{"event_type_location"}},
		"a place in the cookies":             {`{"name":"n","type":"http","idempotency_keys":["request.cookie.id"]}`, millrace.CodeInvalid, []string{"idempotency_keys"}},
		"a header that is no delivery's":     {`{"name":"n","type":"http","forward_headers":["Host"]}`, millrace.CodeInvalid, []string{"forward_headers"}},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			a.call("POST", "sources", c.body).refused(c.code, c.fields...)
			equal(t, "sources made", len(a.store.sources), 0)
		})
	}
	a := newAPI(t)
	for _, path := range []string{"sources/7", "sources/test_function", "sources/" + millrace.NewID(testNow).String()} {
		a.call("PUT", path, `{"name":"n"}`).refused(millrace.CodeNotFound)
		a.call("GET", path, "").refused(millrace.CodeNotFound)
	}
}

func TestSubscriptionToASource(t *testing.T) {
	a := newAPI(t)
	source := a.call("POST", "sources", `{"name":"Hooks","type":"http"}`).want(201)["uid"].(string)
	data := a.call("POST", "subscriptions", `{"name":"n","endpoint_id":"`+withEndpoint(a).String()+`","source_id":"`+source+`"}`).want(201)
	equal(t, "source_id", data["source_id"], any(source))
	equal(t, "the source's name", data["source_metadata"].(map[string]any)["name"], any("Hooks"))
	var page pageOut[map[string]any]
	a.call("GET", "subscriptions", "").wantInto(200, &page)
	equal(t, "the source's mask in the list", page.Content[0]["source_metadata"].(map[string]any)["mask_id"], any("mask"))
	a.store.sources = nil
	equal(t, "source_metadata of one that is gone", a.call("GET", "subscriptions/"+data["uid"].(string), "").want(200)["source_metadata"], nil)
}
