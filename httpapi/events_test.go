package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

func TestCreateEvent(t *testing.T) {
	a := newAPI(t)
	ans := a.call("POST", "events", `{"event_type":"order.paid","data":{"id": 4.20},"custom_headers":{"X-Tenant":"7"},"unknown":1}`,
		"Prefer: ack=persisted", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	data := ans.want(201)
	equal(t, "the message", ans.body.Message, "Event queued successfully")
	equal(t, "Preference-Applied", ans.header.Get("Preference-Applied"), "ack=persisted")
	equal(t, "the members", strings.Join(slices.Sorted(maps.Keys(data)), " "), "ack created_at duplicate event_type uid")
	equal(t, "created_at", data["created_at"], any("2026-11-24T08:00:00Z"))
	equal(t, "event_type", data["event_type"], any("order.paid"))
	equal(t, "ack", data["ack"], any("persisted"))
	equal(t, "duplicate", data["duplicate"], any(false))

	s := a.pipeline.taken[0]
	equal(t, "the project", s.ProjectID, a.project)
	equal(t, "the payload", string(s.Payload), `{"id": 4.20}`)
	equal(t, "the header", s.Headers["X-Tenant"], "7")
	equal(t, "the level asked for", s.Ack, millrace.AckPersisted)
	equal(t, "the trace", s.TraceParent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	equal(t, "the audience", s.Audience, millrace.Audience{})
}

func TestEventAudience(t *testing.T) {
	id := millrace.NewID(testNow)
	for rule, c := range map[string]struct {
		path, body string
		want       millrace.Audience
	}{
		"one endpoint":                      {"events", `"endpoint_id":"` + id.String() + `"`, millrace.Audience{EndpointID: id}},
		"an owner's endpoints":              {"events", `"owner_id":"o"`, millrace.Audience{OwnerID: "o"}},
		"fan-out goes to the owner alone":   {"events/fanout", `"owner_id":"o","endpoint_id":"x"`, millrace.Audience{OwnerID: "o"}},
		"broadcast goes to everybody alone": {"events/broadcast", `"owner_id":"o"`, millrace.Audience{}},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			a.call("POST", c.path, `{"event_type":"a","data":1,`+c.body+`}`).want(201)
			equal(t, "the audience", a.pipeline.taken[0].Audience, c.want)
		})
	}
}

func TestCreateEventRefuses(t *testing.T) {
	many := strings.Repeat("x", 256)
	for rule, c := range map[string]struct {
		path, body, header string
		code               millrace.Code
		fields             []string
	}{
		"all that is missing, at once": {"events", `{}`, "", millrace.CodeBadRequest, []string{"event_type", "data"}},
		"null and empty as missing":    {"events", `{"event_type":"","data":null}`, "", millrace.CodeBadRequest, []string{"event_type", "data"}},
		"fan-out without an owner":     {"events/fanout", `{"event_type":"a","data":1}`, "", millrace.CodeBadRequest, []string{"owner_id"}},
		"an endpoint and an owner": {"events", `{"event_type":"a","data":1,"owner_id":"o","endpoint_id":"` + millrace.NewID(testNow).String() + `"}`, "",
			millrace.CodeInvalid, []string{"owner_id"}},
		"an endpoint that cannot be":      {"events", `{"event_type":"a","data":1,"endpoint_id":"01H0JA5MEES38RRK3HTEJC647K"}`, "", millrace.CodeNotFound, nil},
		"a type that is too long":         {"events", `{"event_type":"` + many + `","data":1}`, "", millrace.CodeInvalid, []string{"event_type"}},
		"a type with a control character": {"events", `{"event_type":"a\u0000","data":1}`, "", millrace.CodeInvalid, []string{"event_type"}},
		"a key that is too long":          {"events", `{"event_type":"a","data":1,"idempotency_key":"` + many + `"}`, "", millrace.CodeInvalid, []string{"idempotency_key"}},
		"a header that the gateway sets":  {"events", `{"event_type":"a","data":1,"custom_headers":{"webhook-id":"x"}}`, "", millrace.CodeInvalid, []string{"custom_headers.webhook-id"}},
		"two idempotency keys":            {"events", `{"event_type":"a","data":1,"idempotency_key":"k"}`, "Idempotency-Key: other", millrace.CodeBadRequest, []string{"idempotency_key"}},
		"a level that there is not":       {"events", `{"event_type":"a","data":1}`, "Prefer: ack=persist", millrace.CodeInvalid, []string{"Prefer"}},
		"what is no JSON":                 {"events", `event_type=a`, "", millrace.CodeBadRequest, nil},
		"another content type":            {"events", `{"event_type":"a","data":1}`, "Content-Type: text/plain", millrace.CodeUnsupportedMedia, nil},
		"an encoded body":                 {"events", `{"event_type":"a","data":1}`, "Content-Encoding: gzip", millrace.CodeUnsupportedMedia, nil},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			headers := []string{}
			if c.header != "" {
				headers = append(headers, c.header)
			}
			a.call("POST", c.path, c.body, headers...).refused(c.code, c.fields...)
			equal(t, "how many got to the pipeline", len(a.pipeline.taken), 0)
		})
	}
}

