package httpapi

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

// fakeInbound takes what is signed with "yes", and is challenged by "who?".
type fakeInbound struct{}

func (*fakeInbound) Verify(_ millrace.Source, r *http.Request, _ []byte) error {
	if r.Header.Get("X-Signature") != "yes" {
		return millrace.Errorf(millrace.CodeUnauthenticated, "the header X-Signature is missing")
	}
	return nil
}

func (*fakeInbound) Challenge(_ millrace.Source, r *http.Request, body []byte) (millrace.CustomResponse, bool) {
	if r.URL.Query().Get("crc_token") != "" {
		return millrace.CustomResponse{Body: `{"response_token":"t"}`, ContentType: "application/json"}, true
	}
	return millrace.CustomResponse{Body: "me"}, string(body) == "who?"
}

func (*fakeInbound) Submission(s millrace.Source, _ *http.Request, body []byte) (millrace.Submission, error) {
	return millrace.Submission{ProjectID: s.ProjectID, SourceID: s.ID, Type: "push", Payload: body, Ack: millrace.AckPersisted}, nil
}

// withSource makes a source that takes webhooks, changed as told.
func withSource(a *api, change ...func(*millrace.Source)) millrace.Source {
	s := millrace.Source{ID: millrace.NewID(testNow), ProjectID: a.project, Type: millrace.SourceHTTP, MaskID: "mask"}
	for _, c := range change {
		c(&s)
	}
	a.store.sources = append(a.store.sources, s)
	a.as = "" // senders have no API key
	return s
}

const signed = "X-Signature: yes"

func TestAWebhookIsTakenInByteForByte(t *testing.T) {
	for what, c := range map[string]struct{ body, contentType string }{
		"JSON":        {"{\"n\": 1.50 }\n", "application/json"},
		"a form":      {"payload=%7B%7D", "application/x-www-form-urlencoded"},
		"any bytes":   {"\x00\xff\xfe\r\n", "application/octet-stream"},
		"no type":     {"x", ""},
		"broken type": {"x", "nonsense/; ="},
	} {
		t.Run(what, func(t *testing.T) {
			a := newAPI(t)
			s := withSource(a)
			ans := a.call("POST", "/ingest/mask", c.body, signed, "Content-Type: "+c.contentType)
			data := ans.want(201)
			equal(t, "the message", ans.body.Message, "Event received")
			equal(t, "event_type", data["event_type"], any("push"))
			equal(t, "ack", data["ack"], any("persisted"))
			got := a.pipeline.taken[0]
			equal(t, "the payload", string(got.Payload), c.body)
			equal(t, "the source", got.SourceID, s.ID)
		})
	}
}

func TestAWebhookIsRefused(t *testing.T) {
	for rule, c := range map[string]struct {
		path, body string
		headers    []string
		change     func(*millrace.Source)
		code       millrace.Code
	}{
		"without a signature":                                 {"/ingest/mask", "{}", nil, nil, millrace.CodeUnauthenticated},
		"where there is no such source":                       {"/ingest/other", "{}", []string{signed}, nil, millrace.CodeNotFound},
		"where the source reads a broker":                     {"/ingest/mask", "{}", []string{signed}, func(s *millrace.Source) { s.Type = millrace.SourcePubSub }, millrace.CodeNotFound},
		"where the source is disabled":                        {"/ingest/mask", "{}", []string{signed}, func(s *millrace.Source) { s.Disabled = true }, millrace.CodeForbidden},
		"beyond the bound, signed or not":                     {"/ingest/mask", strings.Repeat("x", 1<<20+1), nil, nil, millrace.CodeTooLarge},
		"with an encoding that nobody would undo":             {"/ingest/mask", "{}", []string{signed, "Content-Encoding: gzip"}, nil, millrace.CodeUnsupportedMedia},
		"before it is verified, though it may be a challenge": {"/ingest/mask", "who?", nil, nil, millrace.CodeUnauthenticated},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			var changes []func(*millrace.Source)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			withSource(a, changes...)
			a.call("POST", c.path, c.body, c.headers...).refused(c.code)
			equal(t, "how many got to the pipeline", len(a.pipeline.taken), 0)
		})
	}
}

func TestAWebhookAtTheBoundIsTaken(t *testing.T) {
	a := newAPI(t)
	withSource(a)
	a.call("POST", "/ingest/mask", strings.Repeat("x", 1<<20), signed).want(201)
}

