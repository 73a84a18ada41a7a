package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// withDelivery puts a delivery that failed once, its event and its endpoint
// into the store.
func withDelivery(a *api) millrace.DeliveryRecord {
	var e millrace.EventRecord
	e.ID, e.ProjectID, e.Type, e.Payload, e.IdempotencyKey = millrace.NewID(testNow), a.project, "order.paid", []byte(`{"n": 1.0}`), "k"
	e.Headers = map[string]string{"X-A": "1"}
	a.store.events = append(a.store.events, e)
	d := millrace.DeliveryRecord{
		Delivery: millrace.Delivery{ID: millrace.NewID(testNow), ProjectID: a.project, EventID: e.ID, EndpointID: withEndpoint(a), SubscriptionID: millrace.NewID(testNow), Turn: 2, EventType: e.Type},
		State: millrace.State{
			Status: millrace.Waiting, Attempts: 1, NextAttemptAt: testNow.Add(time.Minute), LastOutcome: millrace.OutcomeServerError, LastCode: 500, LastLatency: 1500 * time.Millisecond,
		},
		CreatedAt: testNow, UpdatedAt: testNow,
	}
	a.store.deliveries = append(a.store.deliveries, d)
	return d
}

func TestShowDelivery(t *testing.T) {
	a := newAPI(t)
	d := withDelivery(a)
	data := a.call("GET", "eventdeliveries/"+d.ID.String(), "").want(200)
	for name, want := range map[string]any{
		"uid": d.ID.String(), "event_id": d.EventID.String(), "endpoint_id": d.EndpointID.String(), "subscription_id": d.SubscriptionID.String(), "status": "Retry", "state": "waiting",
		"turn": 2.0, "description": "server_error: 500 Internal Server Error", "idempotency_key": "k", "target_url": "https://example.com/hook", "latency_seconds": 1.5,
		"created_at": "2026-11-24T08:00:00Z",
	} {
		equal(t, name, data[name], want)
	}
	metadata, _ := json.Marshal(data["metadata"])
	equal(t, "metadata", string(metadata),
		`{"data":{"n":1},"interval_seconds":10,"next_send_time":"2026-11-24T08:01:00Z","num_trials":1,"raw":"{\"n\": 1.0}","retry_limit":3,"strategy":"linear"}`)
	event, _ := json.Marshal(data["event_metadata"])
	equal(t, "event_metadata", string(event), `{"event_type":"order.paid","name":"order.paid","uid":"`+d.EventID.String()+`"}`)
	equal(t, "the endpoint's name", data["endpoint_metadata"].(map[string]any)["name"], any("Hook"))
	headers, _ := json.Marshal(data["headers"])
	equal(t, "headers", string(headers), `{"X-A":["1"]}`)
}

func TestDeliveryOutlivesItsEventAndEndpoint(t *testing.T) {
	a := newAPI(t)
	d := withDelivery(a)
	a.store.events, a.store.endpoints = nil, nil
	data := a.call("GET", "eventdeliveries/"+d.ID.String(), "").want(200)
	equal(t, "endpoint_metadata", data["endpoint_metadata"], nil)
	equal(t, "the strategy is the project's", data["metadata"].(map[string]any)["strategy"], any("list"))
}

func TestDescribe(t *testing.T) {
	for want, s := range map[string]millrace.State{
		"":                               {Status: millrace.Queued},
		"held: paused":                   {Status: millrace.Held, HeldFor: millrace.HoldPaused},
		"timeout":                        {Status: millrace.Waiting, LastOutcome: millrace.OutcomeTimeout},
		"gone: 410 Gone":                 {Status: millrace.GivenUp, LastOutcome: millrace.OutcomeGone, LastCode: 410},
		"client_error: 418 I'm a teapot": {Status: millrace.Waiting, LastOutcome: millrace.OutcomeClientError, LastCode: 418},
	} {
		equal(t, "the description", describe(s), want)
	}
	equal(t, "of a success", describe(millrace.State{Status: millrace.Delivered, LastOutcome: millrace.OutcomeSuccess, LastCode: 200}), "")
}