func TestAnyCharsetOfJSON(t *testing.T) {
	for _, contentType := range []string{"application/json", "application/json;charset=utf-8", "Application/JSON ; charset=whatever", "application/json; charset=\"", ""} {
		newAPI(t).call("POST", "events", `{"event_type":"a","data":1}`, "Content-Type: "+contentType).want(201)
	}
}

func TestPreferIsReadAsRFC7240(t *testing.T) {
	for given, want := range map[string]millrace.AckLevel{
		"": "", "respond-async": "", "ack=queued": "queued", `respond-async, ACK = "Persisted"; x=y, wait=5`: "persisted", "back=persisted": "",
	} {
		a := newAPI(t)
		a.call("POST", "events", `{"event_type":"a","data":1}`, "Prefer: "+given).want(201)
		equal(t, "the level of "+given, a.pipeline.taken[0].Ack, want)
	}
}

func TestIdempotencyKey(t *testing.T) {
	for rule, c := range map[string]struct{ header, body string }{
		"of the header": {"k", ""}, "of the body": {"", "k"}, "of both, the same": {"k", "k"},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			first := millrace.NewID(testNow)
			a.pipeline.answer = func(s millrace.Submission) (millrace.Receipt, error) {
				return millrace.Receipt{Event: millrace.Event{ID: first, Type: s.Type}, Ack: millrace.AckPersisted, Duplicate: true}, nil
			}
			data := a.call("POST", "events", `{"event_type":"a","data":1,"idempotency_key":"`+c.body+`"}`, "Idempotency-Key: "+c.header).want(201)
			equal(t, "the key", a.pipeline.taken[0].IdempotencyKey, "k")
			equal(t, "duplicate", data["duplicate"], any(true))
			equal(t, "the first event's uid", data["uid"], any(first.String()))
		})
	}
}

func TestSubmissionIsNotTaken(t *testing.T) {
	for rule, c := range map[string]struct {
		receipt millrace.Receipt
		err     error
		code    millrace.Code
	}{
		"no store takes it":               {millrace.Receipt{}, millrace.Unavailable(errors.New("dial tcp 10.0.0.7: refused")), millrace.CodeUnavailable},
		"time runs out":                   {millrace.Receipt{}, context.DeadlineExceeded, millrace.CodeUnavailable},
		"the key was used for another":    {millrace.Receipt{Refused: millrace.Errorf(millrace.CodeConflict, "used")}, nil, millrace.CodeConflict},
		"the endpoint is another project": {millrace.Receipt{Refused: millrace.NotFound("endpoint")}, nil, millrace.CodeNotFound},
		"there is a bug":                  {millrace.Receipt{}, errors.New("dial tcp 10.0.0.7: bug"), millrace.CodeInternal},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			a.pipeline.answer = func(millrace.Submission) (millrace.Receipt, error) { return c.receipt, c.err }
			ans := a.call("POST", "events", `{"event_type":"a","data":1}`)
			ans.refused(c.code)
			equal(t, "Retry-After is sent", ans.header.Get("Retry-After") != "", c.code == millrace.CodeUnavailable)
			if strings.Contains(string(ans.raw), "10.0.0.7") {
				t.Errorf("the answer tells of our insides: %s", ans.raw)
			}
		})
	}
}