// TestWhatIsNotStoredIsNoSuccessAndNoFaultOfTheSender: it is to send again.
func TestWhatIsNotStoredIsNoSuccessAndNoFaultOfTheSender(t *testing.T) {
	a := newAPI(t)
	withSource(a)
	a.pipeline.answer = func(millrace.Submission) (millrace.Receipt, error) {
		return millrace.Receipt{}, millrace.Unavailable(errors.New("connection refused"))
	}
	for what, ans := range map[string]answer{
		"no store to append to":        a.call("POST", "/ingest/mask", "{}", signed),
		"no store to find a source in": withoutStore(a).call("POST", "/ingest/mask", "{}", signed),
		"the same, of a challenge":     a.call("GET", "/ingest/mask?crc_token=x", ""),
	} {
		if ans.status != 503 || ans.header.Get("Retry-After") == "" {
			t.Errorf("%s: answered %d, Retry-After %q", what, ans.status, ans.header.Get("Retry-After"))
		}
	}
}

func withoutStore(a *api) *api {
	a.store.err = millrace.Unavailable(errors.New("connection refused"))
	return a
}

func TestWhatThePipelineRefusesIsRefused(t *testing.T) {
	a := newAPI(t)
	withSource(a)
	a.pipeline.answer = func(millrace.Submission) (millrace.Receipt, error) {
		return millrace.Receipt{Refused: millrace.Errorf(millrace.CodeTooLarge, "too long")}, nil
	}
	a.call("POST", "/ingest/mask", "{}", signed).refused(millrace.CodeTooLarge)
}

func TestADuplicateWebhookIsASuccess(t *testing.T) {
	a := newAPI(t)
	withSource(a)
	a.pipeline.answer = func(s millrace.Submission) (millrace.Receipt, error) {
		r := accept(s)
		r.Duplicate = true
		return r, nil
	}
	equal(t, "duplicate", a.call("POST", "/ingest/mask", "{}", signed).want(201)["duplicate"], any(true))
}

func TestACustomResponse(t *testing.T) {
	for rule, c := range map[string]struct {
		response millrace.CustomResponse
		want     string
	}{
		"in its own type":           {millrace.CustomResponse{Body: "<ok/>", ContentType: "application/xml"}, "application/xml"},
		"as text where there is no": {millrace.CustomResponse{Body: "<b>hi</b>"}, "text/plain; charset=utf-8"},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			withSource(a, func(s *millrace.Source) { s.CustomResponse = c.response })
			ans := a.call("POST", "/ingest/mask", "{}", signed)
			equal(t, "the status", ans.status, 200)
			equal(t, "the body", string(ans.raw), c.response.Body)
			equal(t, "Content-Type", ans.header.Get("Content-Type"), c.want)
			equal(t, "what no browser runs", ans.header.Get("X-Content-Type-Options")+"; "+ans.header.Get("Content-Security-Policy"), "nosniff; sandbox")
			equal(t, "events taken", len(a.pipeline.taken), 1)
			a.call("POST", "/ingest/mask", "{}").refused(millrace.CodeUnauthenticated)
		})
	}
}

func TestChallengesAreAnsweredAndAreNoEvents(t *testing.T) {
	a := newAPI(t)
	withSource(a, func(s *millrace.Source) { s.CustomResponse.Body = "thanks" })
	ans := a.call("GET", "/ingest/mask?crc_token=x", "")
	equal(t, "the answer to a GET", string(ans.raw), `{"response_token":"t"}`)
	equal(t, "its type", ans.header.Get("Content-Type"), "application/json")
	equal(t, "the answer to a POST", string(a.call("POST", "/ingest/mask", "who?", signed).raw), "me")
	equal(t, "events taken", len(a.pipeline.taken), 0)
	ans = a.call("GET", "/ingest/mask", "")
	ans.refused(millrace.CodeMethodNotAllowed)
	equal(t, "Allow", ans.header.Get("Allow"), "POST")
	a.call("GET", "/ingest/other", "").refused(millrace.CodeNotFound)
}

func TestA401SaysHowToProveOneself(t *testing.T) {
	for want, change := range map[string]func(*millrace.Source){
		`Webhook realm="millrace"`: func(s *millrace.Source) { s.Provider = millrace.ProviderGitHub },
		`Basic realm="millrace"`:   func(s *millrace.Source) { s.Verifier.Type = millrace.VerifyBasic },
	} {
		a := newAPI(t)
		withSource(a, change)
		equal(t, "WWW-Authenticate", a.call("POST", "/ingest/mask", "{}").header.Get("WWW-Authenticate"), want)
	}
}

// TestAWebhookOfUnknownLengthIsBounded: the bound holds where the length is
// not said beforehand.
func TestAWebhookOfUnknownLengthIsBounded(t *testing.T) {
	a := newAPI(t)
	withSource(a)
	server := httptest.NewServer(a.handler)
	defer server.Close()
	r, err := http.NewRequest("POST", server.URL+"/ingest/mask", io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), strings.NewReader("y")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Signature", "yes")
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	equal(t, "the status", resp.StatusCode, 413)
}