func TestListDeliveries(t *testing.T) {
	a := newAPI(t)
	d := withDelivery(a)
	id := millrace.NewID(testNow.Add(-30 * 24 * time.Hour))
	var page pageOut[map[string]any]
	a.call("GET", "eventdeliveries?status=Retry&status=Success&eventType=a&endpointId="+id.String()+"&subscriptionId="+id.String(), "").wantInto(200, &page)
	q := a.store.asked.(millrace.DeliveryQuery)
	equal(t, "the query", strings.Join(q.Statuses, ",")+strings.Join(q.EventTypes, ",")+q.EndpointIDs[0].String()+q.SubscriptionIDs[0].String(), "Retry,Successa"+id.String()+id.String())
	equal(t, "since", q.Since, testNow.Add(-lookBack))
	row := page.Content[0]
	equal(t, "the row", row["uid"], any(d.ID.String()))
	equal(t, "the endpoint", row["target_url"], any("https://example.com/hook"))
	_, shown := row["metadata"].(map[string]any)["data"]
	equal(t, "the payload is in the list", shown, false)

	a.call("GET", "eventdeliveries?eventId="+id.String(), "").want(200)
	equal(t, "since, for one event", a.store.asked.(millrace.DeliveryQuery).Since, millrace.TimeOf(id))
}

func TestResendAndCancel(t *testing.T) {
	a := newAPI(t)
	d := withDelivery(a)
	equal(t, "resent", a.call("PUT", "eventdeliveries/"+d.ID.String()+"/resend", `"{}"`).want(200)["uid"], any(d.ID.String()))
	equal(t, "cancelled", a.call("POST", "eventdeliveries/"+d.ID.String()+"/cancel", "").want(200)["status"], any("Discarded"))
	equal(t, "why", a.store.did[0], "cancelled by the API key mr_p")
	a.store.deliveries[0].Status = millrace.Delivered
	a.call("POST", "eventdeliveries/"+d.ID.String()+"/cancel", "").refused(millrace.CodeConflict)
	for _, id := range []string{millrace.NewID(testNow).String(), "7"} {
		a.call("GET", "eventdeliveries/"+id, "").refused(millrace.CodeNotFound)
		a.call("PUT", "eventdeliveries/"+id+"/resend", "").refused(millrace.CodeNotFound)
		a.call("POST", "eventdeliveries/"+id+"/cancel", "").refused(millrace.CodeNotFound)
		a.call("GET", "eventdeliveries/"+id+"/deliveryattempts", "").refused(millrace.CodeNotFound)
	}
}

func TestForceResend(t *testing.T) {
	a := newAPI(t)
	d := withDelivery(a)
	ans := a.call("POST", "eventdeliveries/forceresend", `{"ids":["`+d.ID.String()+`","7","`+millrace.NewID(testNow).String()+`"]}`)
	var out []resentOut
	ans.wantInto(200, &out)
	equal(t, "the message", ans.body.Message, "1 successful, 2 failed")
	equal(t, "the first", out[0], resentOut{UID: d.ID.String(), Status: 200})
	equal(t, "the second", [2]any{out[1].Status, out[1].Code}, [2]any{404, millrace.CodeNotFound})
	a.call("POST", "eventdeliveries/forceresend", `{"ids":[]}`).refused(millrace.CodeBadRequest, "ids")
	many := strings.TrimSuffix(strings.Repeat(`"7",`, maxBatch+1), ",")
	a.call("POST", "eventdeliveries/forceresend", `{"ids":[`+many+`]}`).refused(millrace.CodeInvalid, "ids")
}

