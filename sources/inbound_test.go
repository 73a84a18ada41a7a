package sources

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

func inbound() Inbound { return Inbound{Now: func() time.Time { return time.Unix(signedAt, 0) }} }

// webhook is a request to an ingest URL; headers are given as "Name: value".
func webhook(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func TestASubmissionHasTheBytesOfTheBody(t *testing.T) {
	s := millrace.Source{ID: millrace.NewID(time.Now()), ProjectID: millrace.NewID(time.Now()), MaskID: "mask"}
	for rule, c := range map[string]struct{ body, want string }{
		"JSON as it was written": {"{ \"n\": 1.50,\n\"n\":2}", "{ \"n\": 1.50,\n\"n\":2}"},
		"a form":                 {"a=1&b=%20", "a=1&b=%20"},
		"any bytes":              {"\x00\xff\xfe\r\n", "\x00\xff\xfe\r\n"},
		"a space":                {" ", " "},
		"nothing, as in Convoy":  {"", "{}"},
	} {
		t.Run(rule, func(t *testing.T) {
			trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
			sub, err := inbound().Submission(s, webhook("POST", "/ingest/mask", c.body, "Traceparent: "+trace), []byte(c.body))
			if err != nil || string(sub.Payload) != c.want {
				t.Errorf("payload %q, %v, want %q", sub.Payload, err, c.want)
			}
			if sub.SourceID != s.ID || sub.ProjectID != s.ProjectID || sub.Type != "mask" || sub.Ack != millrace.AckPersisted || sub.TraceParent != trace {
				t.Errorf("submission %+v", sub)
			}
			if sub.IdempotencyKey != "" || sub.KeyScope != millrace.KeyOfClient || sub.Audience != (millrace.Audience{}) {
				t.Errorf("key %q of %q, for %+v", sub.IdempotencyKey, sub.KeyScope, sub.Audience)
			}
		})
	}
}

func TestAPayloadThatIsNoJSONKeepsItsContentType(t *testing.T) {
	for _, c := range []struct{ rule, body, came, kept string }{
		{"a form", "a=1&b=%20", "application/x-www-form-urlencoded", "application/x-www-form-urlencoded"},
		{"any bytes", "\x00\xff", "application/octet-stream", "application/octet-stream"},
		{"with its parameters", "<a/>", `text/xml; charset="utf-8"`, `text/xml; charset="utf-8"`},
		{"JSON is JSON", `{"a":1}`, "application/json", ""},
		{"whatever its sender calls it", `{"a":1}`, "application/x-www-form-urlencoded", ""},
		{"nothing at all becomes JSON", "", "text/plain", ""},
		{"what says no type", "a=1", "", ""},
		{"what is no type", "a=1", "a/b/c", ""},
		{"what fits in no header", "a=1", "text/plain; a=\"\x01\"", ""},
		{"what is too long", "a=1", "text/plain; a=" + strings.Repeat("x", 255), ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			sub, err := inbound().Submission(millrace.Source{MaskID: "mask"}, webhook("POST", "/ingest/mask", c.body, "Content-Type: "+c.came), []byte(c.body))
			if got := sub.Headers[millrace.HeaderCameAs]; err != nil || got != c.kept {
				t.Errorf("%q is kept, %v; want %q", got, err, c.kept)
			}
			if err := millrace.CheckHeaders(sub.Headers); err != nil {
				t.Errorf("the stage would refuse it: %v", err)
			}
		})
	}
}

func TestTwittersChallenge(t *testing.T) {
	twitter := byProvider(millrace.ProviderTwitter, "consumer-secret")
	for rule, c := range map[string]struct {
		source millrace.Source
		r      *http.Request
		want   string
	}{
		"a token is signed":              {twitter, webhook("GET", "/ingest/x?crc_token=challenge_string", ""), `{"response_token":"sha256=S/mG8E9n5SjoGuCqHguvP8K8uuu5ogCPF0dOpIdyZlk="}`},
		"what might be a webhook is not": {twitter, webhook("GET", "/ingest/x?crc_token=%7B%22a%22%3A1%7D", ""), ""},
		"no token":                       {twitter, webhook("GET", "/ingest/x", ""), ""},
		"a token that is too long":       {twitter, webhook("GET", "/ingest/x?crc_token="+strings.Repeat("x", 513), ""), ""},
		"a token that was posted":        {twitter, webhook("POST", "/ingest/x?crc_token=challenge_string", ""), ""},
		"a source without a secret":      {millrace.Source{Provider: millrace.ProviderTwitter}, webhook("GET", "/ingest/x?crc_token=a", ""), ""},
		"another provider":               {byProvider(millrace.ProviderGitHub, "s"), webhook("GET", "/ingest/x?crc_token=a", ""), ""},
	} {
		t.Run(rule, func(t *testing.T) {
			answer, ok := inbound().Challenge(c.source, c.r, nil)
			if ok != (c.want != "") || answer.Body != c.want {
				t.Errorf("answered %q, %v", answer.Body, ok)
			}
			if ok && answer.ContentType != "application/json" {
				t.Errorf("content type %q", answer.ContentType)
			}
		})
	}
}

// TestAChallengeSignsNoWebhook: what Twitter's challenge signs for whoever
// asks is refused as a webhook.
func TestAChallengeSignsNoWebhook(t *testing.T) {
	twitter := byProvider(millrace.ProviderTwitter, "consumer-secret")
	for _, token := range []string{"challenge_string", " {}", "[{}]", `"a"`, "\t{"} {
		r := webhook("GET", "/ingest/x", "")
		r.URL.RawQuery = "crc_token=" + strings.NewReplacer(" ", "%20", "\t", "%09", "{", "%7B", "}", "%7D", `"`, "%22").Replace(token)
		answer, ok := inbound().Challenge(twitter, r, nil)
		if !ok {
			continue // it was not signed
		}
		signature := strings.TrimSuffix(strings.TrimPrefix(answer.Body, `{"response_token":"`), `"}`)
		err := inbound().Verify(twitter, webhook("POST", "/ingest/x", token, "X-Twitter-Webhooks-Signature: "+signature), []byte(token))
		if millrace.CodeOf(err) != millrace.CodeUnauthenticated {
			t.Errorf("%q, signed by a challenge, was taken: %v", token, err)
		}
	}
}

func TestSlacksChallenge(t *testing.T) {
	slack := byProvider(millrace.ProviderSlack, "s")
	for rule, c := range map[string]struct {
		source     millrace.Source
		body, want string
	}{
		"the challenge comes back":           {slack, `{"token":"t","challenge":"3eZbrw1aB","type":"url_verification"}`, "3eZbrw1aB"},
		"an event is none":                   {slack, `{"challenge":"3eZbrw1aB","type":"event_callback"}`, ""},
		"none without a challenge":           {slack, `{"type":"url_verification"}`, ""},
		"none that is too long":              {slack, `{"type":"url_verification","challenge":"` + strings.Repeat("x", 513) + `"}`, ""},
		"what is no JSON is none":            {slack, `type=url_verification&challenge=x`, ""},
		"nor what comes from somewhere else": {byProvider(millrace.ProviderStripe, "s"), `{"challenge":"x","type":"url_verification"}`, ""},
	} {
		t.Run(rule, func(t *testing.T) {
			answer, ok := inbound().Challenge(c.source, webhook("POST", "/ingest/x", c.body), []byte(c.body))
			if ok != (c.want != "") || answer.Body != c.want || ok && !strings.HasPrefix(answer.ContentType, "text/plain") {
				t.Errorf("answered %+v, %v", answer, ok)
			}
		})
	}
}