func TestEventBounds(t *testing.T) {
	small := func(a *api) { a.config.MaxEventBytes = 1 << 10 }
	for rule, c := range map[string]struct {
		payload int
		beside  int
		status  int
	}{
		"a payload of just the bound":      {1 << 10, 0, 201},
		"a payload over the bound":         {1<<10 + 1, 0, 413},
		"a body beyond what may be beside": {1, 1 << 17, 413},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t, small)
			body := fmt.Sprintf(`{"event_type":"a","data":"%s","x":"%s"}`, strings.Repeat("x", c.payload-2+2*btoi(c.payload < 2)), strings.Repeat("y", c.beside))
			equal(t, "the status", a.call("POST", "events", body).status, c.status)
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestBatch(t *testing.T) {
	entries := []string{`{"event_type":"a","data":{"n": 1}}`, `{"event_type":"a"}`, `{"event_type":"b","data":2,"owner_id":"o"}`, `7`}
	check := func(t *testing.T, a *api, ans answer) {
		var out []entryOut
		ans.wantInto(207, &out)
		var got []string
		for _, e := range out {
			got = append(got, fmt.Sprintf("%d:%d:%s:%v", e.Index, e.Status, e.Code, e.UID != ""))
		}
		equal(t, "what became of each", strings.Join(got, " "), "0:201::true 1:400:bad_request:false 2:201::true 3:400:bad_request:false")
		equal(t, "how many were submitted", len(a.pipeline.taken), 2)
	}
	t.Run("as an array", func(t *testing.T) {
		a := newAPI(t)
		check(t, a, a.call("POST", "events/batch", ` { "events" : [`+strings.Join(entries, " , ")+`] } `, "Prefer: ack=queued"))
		equal(t, "the level asked for", a.pipeline.taken[0].Ack, millrace.AckQueued)
	})
	t.Run("as lines", func(t *testing.T) {
		a := newAPI(t)
		check(t, a, a.call("POST", "events/batch", strings.Join(entries, "\r\n\n")+"\n", "Content-Type: application/x-ndjson; charset=utf-8"))
	})
	t.Run("payloads are exact", func(t *testing.T) {
		a := newAPI(t)
		a.call("POST", "events/batch", `{"events":[{"event_type":"a","data": { "n" : 1.0 } }]}`).wantInto(207, &[]entryOut{})
		equal(t, "the payload", string(a.pipeline.taken[0].Payload), `{ "n" : 1.0 }`)
	})
	t.Run("an entry that no store takes is 503 by itself", func(t *testing.T) {
		a := newAPI(t)
		a.pipeline.answer = func(s millrace.Submission) (millrace.Receipt, error) {
			if s.Type == "b" {
				return millrace.Receipt{}, millrace.Unavailable(errors.New("away"))
			}
			return accept(s), nil
		}
		var out []entryOut
		a.call("POST", "events/batch", `{"events":[{"event_type":"a","data":1},{"event_type":"b","data":1}]}`).wantInto(207, &out)
		equal(t, "the first", out[0].Status, 201)
		equal(t, "the second", out[1].Status, 503)
	})
}

func TestBatchRefuses(t *testing.T) {
	lines := strings.Repeat(`{"event_type":"a","data":1}`+"\n", maxBatch+1)
	for rule, c := range map[string]struct {
		body, contentType string
		code              millrace.Code
		fields            []string
	}{
		"an empty batch":        {`{"events":[]}`, "application/json", millrace.CodeBadRequest, []string{"events"}},
		"no batch":              {`{}`, "application/json", millrace.CodeBadRequest, []string{"events"}},
		"no lines":              {"\n\n", "application/x-ndjson", millrace.CodeBadRequest, []string{"events"}},
		"events that are none":  {`{"events":{}}`, "application/json", millrace.CodeBadRequest, nil},
		"broken JSON":           {`{"events":[{"data":1]}`, "application/json", millrace.CodeBadRequest, nil},
		"events twice":          {`{"events":[],"events":[]}`, "application/json", millrace.CodeBadRequest, nil},
		"too many in an array":  {`{"events":[` + strings.TrimSuffix(strings.ReplaceAll(lines, "\n", ","), ",") + `]}`, "application/json", millrace.CodeTooLarge, nil},
		"too many lines":        {lines, "application/x-ndjson", millrace.CodeTooLarge, nil},
		"another content type":  {`{}`, "text/csv", millrace.CodeUnsupportedMedia, nil},
		"more than it may hold": {`{"events":["` + strings.Repeat("x", 1<<20) + `"]}`, "application/json", millrace.CodeTooLarge, nil},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t, func(a *api) { a.config.MaxEventBytes, a.config.MaxBatchBytes = 1<<10, 1<<20 })
			a.call("POST", "events/batch", c.body, "Content-Type: "+c.contentType).refused(c.code, c.fields...)
		})
	}
	t.Run("a key for all of it", func(t *testing.T) {
		newAPI(t).call("POST", "events/batch", `{"events":[]}`, "Idempotency-Key: k").refused(millrace.CodeBadRequest)
	})
}

// TestBatchIsBounded: as many entries are under way as may be, and no more.
func TestBatchIsBounded(t *testing.T) {
	var active, most atomic.Int32
	full := make(chan struct{})
	a := newAPI(t, func(a *api) {
		a.config.BatchConcurrency = 4
		a.deps.Submitter = submitFunc(func(s millrace.Submission) (millrace.Receipt, error) {
			n := active.Add(1)
			defer active.Add(-1)
			if most.Store(max(most.Load(), n)); n == 4 {
				close(full)
			}
			<-full
			return accept(s), nil
		})
	})
	// Four must be there before any goes on; the fifth comes only then.
	lines := strings.Repeat(`{"event_type":"a","data":1}`+"\n", 4)
	equal(t, "the status", a.call("POST", "events/batch", lines, "Content-Type: application/x-ndjson").status, 207)
	equal(t, "the most at once", most.Load(), 4)
}