func TestAttempts(t *testing.T) {
	a := newAPI(t)
	d := withDelivery(a)
	f := millrace.Fact{ID: millrace.NewID(testNow), DeliveryID: d.ID, Turn: 1, Kind: millrace.FactAttempted, At: testNow.Add(2 * time.Second), Counted: true, Attempt: &millrace.Attempt{
		Outcome: millrace.OutcomeServerError, StatusCode: 500, Error: "answered 500", URL: "https://example.com/hook", Method: "POST", IP: "192.0.2.1",
		RequestHeader: http.Header{"Webhook-Id": {"x"}}, ResponseHeader: http.Header{"A": {"1", "2"}}, Body: []byte("no"), StartedAt: testNow, Latency: time.Second,
	}}
	a.store.attempts = []millrace.Fact{f}
	const path = "/deliveryattempts"
	var list []map[string]any
	a.call("GET", "eventdeliveries/"+d.ID.String()+path, "").wantInto(200, &list)
	equal(t, "attempts", len(list), 1)
	data := a.call("GET", "eventdeliveries/"+d.ID.String()+path+"/"+f.ID.String(), "").want(200)
	for name, want := range map[string]any{
		"uid": f.ID.String(), "msg_id": d.ID.String(), "endpoint_id": d.EndpointID.String(), "url": "https://example.com/hook", "method": "POST", "ip_address": "192.0.2.1",
		"http_status": "500 Internal Server Error", "response_data": "no", "error": "answered 500", "outcome": "server_error", "status": false, "turn": 1.0, "counted": true,
		"requested_at": "2026-11-24T08:00:00Z", "responded_at": "2026-11-24T08:00:01Z", "created_at": "2026-11-24T08:00:02Z",
	} {
		equal(t, name, data[name], want)
	}
	headers, _ := json.Marshal([]any{data["request_http_header"], data["response_http_header"]})
	equal(t, "the headers", string(headers), `[{"Webhook-Id":"x"},{"A":"1, 2"}]`)
	a.call("GET", "eventdeliveries/"+d.ID.String()+path+"/"+millrace.NewID(testNow).String(), "").refused(millrace.CodeNotFound)

	a.store.attempts[0].Attempt.StatusCode = 0
	equal(t, "http_status without an answer", a.call("GET", "eventdeliveries/"+d.ID.String()+path+"/"+f.ID.String(), "").want(200)["http_status"], any(""))
}

func TestFacts(t *testing.T) {
	a := newAPI(t)
	at := time.Date(2026, 11, 24, 8, 1, 2, 3, time.UTC)
	e := millrace.LogEntry{
		Fact:     millrace.Fact{ID: millrace.NewID(testNow), Kind: millrace.FactAttempted, Decided: millrace.Delivered, At: at, Attempt: &millrace.Attempt{Outcome: millrace.OutcomeSuccess, StatusCode: 200}},
		Position: millrace.LogPosition{At: at, ID: millrace.NewID(testNow)}, EventType: "order.paid",
	}
	var out followOut
	a.call("GET", "facts", "").wantInto(200, &out)
	equal(t, "where it begins by itself", a.store.asked.(millrace.LogPosition), millrace.LogPosition{At: testNow})
	equal(t, "there is a cursor without facts", out.Cursor != "", true)
	a.call("GET", "facts?after="+out.Cursor, "").wantInto(200, &out)
	equal(t, "it stays there", a.store.asked.(millrace.LogPosition), millrace.LogPosition{At: testNow})

	a.store.log = []millrace.LogEntry{e, e, e}
	a.call("GET", "facts?limit=2", "").wantInto(200, &out)
	equal(t, "the facts", len(out.Content), 2)
	equal(t, "a fact", out.Content[0].EventType+" "+string(out.Content[0].State)+" "+string(out.Content[0].Attempt.Outcome), "order.paid delivered success")
	a.call("GET", "facts?after="+out.Cursor, "").wantInto(200, &out)
	equal(t, "it goes on from the last", a.store.asked.(millrace.LogPosition), e.Position)

	for query, field := range map[string]string{"after=7": "after", "after=%20x": "after", "limit=1001": "limit"} {
		a.call("GET", "facts?"+query, "").refused(millrace.CodeInvalid, field)
	}
}
