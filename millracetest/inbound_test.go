package millracetest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	convoy "github.com/frain-dev/convoy-go/v2"
)

// inbound is a source that takes webhooks, and the secret of who sends them.
type inbound struct {
	gateway *Gateway
	UID     string
	URL     string
	secret  string
}

// GitHub makes a source that takes GitHub's webhooks; members may follow as
// name and value.
func (g *Gateway) GitHub(with ...any) *inbound {
	g.t.Helper()
	in := &inbound{gateway: g, secret: "It's a Secret to Everybody"}
	members := map[string]any{"name": "GitHub", "type": "http", "provider": "github", "verifier": map[string]any{"hmac": map[string]any{"secret": in.secret}}}
	for i := 0; i+1 < len(with); i += 2 {
		members[with[i].(string)] = with[i+1]
	}
	g.Must(http.MethodPost, "/sources", members, in)
	return in
}

// sends posts what GitHub would; headers may follow as name and value. What is
// taken, the gateway is held to when the test is over.
func (in *inbound) sends(body string, header ...string) (webhookAnswer, error) {
	mac := hmac.New(sha256.New, []byte(in.secret))
	mac.Write([]byte(body))
	q, err := http.NewRequest(http.MethodPost, in.URL, strings.NewReader(body))
	if err != nil {
		return webhookAnswer{}, err
	}
	q.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	q.Header.Set("X-GitHub-Event", "push")
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	a, err := in.gateway.client.Do(q)
	if err != nil {
		return webhookAnswer{}, err
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	answer := webhookAnswer{status: a.StatusCode, header: a.Header, text: string(text)}
	_ = json.Unmarshal(text, &struct{ Data any }{&answer.Sent}) // a custom response may be anything
	if answer.UID != "" {
		in.gateway.mu.Lock()
		defer in.gateway.mu.Unlock()
		in.gateway.taken = append(in.gateway.taken, answer.Sent)
	}
	return answer, err
}

// webhookAnswer is what a sender is answered.
type webhookAnswer struct {
	Sent
	status int
	header http.Header
	text   string
}

// delivers sends a webhook that must be taken.
func (in *inbound) delivers(body string, header ...string) webhookAnswer {
	in.gateway.t.Helper()
	answer, err := in.sends(body, header...)
	if err != nil || answer.status != http.StatusCreated {
		in.gateway.t.Fatalf("the webhook was answered with %d %s, %v", answer.status, answer.text, err)
	}
	return answer
}

// From narrows the subscription to the events of one source.
func From(in *inbound) Option {
	return func(o *options) { o.subscription["source_id"] = in.UID }
}

// Carries wants each request to have this body.
func Carries(body string) Expectation {
	return func(got []Request) error {
		for _, q := range got {
			if q.Body != body {
				return fmt.Errorf("%q came, want %q", q.Body, body)
			}
		}
		return nil
	}
}

func TestAWebhookOfGitHubReachesWhoSubscribedToItsSource(t *testing.T) {
	t.Parallel()
	gw := New(t)
	in, other := gw.GitHub("forward_headers", []string{"X-GitHub-Event"}), gw.GitHub("name", "another")
	r, pushes, whole := gw.Receiver(From(in)), gw.Receiver(From(in), Types("push")), gw.Receiver()
	none, stranger := gw.Receiver(From(in), Types("issues")), gw.Receiver(From(other))
	body := "{ \"ref\":\"refs/heads/main\",\n  \"n\": 12345678901234567890.50, \"note\": \"caf\\u00e9 — é\" }\n"
	sent := in.delivers(body)
	if sent.Ack != "persisted" || sent.Duplicate {
		t.Errorf("it was answered %+v", sent.Sent)
	}
	for _, q := range r.Want(Events(sent.UID), Attempts(1), Carries(body)) {
		if got := q.Header.Get("X-GitHub-Event"); got != "push" {
			t.Errorf("X-GitHub-Event was forwarded as %q", got)
		}
	}
	pushes.Want(Events(sent.UID), Attempts(1), Carries(body))
	whole.Want(Events(sent.UID), Attempts(1), Carries(body))
	none.Want(Attempts(0))
	stranger.Want(Attempts(0))
	var event struct {
		EventType string `json:"event_type"`
		SourceID  string `json:"source_id"`
		Raw       string
	}
	gw.Must(http.MethodGet, "/events/"+sent.UID, nil, &event)
	if event.EventType != "push" || event.SourceID != in.UID || event.Raw != body {
		t.Errorf("the event is %+v", event)
	}
}

func TestAWebhookThatIsNotGenuineIsNotStored(t *testing.T) {
	t.Parallel()
	gw := New(t)
	in, r := gw.GitHub(), gw.Receiver()
	for what, header := range map[string][]string{
		"another's signature": {"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
		"no signature":        {"X-Hub-Signature-256", ""},
	} {
		answer, err := in.sends(`{"forged":true}`, header...)
		if err != nil || answer.status != http.StatusUnauthorized {
			t.Errorf("%s was answered with %d %s, %v", what, answer.status, answer.text, err)
		}
	}
	if stored, err := gw.list(`SELECT id FROM events`); err != nil || len(stored) > 0 {
		t.Errorf("%d events are stored, %v", len(stored), err)
	}
	r.Want(Attempts(0))
}

func TestWhatGitHubSendsOnceMoreIsTheSameEvent(t *testing.T) {
	t.Parallel()
	gw := New(t)
	in := gw.GitHub("forward_headers", []string{"X-Try"})
	r := gw.Receiver(From(in))
	first := in.delivers(`{"n":1}`, "X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958", "X-Try", "1")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			answer, err := in.sends(`{"n":1}`, "X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958", "X-Try", "2")
			if err != nil || answer.status != http.StatusCreated || answer.UID != first.UID || !answer.Duplicate {
				t.Errorf("sent once more, it was answered with %d %s, %v; the event is %s", answer.status, answer.text, err, first.UID)
			}
		})
	}
	all.Wait()
	second := in.delivers(`{"n":1}`, "X-GitHub-Delivery", "0b989ba4-242f-11e5-81e1-c7b6966d2516", "X-Try", "1")
	r.Want(Events(first.UID, second.UID), Attempts(2), Carries(`{"n":1}`))
}