// TestBatchIsBoundedAbove: where only one may be under way, two never are.
func TestBatchIsBoundedAbove(t *testing.T) {
	var active atomic.Int32
	a := newAPI(t, func(a *api) {
		a.config.BatchConcurrency = 1
		a.deps.Submitter = submitFunc(func(s millrace.Submission) (millrace.Receipt, error) {
			if active.Add(1) > 1 {
				t.Error("two entries are under way")
			}
			runtime.Gosched()
			active.Add(-1)
			return accept(s), nil
		})
	})
	lines := strings.Repeat(`{"event_type":"a","data":1}`+"\n", 200)
	equal(t, "the status", a.call("POST", "events/batch", lines, "Content-Type: application/x-ndjson").status, 207)
}

type submitFunc func(millrace.Submission) (millrace.Receipt, error)

func (f submitFunc) Submit(_ context.Context, s millrace.Submission) (millrace.Receipt, error) {
	return f(s)
}

func TestShowEvent(t *testing.T) {
	a := newAPI(t)
	id, endpoint := millrace.NewID(testNow), millrace.NewID(testNow)
	e := millrace.EventRecord{FannedOut: true, Matched: 0, EndpointIDs: []millrace.ID{endpoint}, Deliveries: map[millrace.Status]int{millrace.Held: 2}}
	e.Event = millrace.Event{ID: id, ProjectID: a.project, Type: "order.paid", Headers: map[string]string{"X-A": "1"}, Payload: []byte(`{"n": 1.0, "h":"<&>"}`), IdempotencyKey: "k"}
	a.store.events = []millrace.EventRecord{e}
	data := a.call("GET", "events/"+id.String(), "").want(200)
	equal(t, "raw", data["raw"], any(`{"n": 1.0, "h":"<&>"}`))
	equal(t, "matched", data["matched"], any(0.0))
	equal(t, "status", data["status"], any("Success"))
	got, _ := json.Marshal([]any{data["deliveries"], data["headers"], data["endpoints"], data["is_duplicate_event"], data["idempotency_key"]})
	equal(t, "the rest", string(got), `[{"held":2},{"X-A":["1"]},["`+endpoint.String()+`"],false,"k"]`)

	a.store.events[0].FannedOut = false
	data = a.call("GET", "events/"+id.String(), "").want(200)
	equal(t, "matched before matching", data["matched"], nil)
	equal(t, "status before matching", data["status"], any("Processing"))
}

func TestPayloadThatIsNoJSONIsShownAsText(t *testing.T) {
	equal(t, "the payload", string(asJSON([]byte("a=1&b=\"2\""))), `"a=1\u0026b=\"2\""`)
}

func TestReplayEvent(t *testing.T) {
	a := newAPI(t)
	id := millrace.NewID(testNow)
	e := millrace.EventRecord{}
	e.ID, e.ProjectID = id, a.project
	a.store.events = []millrace.EventRecord{e}
	data := a.call("PUT", "events/"+id.String()+"/replay", `"{}"`).want(200)
	equal(t, "the event", data["uid"], any(id.String()))
	equal(t, "a replay has an id of its own", data["replay_id"] != any(id.String()) && data["replay_id"] != "", true)
	a.call("PUT", "events/"+millrace.NewID(testNow).String()+"/replay", "").refused(millrace.CodeNotFound)
}

func TestAPayloadThatIsNoTextIsShownByItsBytes(t *testing.T) {
	for payload, want := range map[string]string{
		"\x00\xff":          `[null,"","AP8="]`,
		"{\"a\":\"\xff\"}":  `[null,"","eyJhIjoi/yJ9"]`,
		"a=1&b=2":           `["a=1&b=2","a=1&b=2",null]`,
		`{ "n": 1.50 }`:     `[{"n":1.5},"{ \"n\": 1.50 }",null]`,
		"caf\u00e9 \u2014 ": `["café — ","café — ",null]`,
	} {
		a := newAPI(t)
		d := withDelivery(a)
		a.store.events[0].Payload, a.store.deliveries[0].Payload = []byte(payload), []byte(payload)
		event := a.call("GET", "events/"+d.EventID.String(), "").want(200)
		delivery := a.call("GET", "eventdeliveries/"+d.ID.String(), "").want(200)["metadata"].(map[string]any)
		if raw, there := delivery["raw"]; !there {
			delivery["raw"] = ""
			equal(t, "raw", raw, nil)
		}
		for _, shown := range []map[string]any{event, delivery} {
			text, _ := json.Marshal([]any{shown["data"], shown["raw"], shown["data_base64"]})
			equal(t, "what is shown", strings.ReplaceAll(string(text), `\u0026`, "&"), want)
		}
	}
}