func TestAWebhookThatIsNoTextArrivesByteForByte(t *testing.T) {
	t.Parallel()
	gw := New(t)
	in := gw.GitHub()
	r := gw.Receiver(From(in))
	var body strings.Builder
	for i := range 70_000 { // beyond what travels inline
		body.WriteByte(byte(i * 7))
	}
	sent := in.delivers(body.String(), "Content-Type", "application/octet-stream")
	r.Want(Events(sent.UID), Attempts(1), Carries(body.String()))
	var event struct {
		Data any
		Raw  string
		Base []byte `json:"data_base64"`
	}
	gw.Must(http.MethodGet, "/events/"+sent.UID, nil, &event)
	if string(event.Base) != body.String() || event.Data != nil || event.Raw != "" {
		t.Errorf("it is shown with %d bytes, data %v, raw %q", len(event.Base), event.Data, event.Raw)
	}
}

func TestASenderComesAgainUntilItsWebhookIsStored(t *testing.T) {
	t.Parallel()
	gw := New(t, OwnPostgres())
	in := gw.GitHub()
	r := gw.Receiver(From(in))
	before := in.delivers(`{"n":0}`, "X-GitHub-Delivery", "before")
	r.Want(Events(before.UID))
	gw.Postgres.Stop()
	for range 3 {
		answer, err := in.sends(`{"n":1}`, "X-GitHub-Delivery", "while it was down")
		if err != nil || answer.status != http.StatusServiceUnavailable || answer.header.Get("Retry-After") == "" {
			t.Errorf("without PostgreSQL it was answered with %d %s, Retry-After %q, %v", answer.status, answer.text, answer.header.Get("Retry-After"), err)
		}
	}
	gw.Postgres.Start()
	var taken webhookAnswer
	eventually(t, "the webhook is taken", func() (err error) {
		if taken, err = in.sends(`{"n":1}`, "X-GitHub-Delivery", "while it was down"); err == nil && taken.status != http.StatusCreated {
			err = fmt.Errorf("answered with %d %s", taken.status, taken.text)
		}
		return err
	})
	r.Want(Events(before.UID, taken.UID), Attempts(2))
}

func TestAWebhookIsTakenWithoutRedis(t *testing.T) {
	t.Parallel()
	gw := New(t)
	in := gw.GitHub()
	r := gw.Receiver(From(in))
	gw.Redis.Kill()
	sent := in.delivers(`{"n":1}`)
	gw.Redis.Start()
	r.Want(Events(sent.UID), Attempts(1))
}

func TestASenderIsAnsweredInItsOwnWords(t *testing.T) {
	t.Parallel()
	gw := New(t)
	in := gw.GitHub("custom_response", map[string]any{"body": "<Response/>", "content_type": "text/xml"})
	r := gw.Receiver(From(in))
	answer, err := in.sends(`{"n":1}`)
	if err != nil || answer.status != http.StatusOK || answer.text != "<Response/>" || answer.header.Get("Content-Type") != "text/xml" {
		t.Errorf("it was answered %d %q of type %s, %v", answer.status, answer.text, answer.header.Get("Content-Type"), err)
	}
	r.Want(Attempts(1), Carries(`{"n":1}`))
}

func TestASourceThatIsDisabledOrDeletedTakesNothingMore(t *testing.T) {
	t.Parallel()
	gw := New(t)
	in, r := gw.GitHub(), gw.Receiver()
	first := in.delivers(`{"n":1}`)
	answers := func(status int) {
		t.Helper()
		eventually(t, fmt.Sprintf("it is answered with %d", status), func() error {
			answer, err := in.sends(`{"n":1}`, "X-GitHub-Delivery", "the last one")
			if err == nil && answer.status != status {
				err = fmt.Errorf("it was answered with %d %s", answer.status, answer.text)
			}
			return err
		})
	}
	gw.Must(http.MethodPut, "/sources/"+in.UID, map[string]any{"is_disabled": true}, nil)
	answers(http.StatusForbidden)
	gw.Must(http.MethodPut, "/sources/"+in.UID, map[string]any{"is_disabled": false}, nil)
	answers(http.StatusCreated)
	gw.Must(http.MethodDelete, "/sources/"+in.UID, nil, nil)
	answers(http.StatusNotFound)
	r.Want(Came(first.UID), Attempts(2))
}

func TestConvoysClientKeepsASource(t *testing.T) {
	t.Parallel()
	gw := New(t)
	client := convoy.New(gw.Access.URL+"/api/v1", gw.Access.APIKey, gw.Access.ProjectID)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := &inbound{gateway: gw, secret: "correct-horse-battery"}
	made, err := client.Sources.Create(t.Context(), &convoy.CreateSourceRequest{
		Name: "GitHub", Type: "http", Provider: "github", Verifier: convoy.VerifierConfig{Type: "hmac", HMac: &convoy.HMac{
			Header: "X-Hub-Signature-256", Hash: "SHA256", Encoding: "hex", Secret: in.secret}},
	})
	ok(err)
	in.UID, in.URL = made.UID, gw.Access.URL+"/ingest/"+made.MaskID
	r := gw.Receiver(From(in))
	r.Want(Events(in.delivers(`{"n":1}`).UID))
	found, err := client.Sources.Find(t.Context(), made.UID)
	ok(err)
	_, err = client.Sources.Update(t.Context(), made.UID, &convoy.CreateSourceRequest{Name: "Code", Type: "http", Verifier: *found.Verifier})
	ok(err)
	all, err := client.Sources.All(t.Context(), &convoy.SourceParams{Type: "http"})
	ok(err)
	if len(all.Content) != 1 || all.Content[0].Name != "Code" || all.Content[0].MaskID != made.MaskID {
		t.Errorf("the sources are %+v", all.Content)
	}
	in.delivers(`{"n":2}`) // the secret that was shown masked, and sent back, is still there
	r.Want(Attempts(2))
	ok(client.Sources.Delete(t.Context(), made.UID))
	if _, err := client.Sources.Find(t.Context(), made.UID); err == nil {
		t.Error("it is there when it was deleted")
	}
}
